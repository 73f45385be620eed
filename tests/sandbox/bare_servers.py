"""Three servers and a proxy without any user or pyinfra: what the simulation's model is compared with."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import redis
from kit import eventually, free_ports
from redis.backoff import NoBackoff
from redis.retry import Retry

from keydb_runbooks.connectors.programs import find_proxy, find_server
from keydb_runbooks.templates import render

GUARD = ("--replicaof", "255.255.255.255", "1")
CONFIG = """
port {port}
bind 127.0.0.1
dir {directory}
dbfilename dump.rdb
save ""
appendonly {appends}
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-ping-replica-period 3600
repl-backlog-size 1mb
min-replicas-max-lag 2
"""


class BareServers:
    """Servers by name, in a directory and on ports of their own. They send no PING, so that offsets stand still."""

    def __init__(self, engine: str, names: tuple[str, ...], *, appends: bool = False) -> None:
        self.engine, self.program = find_server(engine)
        self.directory = Path(tempfile.mkdtemp(prefix="kr-model-", dir="/tmp"))
        self.first = first = free_ports()
        self.ports = {name: first + 10 + number for number, name in enumerate(names, 1)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name, port in self.ports.items():
            home = self.directory / name
            home.mkdir()
            self.config(name).write_text(CONFIG.format(port=port, directory=home, appends="yes" if appends else "no"))

    def config(self, name: str) -> Path:
        return self.directory / name / "server.conf"

    def start(self, name: str, *, guarded: bool) -> None:
        with (self.directory / name / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [self.program, str(self.config(name)), *(GUARD if guarded else ())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(lambda: self.ask(name, "PING") in (True, "PONG"), f"{name} answers")
        eventually(lambda: str(self.info(name)["loading"]) == "0", f"{name} has loaded its data")

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def lose_disk(self, name: str) -> None:
        home = self.directory / name
        for path in (*home.glob("dump.rdb"), *home.glob("appendonly.aof")):
            path.unlink()
        shutil.rmtree(home / "appendonlydir", ignore_errors=True)

    def freeze(self, name: str) -> None:
        os.kill(self.processes[name].pid, signal.SIGSTOP)

    def wake(self, name: str) -> None:
        os.kill(self.processes[name].pid, signal.SIGCONT)

    def start_proxy(self) -> None:
        """HAProxy in front of them, with the project's own configuration; nobody connects through it."""
        check = b"INFO replication\r\nQUIT\r\n".hex()
        group = {
            "address": "127.0.0.1",
            "write_port": self.first,
            "read_port": self.first + 1,
            "check": check,
            "max_lag": 2,
            "interval": 1000,
            "tls_ca": None,
            "nodes": [{"name": name, "address": f"127.0.0.1:{port}"} for name, port in self.ports.items()],
        }
        path = self.directory / "haproxy.cfg"
        path.write_text(
            render(
                "haproxy.cfg.j2",
                groups={"demo": group},
                runtime_socket=str(self._socket),
                pid_file=str(self.directory / "haproxy.pid"),
                states=str(self.directory / "states"),
                statistics_port=self.first + 2,
                max_connections=100,
                pod=None,
                user=None,
                source=None,
            )
        )
        with (self.directory / "haproxy.log").open("ab") as log:
            self.processes["proxy"] = subprocess.Popen(
                [find_proxy(), "-db", "-f", str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(lambda: self._socket.is_socket() and bool(self.routes()), "the proxy answers")

    def routes(self) -> dict[str, bool]:
        """Of each server, whether the proxy sends writes there."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self._socket))
            stream.sendall(b"show stat\n")
            told = stream.makefile().read()
        rows = csv.DictReader(told.removeprefix("# ").splitlines())
        # "UP 1/2" is on its way down.
        return {
            row["svname"]: row["status"].startswith("UP")
            for row in rows
            if row["pxname"] == "demo-write" and row["svname"] in self.ports
        }

    @property
    def _socket(self) -> Path:
        return self.directory / "admin.sock"

    def ask(self, name: str, *words: object, timeout: float = 2.0) -> object:
        """One command on a connection of its own."""
        client = redis.Redis(
            host="127.0.0.1",
            port=self.ports[name],
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
            decode_responses=True,
        )
        try:
            return client.execute_command(*words)
        finally:
            client.connection_pool.disconnect()

    def info(self, name: str) -> dict[str, object]:
        return dict(self.ask(name, "INFO"))  # type: ignore[call-overload]

    def remove(self) -> None:
        """Leave no process and no file behind."""
        for name in list(self.processes):
            self.kill(name)
        shutil.rmtree(self.directory, ignore_errors=True)


def one_that_saved(engine: str, directory: Path, key: str) -> None:
    """Let a server that nobody knows save one key in a directory, and end."""
    directory.mkdir(parents=True, mode=0o700)
    port = free_ports()
    words = ["--port", str(port), "--dir", str(directory), "--save", "", "--daemonize", "no"]
    program = find_server(engine)[1]
    process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = redis.Redis(port=port, driver_info=None, protocol=2, retry=Retry(NoBackoff(), 0))
    try:
        eventually(lambda: bool(client.ping()), "it answers")
        client.set(key, "x")
        client.save()
    finally:
        client.connection_pool.disconnect()
        process.kill()
        process.wait()

"""Three servers and a proxy without any user or pyinfra: what the simulation's model is compared with."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import redis
from kit import eventually, free_ports
from redis.backoff import NoBackoff
from redis.retry import Retry

from keydb_runbooks.connectors.network import PROXY_ADDRESS, Network, relay_address, server_address
from keydb_runbooks.connectors.programs import find_proxy, find_server
from keydb_runbooks.templates import render

GUARD = ("--replicaof", "255.255.255.255", "1")
CONFIG = """
port {port}
bind {address}
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
    """Servers by name, in a directory and on ports of their own. They send no PING, so that offsets stand still.

    Replicas and the proxy reach a server through its relay, which ``network`` cuts.
    """

    def __init__(self, engine: str, names: tuple[str, ...], *, appends: bool = False) -> None:
        self.engine, self.program = find_server(engine)
        self.directory = Path(tempfile.mkdtemp(prefix="kr-model-", dir="/tmp"))
        self.first = first = free_ports()
        self.ports = {name: first + 10 + number for number, name in enumerate(names, 1)}
        self.addresses = {name: server_address(number) for number, name in enumerate(names, 1)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.client: socket.socket | None = None
        for name, port in self.ports.items():
            home = self.directory / name
            home.mkdir()
            address = self.addresses[name]
            text = CONFIG.format(port=port, address=address, directory=home, appends="yes" if appends else "no")
            # KeyDB replicates from the address that it listens on; the others have to be told.
            self.config(name).write_text(text + ("" if self.engine == "keydb" else f"bind-source-addr {address}\n"))
        self.network = self._relays()

    def _relays(self) -> Network:
        words = [sys.executable, "-m", "keydb_runbooks.connectors.relays"]
        place = {"KEYDB_SANDBOX_DIRECTORY": str(self.directory), "KEYDB_SANDBOX_PORT": str(self.first)}
        self.processes["relays"] = subprocess.Popen(words, env={**os.environ, **place}, stdin=subprocess.DEVNULL)
        network = Network(self.directory, self.first)
        eventually(lambda: _heals(network), "the relays listen")
        return network

    def known_address(self, name: str) -> tuple[str, int]:
        """Where everybody else reaches a server."""
        return relay_address(list(self.ports).index(name) + 1), self.ports[name]

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
        """HAProxy in front of them, with the project's own configuration."""
        check = b"INFO replication\r\nQUIT\r\n".hex()
        group = {
            "address": "127.0.0.1",
            "write_port": self.first,
            "read_port": self.first + 1,
            "check": check,
            "max_lag": 2,
            "interval": 1000,
            "tls_ca": None,
            "nodes": [{"name": name, "address": "{}:{}".format(*self.known_address(name))} for name in self.ports],
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
                source=PROXY_ADDRESS,
            )
        )
        with (self.directory / "haproxy.log").open("ab") as log:
            self.processes["proxy"] = subprocess.Popen(
                [find_proxy(), "-db", "-f", str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(lambda: self._socket.is_socket() and bool(self.routes()), "the proxy answers")

    def routes(self) -> dict[str, tuple[bool, int]]:
        """Of each server, whether the proxy sends writes there, and how many sessions it has."""
        rows = csv.DictReader(self.tell_proxy("show stat").removeprefix("# ").splitlines())
        # "UP 1/2" is on its way down.
        return {
            row["svname"]: (row["status"].startswith("UP"), int(row["scur"]))
            for row in rows
            if row["pxname"] == "demo-write" and row["svname"] in self.ports
        }

    def tell_proxy(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self._socket))
            stream.sendall(f"{line}\n".encode())
            return stream.makefile().read()

    def connect(self) -> str:
        """Let the one client connect through the proxy; a proxy that leads nowhere ends the connection at once."""
        self.hang_up()
        self.client = socket.create_connection(("127.0.0.1", self.first), timeout=0.5)
        return "nobody" if self._has_ended() else "done"

    def write_through(self, key: str, value: str) -> str:
        """One value of the client, which connects anew if it has to, and hangs up if it is refused or gets no answer."""
        if self.client is None or self._has_ended():
            self.hang_up()
            self.connect()
        assert self.client is not None
        try:
            self.client.sendall(f"SET {key} {value}\r\n".encode())
            told = self.client.recv(512)
        except TimeoutError:
            self.hang_up()
            return "held"
        except ConnectionError:
            told = b""
        if told.startswith(b"+OK"):
            return "done"
        self.hang_up()
        return "refused"

    def _has_ended(self) -> bool:
        """Whether the other side has ended the client's connection, or does so now."""
        assert self.client is not None
        self.client.settimeout(0.1)
        try:
            return self.client.recv(1, socket.MSG_PEEK) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        finally:
            self.client.settimeout(0.5)

    def hang_up(self) -> None:
        if self.client is not None:
            self.client.close()
        self.client = None

    @property
    def _socket(self) -> Path:
        return self.directory / "admin.sock"

    def ask(self, name: str, *words: object, timeout: float = 2.0) -> object:
        """One command on a connection of its own."""
        client = redis.Redis(
            host=self.addresses[name],
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
        self.hang_up()
        for name in list(self.processes):
            self.kill(name)
        shutil.rmtree(self.directory, ignore_errors=True)


def _heals(network: Network) -> bool:
    with suppress(OSError):
        network.heal()
        return True
    return False


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

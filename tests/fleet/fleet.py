"""The fleet: three nodes and two proxies as the Vagrantfile has them, and pyinfra on ``inventories/vagrant.py``.

Everything is below one tmpfs that only this process and its children see, so nothing is left of it when they end.
"""

from __future__ import annotations

import copy
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from keydb_runbooks.connectors.programs import find_server
from tests.fleet import base, cgroups, network
from tests.fleet.machine import Machine
from tests.sandbox.printed import COLOR, Result

INVENTORY = "inventories/vagrant.py"
NODES = {"keydb-1": "192.168.56.11", "keydb-2": "192.168.56.12", "keydb-3": "192.168.56.13"}
PROXIES = {"proxy-1": "192.168.56.21", "proxy-2": "192.168.56.22"}
SERVER_PORT, WRITE_PORT = 6379, 6380
DISK = ("/var/lib/keydb", 64 << 20)
"""The data's disk of each node: small, so that it can be full."""


@dataclass(frozen=True)
class Timed(Result):
    """The same of ``keydb-runbooks``, and how long it took, in seconds."""

    seconds: float

    REFUSED: ClassVar[tuple[int, ...]] = (1, 3, 4)

    def changed(self) -> int:
        """How many operations changed something, on all hosts together."""
        return self.total()[1]


@dataclass(frozen=True)
class Place:
    """How a group on the machines is reached: its inventory and its ports; ``ca`` is None without TLS.

    :param passwords: a file with the password of each user; None is the one that ``inventories/vagrant.py`` makes
    """

    inventory: str = INVENTORY
    server_port: int = SERVER_PORT
    write_port: int = WRITE_PORT
    ca: str | None = None
    passwords: Path | None = None


class Fleet:
    """Five machines that are switched on, with a server's program and nothing else of ours on them."""

    def __init__(self, engine: str | None = None) -> None:
        self.engine, self.program = find_server(engine)
        self.group = Place()
        self.printed: list[str] = []
        self.secrets: set[str] = set()
        self.name = secrets.token_hex(4)
        assert base.ready(), "there is no base image: python -m tests.fleet.base"
        self.home = base.BUILD / "run"
        self.home.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", self.home], check=True)
        network.set_up()
        layers = [self._layer_of_server()]
        self.machines: dict[str, Machine] = {}
        for name, address in {**NODES, **PROXIES}.items():
            disk = DISK if name in NODES else None
            self.machines[name] = Machine(self.name, name, address, self.home / name, layers, disk)
        self._lay_out_keys()
        for machine in self.machines.values():
            machine.power_on()
        self.wait()
        self._has_libraries()

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    @property
    def nodes(self) -> list[Machine]:
        return [self.machines[name] for name in NODES]

    @property
    def proxies(self) -> list[Machine]:
        return [self.machines[name] for name in PROXIES]

    def wait(self, names: Iterable[str] | None = None) -> None:
        """Wait until machines have booted, all of them without names."""
        for name in names or self.machines:
            self.machines[name].wait()

    @property
    def environment(self) -> dict[str, str]:
        """What pyinfra needs to know; Vagrant's own name for the folder with its machines' keys."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VAGRANT_DOTFILE_PATH": str(self.home / "vagrant"),
            "KEYDB_VAGRANT_ENGINE": self.engine,
            # pyinfra reads the sandbox's group data as well, and that makes passwords.
            "KEYDB_SANDBOX_DIRECTORY": str(self.home / "sandbox"),
            "KEYDB_RUNBOOKS_HISTORY": str(self.home / "history.jsonl"),
        }

    def at(self, place: Place) -> Fleet:
        """The same machines, seen as another group that is on them."""
        seen = copy.copy(self)
        seen.group = place
        return seen

    # Running pyinfra

    def start(self, *arguments: str, program: str | list[str] = "pyinfra") -> subprocess.Popen[str]:
        """Start ``pyinfra`` with these arguments on the group's inventory, and don't wait for it.

        :param program: another one, or the words that begin it
        """
        return subprocess.Popen(
            [*([program] if isinstance(program, str) else program), self.group.inventory, *arguments],
            cwd=base.REPOSITORY,
            env={**self.environment, "PYINFRA_PROGRESS": "off", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, deploy: str, *arguments: str, dry: bool = False, patience_seconds: float = 120, **data: str) -> Timed:
        """Run a deploy of the repository by name, ``-y`` or ``--dry``, with an option for each keyword."""
        given = [f"{key}={value}" for key, value in data.items()]
        begun = time.monotonic()
        process = self.start(deploy, *given, "--dry" if dry else "-y", *arguments, program="keydb-runbooks")
        try:
            text, _ = process.communicate(timeout=patience_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            text, _ = process.communicate()
            raise AssertionError(f"{deploy} did not end in {patience_seconds} s:\n{text}") from None
        self.printed.append(text)
        self.remember_passwords()
        return Timed(process.returncode, COLOR.sub("", text), time.monotonic() - begun)

    def status(self) -> dict[str, object]:
        """What the status deploy says of the group as JSON, whatever its exit code."""
        text = self.run("status", format="json").text
        (told,) = json.JSONDecoder().raw_decode(text[text.index("\n{") + 1 :])[0]["groups"]
        return dict(told)

    def findings(self) -> list[str]:
        """The codes of what status finds."""
        return [str(finding["code"]) for finding in self.status()["findings"]]  # type: ignore[attr-defined]

    # Asking servers, by the network and not by SSH

    @property
    def passwords(self) -> dict[str, str]:
        path = self.group.passwords or self.home / "vagrant" / "passwords.json"
        return dict(json.loads(path.read_text()))

    def remember_passwords(self) -> None:
        """Note those that there are now, for whoever looks later where they are."""
        with suppress(FileNotFoundError):
            self.secrets.update(self.passwords.values())

    @contextmanager
    def client(self, name: str, role: str = "operator", timeout: float = 2) -> Iterator[redis.Redis]:
        """A client of a server or of a proxy, logged in as one of the group's users."""
        client = redis.Redis(
            host=self.machines[name].address,
            port=self.group.server_port if name in NODES else self.group.write_port,
            username=role,
            password=self.passwords[role],
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
            decode_responses=True,
            ssl=self.group.ca is not None,
            ssl_ca_certs=self.group.ca,
        )
        try:
            yield client
        finally:
            client.connection_pool.disconnect()

    def ask(self, name: str, *command: object, role: str = "operator") -> object:
        with self.client(name, role) as client:
            return client.execute_command(*command)

    def info(self, name: str) -> dict[str, object]:
        return dict(self.ask(name, "INFO"))  # type: ignore[call-overload]

    def version(self, name: str) -> str:
        """The version that a server says it is of."""
        info = self.info(name)
        return str(info.get("valkey_version") or info["redis_version"])

    def primaries(self) -> list[str]:
        """The nodes that answer and say that they are primaries."""
        return [name for name in NODES if self._role(name) == "master"]

    def replicas_of(self, primary: str) -> list[str]:
        """The nodes that follow another one, and whose link to it is up."""
        rows = {name: self.info(name) for name in NODES if self._role(name) == "slave"}
        address = self.machines[primary].address
        return [n for n, row in rows.items() if row["master_host"] == address and row["master_link_status"] == "up"]

    def writable(self, proxy: str) -> bool:
        """Whether an application can write through a proxy."""
        try:
            return bool(self.ask(proxy, "SET", "test:writable", "x", role="application"))
        except redis.RedisError:
            return False

    def end(self) -> None:
        """Switch everything off and remove it; what was killed earlier as well."""
        for machine in self.machines.values():
            machine.remove()
        subprocess.run(["umount", self.home], check=True)
        for fleet in cgroups.left_behind():
            cgroups.remove(fleet)

    def _role(self, name: str) -> str | None:
        try:
            return str(self.info(name)["role"])
        except redis.RedisError:
            return None

    def _layer_of_server(self) -> Path:
        layer = self.home / "server"
        programs = layer / "usr" / "local" / "bin"
        programs.mkdir(parents=True)
        shutil.copy2(self.program, programs / f"{self.engine}-server")
        return layer

    def _has_libraries(self) -> None:
        path = f"/usr/local/bin/{self.engine}-server"
        told = self["keydb-1"].shell(f"ldd {path} 2>&1; {path} --version", check=False)
        lacking = re.findall(r"^\s*(\S+) => not found", told, re.MULTILINE)
        if lacking or "v=" not in told:
            raise RuntimeError(
                f"{self.program} doesn't run on Debian {base.SUITE}: {', '.join(lacking) or told}; "
                "add the packages of these libraries to SERVER in tests/fleet/base.py, or take another engine (ENGINE=)"
            )

    def _lay_out_keys(self) -> None:
        """As Vagrant does it: a private key for each machine below its folder."""
        folder = self.home / "vagrant"
        for machine in self.machines.values():
            key = folder / "machines" / machine.name / "nspawn" / "private_key"
            key.parent.mkdir(parents=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
            machine.allow(key.with_name("private_key.pub").read_text())
        known = [f"{machine.address} {machine.host_key}\n" for machine in self.machines.values()]
        (folder / "known_hosts").write_text("".join(known))

"""A network for the sandbox that can lose and delay what passes: one relay in front of each server.

With ``KEYDB_SANDBOX_RELAYS=yes`` a server listens on an address of its own, and everybody, its peers, the proxy and the
operator, reaches it through a relay on the address that the inventory names. A relay knows who calls by the address
that the call comes from, so each direction of each pair has a rule of its own. No root is needed.

A cut lets nothing pass, not even the end of a connection, and nothing refuses; a server that is cut off from everybody
doesn't even complete a connect. What differs from a real network: the kernel acknowledges what a relay holds back, so
TCP's own keepalive doesn't notice a cut; and a connect to a server that is cut off from some, not from all, succeeds
and is then silent.

    python -m keydb_runbooks.connectors.network start
    python -m keydb_runbooks.connectors.network cut keydb-1 keydb-2
    python -m keydb_runbooks.connectors.network slow keydb-1 keydb-3 --delay-ms 50
    python -m keydb_runbooks.connectors.network heal
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from keydb_runbooks.connectors.sandbox import DEFAULT_DIRECTORY, MARK

OPERATOR = "operator"
PROXY = "proxy-1"
NODES = ("keydb-1", "keydb-2", "keydb-3")
EVERYBODY = (*NODES, PROXY, OPERATOR)

PROXY_ADDRESS = "127.0.3.1"
"""Where the proxy's connections to servers come from."""

SOCKET = "relays.sock"
PATIENCE_SECONDS = 10.0


def server_address(number: int) -> str:
    """Where the server of a node listens, and where its replication comes from."""
    return f"127.0.1.{number}"


def relay_address(number: int) -> str:
    """Where everybody reaches a node: its ``keydb_address``."""
    return f"127.0.2.{number}"


SOURCES = {server_address(number): node for number, node in enumerate(NODES, start=1)} | {PROXY_ADDRESS: PROXY}
"""Who calls, by the address that the call comes from; everybody else is the operator."""


@dataclass(frozen=True)
class Rule:
    """What happens to everything on the way from one to another."""

    cut: bool = False
    delay_ms: float = 0.0
    bytes_per_second: float | None = None


class Network:
    """The faults of a sandbox's network, one call each.

    :param directory: the sandbox's directory
    :param port: the first of its ports
    """

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port

    def start(self) -> None:
        """Start the relays, without any rule, and wait until they listen; they end with the sandbox."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / SOCKET).unlink(missing_ok=True)
        # By a shell that goes away, so that they are nobody's child here.
        words = ["sh", "-c", '"$@" &', "sh", sys.executable, "-m", "keydb_runbooks.connectors.relays"]
        place = {MARK: str(self.directory), "KEYDB_SANDBOX_DIRECTORY": str(self.directory)}
        environment = {**os.environ, **place, "KEYDB_SANDBOX_PORT": str(self.port)}
        subprocess.run(words, env=environment, start_new_session=True, stdin=subprocess.DEVNULL, check=True)  # noqa: S603
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.heal()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise OSError(f"the relays of {self.directory} did not start: {error}") from None
            time.sleep(0.01)

    def cut(self, node: str, other: str | None = None, *, one_way: bool = False) -> None:
        """Let everything between two vanish, or between one and everybody; one way only what ``node`` sends."""
        self._set(node, other, Rule(cut=True), one_way)

    def slow(
        self,
        node: str,
        other: str | None = None,
        *,
        delay_ms: float = 0,
        bytes_per_second: float | None = None,
        one_way: bool = False,
    ) -> None:
        """Delay everything between two, or let so many bytes pass a second, in each direction."""
        self._set(node, other, Rule(delay_ms=delay_ms, bytes_per_second=bytes_per_second), one_way)

    def heal(self) -> None:
        """Forget every rule."""
        self._send(None)

    def _set(self, node: str, other: str | None, rule: Rule, one_way: bool) -> None:
        for end in (node, *([other] if other else [])):
            if end not in EVERYBODY:
                raise ValueError(f"there is no {end} in this network; allowed are {', '.join(EVERYBODY)}")
        rules: list[tuple[str, str, Rule]] = []
        for peer in [other] if other else [name for name in EVERYBODY if name != node]:
            rules.append((node, peer, rule))
            if not one_way:
                rules.append((peer, node, rule))
        self._send(rules)

    def _send(self, rules: list[tuple[str, str, Rule]] | None) -> None:
        told = None if rules is None else [(source, target, asdict(rule)) for source, target, rule in rules]
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE_SECONDS)
            control.connect(str(self.directory / SOCKET))
            control.sendall(json.dumps(told).encode() + b"\n")
            if control.recv(16) != b"ok\n":
                raise OSError(f"the relays of {self.directory} did not take the rules")


def sandbox_place() -> tuple[Path, int]:
    """The directory and the first port of the sandbox that the environment names."""
    directory = Path(os.environ.get("KEYDB_SANDBOX_DIRECTORY", DEFAULT_DIRECTORY)).resolve()
    return directory, int(os.environ.get("KEYDB_SANDBOX_PORT", "17000"))


def main() -> int:
    """Start the relays of a sandbox, or change their rules."""
    parser = argparse.ArgumentParser(prog="network", description="A sandbox's network: cut it, slow it, heal it.")
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser("start")
    acts.add_parser("heal", help="forget every cut and every delay")
    for act in ("cut", "slow"):
        one = acts.add_parser(act)
        one.add_argument("node", choices=EVERYBODY)
        one.add_argument("other", choices=EVERYBODY, nargs="?", help="default: everybody")
        one.add_argument("--one-way", action="store_true", help="only what the first one sends")
    acts.choices["slow"].add_argument("--delay-ms", type=float, default=0)
    acts.choices["slow"].add_argument("--bytes-per-second", type=float)
    given = vars(parser.parse_args())
    act = given.pop("act")
    try:
        getattr(Network(*sandbox_place()), act)(**given)
    except OSError as error:
        print(f"{act}: {error}; is KEYDB_SANDBOX_RELAYS=yes set, and were they started?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

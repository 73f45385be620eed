"""A group on this machine for a bench, its writing clients, and what these saw of a move."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in (REPOSITORY, REPOSITORY / "tests" / "sandbox"):
    sys.path.append(str(folder))

from kit import COLOR, INVENTORY, NODES, Sandbox, eventually  # noqa: E402

from demo.measure import Event, find_lost, last_answer, outcome, read_journal  # noqa: E402
from demo.writer import key  # noqa: E402
from keydb_runbooks.connectors.runtime import Runtime, _unix  # noqa: E402
from keydb_runbooks.runbooks.proxy import proxy_from_statistics  # noqa: E402
from keydb_runbooks.runbooks.steps import Route  # noqa: E402

WRITES_PER_SECOND = 2000
BEHIND_SECONDS = 0.4
PATIENCE_SECONDS = 40
MARKS = {"plan": "plan: ", "promoted": "is the primary, epoch", "routed": "send writes to", "done": "done: "}
"""Moments of a run, and a text of the first line that tells of each (behind the plan)."""


@dataclass
class Move:
    """One move of the role: what clients saw of it, and when its run did what, in milliseconds from its start."""

    gap: float
    acknowledged: int
    lost: int
    moments: dict[str, float] = field(default_factory=dict)


class BenchGroup(Sandbox):
    """A sandbox with a user who may do anything, for the servers' own commands."""

    # From Enter on means with all that a person waits for: pyinfra's own start too.
    forked = False

    def __init__(self, engine: str, *, relays: bool = False) -> None:
        super().__init__(engine, relays=relays)
        self.password = secrets.token_hex(16)

    def found(self) -> None:
        self.install().ok()
        for node in NODES:
            self.ask(node, "ACL", "SETUSER", "bench", "on", f">{self.password}", "~*", "&*", "+@all")
        self.sentinel_port = self.port + 3

    @property
    def passwords(self) -> dict[str, str]:
        return {**super().passwords, "bench": self.password}

    @property
    def primary(self) -> str:
        return self.primaries()[0]

    def next_of(self, node: str) -> str:
        return NODES[(NODES.index(node) + 1) % len(NODES)]

    def timed(self, verb: str, **data: str) -> tuple[float, dict[str, float]]:
        """Run a verb; when Enter was pressed, and the moments of the run in milliseconds behind that."""
        given = [word for name, value in data.items() for word in ("--data", f"{name}={value}")]
        moments: dict[str, float] = {}
        told = ""
        begin = time.monotonic()
        process = self.start(INVENTORY, f"deploys/{verb}.py", *given, "-y")
        assert process.stdout is not None
        for raw in process.stdout:
            line = COLOR.sub("", raw)
            told += line
            for mark, text in MARKS.items():
                if text in line and mark not in moments and (mark == "plan" or re.match(r"\s+(\d+/|done)", line)):
                    moments[mark] = (time.monotonic() - begin) * 1000
        if process.wait():
            raise RuntimeError(f"{verb} failed:\n{told}")
        return begin, moments

    def route(self, primary: str) -> None:
        """Tell HAProxy at once who the primary is, as the runbooks do it."""
        others = [node for node in NODES if node != primary]
        with closing(self._runtime()) as socket:
            socket.commands([" ".join(one) for one in Route("proxy-1", "demo-write", primary, tuple(others)).commands])

    def is_gone(self, node: str) -> bool:
        """Whether the evidence rule is satisfied: no replica hears it, and the proxy leads nobody there any more."""
        with closing(self._runtime()) as socket:
            proxy = proxy_from_statistics("proxy-1", "demo", socket.command("show stat"))
        led = [server.node for server in proxy.writers if server.up or server.sessions]
        return node not in led and not self.heard(node)

    def _runtime(self) -> Runtime:
        return Runtime("proxy-1", _unix(str(self.directory / "proxy-1" / "admin.sock"), 2))

    def mend(self) -> None:
        """Everybody follows the primary, by the project's own verbs, before the next move."""
        if any(self.pid(node) is None for node in NODES):
            self.run("start").ok()
        silent = ",".join(node for node in NODES if node != self.rightful())
        self.run("rejoin", accept_loss=silent).ok()
        self.healthy(self.rightful())
        if any(self._lacks_first_descriptor(node) for node in NODES):
            self.run("restart").ok()
            self.healthy(self.primary)

    def _lacks_first_descriptor(self, node: str) -> bool:
        """Whether a failed handshake, as FAILOVER makes them, cost a KeyDB its descriptor 0."""
        descriptor = Path(f"/proc/{self.pid(node)}/fd/0")
        return not descriptor.is_symlink() or str(descriptor.readlink()).startswith("socket:")

    def rightful(self) -> str:
        """The primary of the highest epoch."""
        epochs = {node: int(str(self.ask(node, "GET", "runbook:epoch") or 0)) for node in self.primaries()}
        return max(epochs, key=lambda node: epochs[node])


@contextmanager
def moving(group: BenchGroup) -> Iterator[Writers]:
    """Clients that write while the role is moved; their keys are gone afterwards."""
    writers = Writers(group)
    try:
        writers.write_on()
        yield writers
    finally:
        writers.stop()


class Writers:
    """``demo/writer.py``, four clients with 500 writes a second each."""

    def __init__(self, group: BenchGroup) -> None:
        self.group = group
        self.journal = group.directory / "journal.txt"
        self.journal.unlink(missing_ok=True)
        words = [sys.executable, "demo/writer.py", str(group.port), str(self.journal), str(WRITES_PER_SECOND)]
        self.process = subprocess.Popen(words, cwd=REPOSITORY, env=group.environment)  # noqa: S603

    def write_on(self, seconds: float = BEHIND_SECONDS) -> None:
        wanted = time.monotonic() + seconds
        eventually(lambda: (last_answer(self.journal) or 0) > wanted, "writes are acknowledged", PATIENCE_SECONDS)

    def first_answer_behind(self, moment: float) -> float:
        """When the first write behind a moment was acknowledged."""
        return min(write.seconds for write in read_journal(self.journal) if write.seconds > moment)

    def seen(self, begin: float, moments: dict[str, float] | None = None) -> Move:
        """What the clients saw from a moment until now; it ends them, and removes what they wrote."""
        end = time.monotonic()
        self.stop()
        writes = read_journal(self.journal)
        server = self.group.client("proxy-1", "application")
        try:
            lost = find_lost(writes, server)
            saw = outcome(Event("move", begin, end), writes, lost)
            self._remove(server, [key(write.client, write.number) for write in writes])
        finally:
            server.connection_pool.disconnect()
        return Move(saw.gap_milliseconds, saw.acknowledged, len(lost), moments or {})

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(15)

    def _remove(self, server: redis.Redis, keys: list[str]) -> None:
        for start in range(0, len(keys), 1000):
            server.delete(*keys[start : start + 1000])

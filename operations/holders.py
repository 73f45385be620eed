"""Who holds or claims a group's lock, as the names of connections tell: who, from where, since when, doing what."""

from __future__ import annotations

import getpass
import re
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache

PREFIX = "runbook"


@cache
def user() -> str:
    """The name of who runs this program."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@dataclass(frozen=True)
class Task:
    """What a run is about to do, and who began it where."""

    verb: str
    node: str
    user: str = field(default_factory=user)
    machine: str = field(default_factory=socket.gethostname)
    identity: str = field(default_factory=lambda: secrets.token_hex(8))

    def name(self, state: str) -> str:
        """The name of its connections, in characters that such a name may have."""
        words = "/".join(re.sub(r"[^A-Za-z0-9_.-]", "-", word) for word in (self.verb, self.node, self.user))
        return f"{PREFIX}:{self.identity}:{state}:{words}@{re.sub(r'[^A-Za-z0-9_.-]', '-', self.machine)}"


@dataclass(frozen=True)
class Holder:
    """Another run, as it was seen on all nodes together.

    ``connections`` are node names with the connection's number there. It is as old as its oldest connection, and as
    silent as the one that was heard last.
    """

    identity: str
    held: bool
    words: str
    connections: tuple[tuple[str, str], ...]
    age_seconds: int
    idle_seconds: int

    def __str__(self) -> str:
        began = datetime.now(timezone.utc) - timedelta(seconds=self.age_seconds)
        since = f"since {began:%H:%M:%S} UTC ({self.age_seconds} s ago)"
        silent = f", silent for {self.idle_seconds} s" if self.idle_seconds > 1 else ""
        return f"{_task(self.words)}, {since}{silent}, seen on {told_of(node for node, _ in self.connections)}"


def united(rows: Iterable[tuple[str, dict[str, str]]]) -> list[Holder]:
    """The runs behind rows of CLIENT LIST, each with the node that it was read from, in the order of their ids."""
    seen: dict[str, list[tuple[str, dict[str, str], str, str]]] = {}
    for node, row in rows:
        parts = row.get("name", "").split(":", 3)
        if len(parts) == 4 and parts[0] == PREFIX:
            seen.setdefault(parts[1], []).append((node, row, parts[2], parts[3]))
    return [
        Holder(
            identity=identity,
            held=any(state == "held" for _, _, state, _ in found),
            words=found[0][3],
            connections=tuple((node, row["id"]) for node, row, _, _ in found),
            age_seconds=max(int(row.get("age", 0)) for _, row, _, _ in found),
            idle_seconds=min(int(row.get("idle", 0)) for _, row, _, _ in found),
        )
        for identity, found in sorted(seen.items())
    ]


def told_of(names: Iterable[str]) -> str:
    """Names as a person lists them."""
    told = list(dict.fromkeys(names))
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _task(words: str) -> str:
    """``switchover/keydb-2/anna@ops-1`` in words; whatever doesn't look like that as it is."""
    parts = words.split("/")
    if len(parts) != 3:
        return words
    verb, node, who = parts
    return f"{who} does {verb} (for {node})"

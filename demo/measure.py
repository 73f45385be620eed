"""What the writer's journal says: gaps, acknowledged writes, and which of them are gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import redis

from demo.writer import key

BATCH = 1000
TAIL = 4096


@dataclass(frozen=True)
class Write:
    """One acknowledged write, with the monotonic clock's seconds at its answer."""

    seconds: float
    client: int
    number: int


@dataclass(frozen=True)
class Event:
    """Something that was done to the group while clients wrote; it lasts until the next one begins."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Outcome:
    """What clients saw of an event."""

    gap_milliseconds: float
    acknowledged: int
    lost: int


def read_journal(path: Path) -> list[Write]:
    """Every acknowledged write, in the order of their answers."""
    rows = (line.split() for line in path.read_text().splitlines())
    return [Write(float(row[0]), int(row[1]), int(row[2])) for row in rows if len(row) == 4 and row[3] == "ok"]


def last_answer(path: Path) -> float | None:
    """When the newest acknowledged write was answered; None if there is none yet. Reads the journal's end only."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        rows = [line.split() for line in file.read().splitlines()[1:]]
    answered = [float(row[0]) for row in rows if len(row) == 4 and row[3] == b"ok"]
    return max(answered, default=None)


def find_lost(writes: list[Write], server: redis.Redis) -> set[Write]:
    """The acknowledged writes that the group no longer has."""
    lost: set[Write] = set()
    for start in range(0, len(writes), BATCH):
        batch = writes[start : start + BATCH]
        values = server.mget([key(write.client, write.number) for write in batch])
        lost.update(write for write, value in zip(batch, values, strict=True) if value is None)
    return lost


def outcome(event: Event, writes: Iterable[Write], lost: set[Write]) -> Outcome:
    """What one event did to the clients.

    The gap is the longest time between two acknowledged writes of one client that ended in the event.
    """
    by_client: dict[int, list[float]] = defaultdict(list)
    acknowledged = [write for write in writes if event.begin <= write.seconds < event.end]
    for write in writes:
        by_client[write.client].append(write.seconds)
    gaps = [
        after - before
        for times in by_client.values()
        for before, after in pairwise(sorted(times))
        if event.begin <= after < event.end
    ]
    return Outcome(
        gap_milliseconds=max(gaps, default=event.end - event.begin) * 1000,
        acknowledged=len(acknowledged),
        lost=sum(1 for write in acknowledged if write in lost),
    )

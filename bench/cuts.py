"""How long clients were cut off by a move, and what they waited for: out of their journals and a run's clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Moments:
    """When a move did what, in seconds of the machine's monotonic clock.

    ``promoted``: somebody takes writes again. ``told``: who leads clients knows it, the last proxy for instance.
    """

    promoted: float
    told: float


@dataclass(frozen=True)
class Cut:
    """The time of one client between two acknowledged writes, in which some failed."""

    client: str
    last: float
    again: float
    failures: int

    @property
    def milliseconds(self) -> float:
        return 1000 * (self.again - self.last)

    def parts(self, moments: Moments) -> dict[str, float]:
        """Its milliseconds by what was waited for; their sum is the whole."""
        return {
            "promotion": 1000 * (moments.promoted - self.last),
            "route": 1000 * (moments.told - moments.promoted),
            "return": 1000 * (self.again - moments.told),
        }


def cuts(journal: Iterable[list[str]], since: float) -> list[Cut]:
    """Every one from a moment on, longest first."""
    last: dict[str, float] = {}
    failures: dict[str, int] = {}
    found = []
    for row in sorted(journal, key=lambda row: float(row[0])):
        moment, client, good = float(row[0]), row[1], row[3] == "ok"
        if moment < since:
            continue
        if not good:
            failures[client] = failures.get(client, 0) + 1
            continue
        if client in last and failures.get(client):
            found.append(Cut(client, last[client], moment, failures[client]))
        last[client], failures[client] = moment, 0
    return sorted(found, key=lambda cut: -cut.milliseconds)


def read_clock(path: Path, told: str) -> Moments:
    """What ``bench/clocked.py`` wrote of a switchover.

    :param told: the step by which clients are led to the new primary; the last of its kind counts
    """
    rows = [line.split() for line in path.read_text().splitlines()]
    ended = {row[2]: float(row[1]) for row in rows}
    return Moments(ended["Promote"], ended[told])

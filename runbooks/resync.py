"""A full resync as the replica and its primary tell of it in INFO: how far it is, and whether it gets any further.

The primary writes its data, the replica gets them, throws its own away, and loads them; with a diskless load it does
all of that at once. What each engine tells meanwhile is in docs/engines.md, "A full resync".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from keydb_runbooks.runbooks.condition import whole

Fields = Mapping[str, list[str]]

TRIES = 3
"""How often a resync may begin: behind another save of the primary, or when its link broke. One that begins again and
again never comes to its end, as where the primary's buffer for a replica is too small."""


class Phase(IntEnum):
    """What is under way, in this order."""

    WRITES = 0
    COMES = 1
    LOADS = 2


@dataclass(frozen=True)
class Resync:
    """How far a full resync is: keys that the primary wrote, bytes that came, or bytes that the replica loaded.

    ``total`` is None if nobody knows it: a primary that sends its data without a file can't tell their length.
    ``share`` is what the primary wrote then, of all its keys, in percent.
    """

    phase: Phase
    done: int
    total: int | None = None
    share: int | None = None

    @property
    def unit(self) -> str:
        return "keys" if self.phase is Phase.WRITES else "bytes"


@dataclass(frozen=True)
class Progress:
    """The furthest that the present try of a resync was seen, how often one began, and whether it is over."""

    furthest: Resync | None = None
    begun: int = 0
    over: bool = False

    def see(self, now: Resync | None) -> Progress:
        """What is known behind another look.

        One that was seen, was not, and is seen again has begun again, however far it is: who loads the data as they
        come answers seldom, and at a few bytes more each time.
        """
        if now is None:
            return replace(self, over=self.furthest is not None)
        if self.furthest is None or self.over or _place(now) < _place(self.furthest):
            return Progress(now, self.begun + 1)
        return replace(self, furthest=now) if _place(now) > _place(self.furthest) else self

    @property
    def exhausted(self) -> bool:
        """Whether it began more often than it may: however far it gets, that is no progress any more."""
        return self.begun > TRIES

    def further(self, before: Progress) -> bool:
        """Whether it got further than it was, or began once more of as often as it may."""
        return not self.exhausted and (self.furthest, self.begun) != (before.furthest, before.begun)


def _place(resync: Resync) -> tuple[Phase, int]:
    return resync.phase, resync.done


def read_resync(replica: Fields, primary: Fields) -> Resync | None:
    """The full resync that is under way, None if there is none; both are INFO as ``read_info`` reads it.

    >>> loads = {"loading": ["1"], "loading_loaded_bytes": ["10"], "loading_total_bytes": ["30"]}
    >>> read_resync(loads, {})
    Resync(phase=<Phase.LOADS: 2>, done=10, total=30, share=None)
    """
    written, keys = read_save(primary)
    share = written * 100 // keys if keys else None
    if replica.get("loading", ["0"]) != ["0"]:
        loaded, total = whole(replica, "loading_loaded_bytes") or 0, whole(replica, "loading_total_bytes") or None
        return Resync(Phase.LOADS, loaded, total, None if total else share)
    if replica.get("master_sync_in_progress", ["0"]) == ["0"]:
        return None
    if came := whole(replica, "master_sync_read_bytes"):
        total = whole(replica, "master_sync_total_bytes") or None
        return Resync(Phase.COMES, came, total, None if total else share)
    return Resync(Phase.WRITES, written, keys)


def read_save(fields: Fields) -> tuple[int, int | None]:
    """How many keys a server that saves or sends all its data has written, and of how many, None if it doesn't say."""
    # The child tells it each second, and up to then there stands 1.
    written = whole(fields, "current_save_keys_processed") or 0
    return written if written > 1 else 0, whole(fields, "current_save_keys_total") or None

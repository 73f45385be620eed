"""A full resync as the replica and its primary tell of it in INFO: how far it is, and whether it gets any further.

The primary writes its data, the replica gets them, throws its own away, and loads them; with a diskless load it does
all of that at once. What each engine tells meanwhile is in docs/engines.md, "A full resync".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from keydb_runbooks.runbooks.condition import whole
from keydb_runbooks.runbooks.replication import Replica

Fields = Mapping[str, list[str]]

TRIES = 3
"""How often a resync may begin: behind another save of the primary, or when its link broke. One that begins again and
again never comes to its end, as where the primary's buffer for a replica is too small."""


class Phase(IntEnum):
    """What is under way, in this order.

    In ``WAITS`` the primary writes its data for another, and this replica has its turn behind that. In ``EMPTIES`` the
    replica answers nobody, as while it throws its former data away, but its primary hears that it lives.
    """

    WAITS = 0
    WRITES = 1
    COMES = 2
    EMPTIES = 3
    LOADS = 4


@dataclass(frozen=True)
class Resync:
    """How far a full resync is: keys that the primary wrote, bytes that came, or bytes that the replica loaded.

    Of ``EMPTIES`` it is the second of the primary's life in which it last heard the replica, of those up to now.

    ``total`` is None if nobody knows it: a primary that sends its data without a file can't tell their length.
    ``share`` is what the primary wrote then, of all its keys, in percent.
    """

    phase: Phase
    done: int
    total: int | None = None
    share: int | None = None

    @property
    def unit(self) -> str:
        return {Phase.WAITS: "keys", Phase.WRITES: "keys", Phase.EMPTIES: "seconds"}.get(self.phase, "bytes")


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
            # Between another's save and its own none is under way.
            return replace(self, over=self.furthest is not None and self.furthest.phase is not Phase.WAITS)
        if self.furthest is None or self.over or _fell(self.furthest, now):
            return Progress(now, self.begun + 1)
        return replace(self, furthest=now) if _place(now) > _place(self.furthest) else self

    @property
    def exhausted(self) -> bool:
        """Whether it began more often than it may: however far it gets, that is no progress any more."""
        return self.begun > TRIES

    def further(self, before: Progress) -> bool:
        """Whether it got further than it was, or began once more of as often as it may."""
        return not self.exhausted and (self.furthest, self.begun) != (before.furthest, before.begun)


def _fell(before: Resync, now: Resync) -> bool:
    # The moment at which somebody was heard is the difference of two rounded numbers.
    rounded = before.phase is now.phase is Phase.EMPTIES
    return not rounded and _place(now) < _place(before)


def _place(resync: Resync) -> tuple[Phase, int]:
    return resync.phase, resync.done


def read_resync(replica: Fields, primary: Fields, listed: Replica | None = None) -> Resync | None:
    """The full resync that is under way, None if there is none; both are INFO as ``read_info`` reads it.

    :param listed: the replica as its primary lists it, None if it doesn't

    >>> loads = {"loading": ["1"], "loading_loaded_bytes": ["10"], "loading_total_bytes": ["30"]}
    >>> read_resync(loads, {})
    Resync(phase=<Phase.LOADS: 4>, done=10, total=30, share=None)
    """
    written, keys = read_save(primary)
    share = written * 100 // keys if keys else None
    if replica.get("loading", ["0"]) != ["0"]:
        loaded, total = whole(replica, "loading_loaded_bytes") or 0, whole(replica, "loading_total_bytes") or None
        return Resync(Phase.LOADS, loaded, total, None if total else share)
    if replica.get("master_sync_in_progress", ["0"]) == ["0"]:
        waits = listed is not None and listed.waits and _saves(primary)
        return Resync(Phase.WAITS, written, keys) if waits else None
    if came := whole(replica, "master_sync_read_bytes"):
        total = whole(replica, "master_sync_total_bytes") or None
        return Resync(Phase.COMES, came, total, None if total else share)
    return Resync(Phase.WRITES, written, keys)


def read_heard(primary: Fields, listed: Replica | None) -> Resync | None:
    """The same by the primary's word alone, while the replica answers nobody; None if the primary knows of none.

    A replica that throws data away, or loads, says a word to its primary every few seconds, and one that is frozen says
    none. Who waits for a save may be the one that it is sent to.

    >>> empties = Replica(Address("10.0.0.2", 6379), online=True, offset=0, lag_seconds=1)
    >>> read_heard({"uptime_in_seconds": ["60"]}, empties)
    Resync(phase=<Phase.EMPTIES: 3>, done=59, total=60, share=None)
    """
    if listed is None or not listed.joins:
        return None
    if listed.waits:
        return Resync(Phase.WRITES, *read_save(primary))
    if not listed.online:
        return Resync(Phase.COMES, 0)
    lives = whole(primary, "uptime_in_seconds") or 0
    return Resync(Phase.EMPTIES, lives - (listed.lag_seconds or 0), lives)


def _saves(primary: Fields) -> bool:
    """Whether it writes all its data, wherever to: a replica that comes then waits, unless it can get a part of it."""
    return any(primary.get(field, ["0"]) != ["0"] for field in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress"))


def read_save(fields: Fields) -> tuple[int, int | None]:
    """How many keys a server that saves or sends all its data has written, and of how many, None if it doesn't say."""
    # The child tells it each second, and up to then there stands 1.
    written = whole(fields, "current_save_keys_processed") or 0
    return written if written > 1 else 0, whole(fields, "current_save_keys_total") or None

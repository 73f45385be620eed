"""A full resync as it is waited for: how far it is, how fast it goes on, whether it got further, and until when."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import redis

from keydb_runbooks.connectors.link import LinkError, explain
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.listed import find_listed
from keydb_runbooks.operations.waits import SLOW_POLL_SECONDS, Pace, until
from keydb_runbooks.runbooks.replication import Node, Replica, read_info
from keydb_runbooks.runbooks.resync import Phase, Progress, Resync, read_heard, read_resync
from keydb_runbooks.runbooks.steps import InSync
from keydb_runbooks.runbooks.steps_restart import BackInSync

Primary = tuple[str, Node]
"""What a primary says of itself, as text and as it is understood."""


class Watch:
    """A full resync, look by look; ``now`` is None while none is seen.

    What its primary alone tells is counted apart: other numbers stand for the same place there.
    """

    def __init__(self, primary: str) -> None:
        self.now: Resync | None = None
        self.further = False
        self.under_way = False
        self._seen, self._heard, self._last = Progress(), Progress(), Progress()
        self._pace = Pace("")
        self._told = {
            Phase.WAITS: f"it waits for its turn: {primary} writes its data for another",
            Phase.WRITES: f"{primary} writes its data",
            Phase.COMES: f"it gets the data of {primary}",
            Phase.EMPTIES: f"{primary} sent it all, and heard it",
            Phase.LOADS: f"it loads the data of {primary}",
        }

    def see(self, replica: str, primary: str, listed: Replica | None = None) -> None:
        """Note what INFO of both says."""
        now = read_resync(read_info(replica), read_info(primary), listed)
        before, self._seen = self._seen, self._seen.see(now)
        if now is None:
            self._heard = self._heard.see(None)
        self.under_way = now is not None
        self._note(now, before, self._seen)

    def hear(self, primary: str, listed: Replica | None) -> None:
        """Note what INFO of the primary says while the replica answers nobody."""
        now = read_heard(read_info(primary), listed)
        before, self._heard = self._heard, self._heard.see(now)
        self.under_way = self.under_way or now is not None
        self._note(now, before, self._heard)

    def _note(self, now: Resync | None, before: Progress, after: Progress) -> None:
        self.further, self._last = after.further(before), after
        if now is not None:
            if self.now is None or self.now.phase is not now.phase or now.done < self.now.done:
                self._pace = Pace(now.unit)
            self._pace.see(now.done, now.total)
        self.now = now

    @property
    def told(self) -> str:
        """What is under way, and how far it is; "" if nothing is."""
        if self.now is None:
            return ""
        pace = f": {self._pace}"
        if self.now.phase is Phase.EMPTIES:
            pace = f" {(self.now.total or 0) - self.now.done} s ago"
        elif self.now.phase is Phase.COMES and not self.now.done:
            # Its primary alone doesn't know how much came.
            pace = ""
        share = "" if self.now.share is None else f"; {self.now.share} % of the keys are sent"
        often = f"; it began {self._last.begun} times" if self._last.exhausted else ""
        return f"{self._told[self.now.phase]}{pace}{share}{often}"

    def __str__(self) -> str:
        return f"full resync: {self.told}" if self.now is not None else "no full resync is under way"


class Joining:
    """A replica on its way to be in sync, look by look; ``further`` is whether the last one saw any progress."""

    def __init__(self, step: InSync | BackInSync, links: Links) -> None:
        self.step, self.links = step, links
        self.state = ""
        self.further = False
        self._resync = Watch(step.primary)
        self._silent: Exception | None = None

    def wait(self) -> Node:
        """Wait until it is there, as long as it gets further, and return what it says then.

        :raises StepFailed: if it didn't for too long, or its primary is gone
        """
        step = self.step
        told = lambda: f"{step.where} is not in sync with {step.primary} yet: {self.state}"  # noqa: E731
        node = until(self.look, step.stalled_seconds, SLOW_POLL_SECONDS, told, lambda: self.further)
        if node is None:
            late = f"no progress for {step.stalled_seconds:g} s ({self.state})"
            raise StepFailed(f"{step.where} is not in sync with {step.primary}: {late}")
        return node

    def look(self) -> Node | None:
        """The replica, as soon as it is in sync.

        :raises StepFailed: if its primary is gone
        :raises LinkError, redis.RedisError, OSError: if it is silent, and in no full resync as far as anybody knows
        """
        info = self._info()
        node = None if info is None else self.links.understood(self.step.where, info)
        # Once in a look at most, and only who needs its word asks it.
        ask = cache(self._primary)
        if node is not None and self._arrived(node, ask):
            return node
        told, primary = ask()
        listed = self._listed(primary)
        if info is None or node is None:
            self._hear(told, listed)
        else:
            self._resync.see(info, told, listed)
            self.further, self.state = self._resync.further or self._closer(node), self._told(node)
        return None

    def _linked(self, node: Node) -> bool:
        return node.link is not None and node.link.primary == self.step.address and node.link.up

    def _arrived(self, node: Node, ask: Callable[[], Primary]) -> bool:
        """Whether it has what it is waited for; ``ask`` gives the primary's word."""
        return self._linked(node)

    def _closer(self, node: Node) -> bool:
        """Whether it came closer to what it waits for without a full resync."""
        return False

    def _info(self) -> str | None:
        """INFO of the replica; None while it answers nobody.

        :raises LinkError, redis.RedisError, OSError: if nothing lives there
        """
        name = self.step.where
        try:
            if self._silent is not None:
                self.links.reopen(name, loading=True)
                self._hold()
                self._silent = None
            return self.links.info(name)
        except (LinkError, redis.RedisError, OSError) as error:
            if explain(error, self.links.group.node(name).address).code not in ("no-answer", "loading"):
                raise
            self._silent = error
        return None

    def _hold(self) -> None:
        """Hold the lock over a fresh link as well."""
        if self.links.lock is not None:
            self.links.lock.adopt(self.step.where, self.links.node(self.step.where))

    def _hear(self, primary: str, listed: Replica | None) -> None:
        """A replica is silent while it throws its former data away, and between two parts of data that come slowly."""
        assert self._silent is not None
        self._resync.hear(primary, listed)
        if not self._resync.under_way:
            raise self._silent
        detail = explain(self._silent, self.links.group.node(self.step.where).address).detail
        known = self._resync.told or "perhaps as it throws its former data away"
        self.further, self.state = self._resync.further, f"full resync: {detail}, {known}"

    def _listed(self, primary: Node) -> Replica | None:
        return find_listed(self.step.where, primary, self.links.group)

    def _primary(self) -> Primary:
        """INFO of the primary: nobody comes in sync with one that is gone, so nobody waits for it."""
        name = self.step.primary
        try:
            info = self.links.info(name)
            primary = self.links.understood(name, info)
        except (redis.RedisError, OSError) as error:
            address = self.links.group.node(name).address
            raise StepFailed(f"{name}, its primary, no longer answers: {explain(error, address).detail}") from None
        if not primary.is_primary:
            raise StepFailed(f"{name}, its primary, no longer says that it is one")
        return info, primary

    def _told(self, node: Node) -> str:
        if node.link is None:
            return "it is no replica"
        if self._resync.now is not None:
            return str(self._resync)
        return f"its link to {node.link.primary} is {'up' if node.link.up else 'down'}"

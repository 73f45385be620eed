"""Performing the step that waits until a replica's link is up, by a full resync perhaps."""

from __future__ import annotations

import redis

from keydb_runbooks.connectors.link import LinkError, explain
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.resync import Watch
from keydb_runbooks.operations.waits import SLOW_POLL_SECONDS, until
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps import InSync


@perform.register
def _in_sync(step: InSync, links: Links) -> str:
    joining = Joining(step, links)
    told = lambda: f"{step.where} is not in sync with {step.primary} yet: {joining.state}"  # noqa: E731
    node = until(joining.look, step.stalled_seconds, SLOW_POLL_SECONDS, told, lambda: joining.further)
    if node is None:
        late = f"no progress for {step.stalled_seconds:g} s ({joining.state})"
        raise StepFailed(f"{step.where} is not in sync with {step.primary}: {late}")
    return f"is in sync with {step.primary}"


class Joining:
    """A replica on its way to be in sync, look by look; ``further`` is whether the last one saw any progress."""

    def __init__(self, step: InSync, links: Links) -> None:
        self.step, self.links = step, links
        self.state = ""
        self.further = False
        self._resync = Watch(step.primary)
        self._silent = False

    def look(self) -> Node | None:
        """The replica, as soon as it is in sync.

        :raises StepFailed: if its primary is gone
        """
        info = self._info()
        if info is None:
            self._primary()
            return None
        node = self.links.understood(self.step.where, info)
        if node.link is not None and node.link.primary == self.step.address and node.link.up:
            return node
        self._resync.see(info, self._primary())
        self.further, self.state = self._resync.further, self._told(node)
        return None

    def _info(self) -> str | None:
        """INFO of the replica; None while it throws its former data away, and answers nobody.

        :raises LinkError, redis.RedisError, OSError: if it is silent for another reason
        """
        name = self.step.where
        try:
            if self._silent:
                self.links.reopen(name)
                if self.links.lock is not None:
                    self.links.lock.adopt(name, self.links.node(name))
                self._silent = False
            return self.links.info(name)
        except (LinkError, redis.RedisError, OSError) as error:
            told = explain(error, self.links.group.node(name).address)
            if self._resync.now is None or told.code not in ("no-answer", "loading"):
                raise
        self._silent = True
        # Who loads ends that by itself; a fresh link is told no more of it.
        self.further = told.code == "loading"
        why = "" if self.further else ", perhaps as it throws its former data away"
        self.state = f"full resync: {told.detail}{why}"
        return None

    def _primary(self) -> str:
        """INFO of the primary: nobody comes in sync with one that is gone, so nobody waits for it."""
        name = self.step.primary
        try:
            info = self.links.info(name)
            stands = self.links.understood(name, info).is_primary
        except (redis.RedisError, OSError) as error:
            address = self.links.group.node(name).address
            raise StepFailed(f"{name}, its primary, no longer answers: {explain(error, address).detail}") from None
        if not stands:
            raise StepFailed(f"{name}, its primary, no longer says that it is one")
        return info

    def _told(self, node: Node) -> str:
        if node.link is None:
            return "it is no replica"
        if self._resync.now is not None:
            return str(self._resync)
        return f"its link to {node.link.primary} is {'up' if node.link.up else 'down'}"

"""A backup's data on their way from a second server to a node beside it: waited for as any other full resync is."""

from __future__ import annotations

from collections.abc import Callable

import redis

from keydb_runbooks.connectors.link import Client, LinkError, explain
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.lock import LockRefused
from keydb_runbooks.operations.resync import Joining, Primary
from keydb_runbooks.runbooks.replication import Address, Node, Replica, node_from_info
from keydb_runbooks.runbooks.steps import InSync
from keydb_runbooks.runbooks.steps_restore import LoadBackup


class TakingOver(Joining):
    """A node until it has all of the second server's data, look by look.

    :param address: the second server's; ``reach`` opens a link to it
    :param lives: whether its process still runs, as its machine says
    :raises LinkError: if the second server doesn't answer
    """

    def __init__(
        self, step: LoadBackup, links: Links, address: Address, reach: Callable[[], Client], lives: Callable[[], bool]
    ) -> None:
        super().__init__(InSync(step.where, "the second server", address, step.stalled_seconds), links)
        self._reach, self._lives = reach, lives
        self._offered = reach()
        self._said, self._unheard = self._ask(), ""

    def close(self) -> None:
        """Let go of the second server."""
        self._offered.close()

    def look(self) -> Node | None:
        node = super().look()
        if self._unheard:
            self.state = f"{self.state}; the second server: {self._unheard}"
        return node

    def _arrived(self, node: Node, ask: Callable[[], Primary]) -> bool:
        if not self._linked(node) or node.loading:
            return False
        # A server without a backlog begins another stream with its first replica.
        _, offered = ask()
        return node.replication_id == offered.replication_id

    def _listed(self, primary: Node) -> Replica | None:
        # Nobody else knows of a second server, so whatever address it has is the node's.
        return primary.replicas[0] if len(primary.replicas) == 1 else None

    def _primary(self) -> Primary:
        """What the second server says; while it is silent, what it said last: a fork of much data takes a moment."""
        try:
            if self._unheard:
                self._offered = self._reach()
            self._said, self._unheard = self._ask(), ""
        except (LinkError, redis.RedisError, OSError) as error:
            if not self._lives():
                told = "the second server ended before all was taken over"
                raise StepFailed(f"{self.step.where}: {told}") from None
            self._unheard = explain(error, self.step.address).detail
        return self._said

    def _ask(self) -> Primary:
        said = self._offered.execute_command("INFO")
        return said, node_from_info(self.step.primary, self.step.address, said)

    def _hold(self) -> None:
        """A group's only node has nobody who could prove the lock; who came meanwhile has let it follow another one."""
        lock, name = self.links.lock, self.step.where
        if lock is None or set(lock.clients) != {name}:
            return super()._hold()
        try:
            lock.reclaim(name, self.links.node(name))
        except LockRefused as error:
            raise StepFailed(str(error)) from None

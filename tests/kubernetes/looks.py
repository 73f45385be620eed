"""What is seen of a group again and again while something else goes on: who is away, who gets a full resync."""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from types import TracebackType

import redis

from keydb_runbooks.connectors.cluster import ClusterError
from tests.kubernetes.group import PODS
from tests.kubernetes.installed import InstalledRuns

PAUSE_SECONDS = 0.5


class Looks:
    """Looks at all pods, and asks each server, in a thread until the block ends.

    ``most_away`` is how many pods were ending, not running or not there at once (who is ready kubelet tells late),
    ``most_syncing`` how many servers were in a full resync; ``order`` are the pods in the order in which others took
    their places.
    """

    def __init__(self, runs: InstalledRuns) -> None:
        self.runs = runs
        self.count = self.syncing = self.most_away = self.most_syncing = 0
        self.order: list[str] = []
        self._known = {pod: runs.uid(pod) for pod in PODS}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on)

    def __enter__(self) -> Looks:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            self._look()

    def _look(self) -> None:
        there = {
            one.metadata.name: one for one in self.runs.group.core.list_namespaced_pod(self.runs.group.namespace).items
        }
        for pod in PODS:
            if pod in there and there[pod].metadata.uid != self._known[pod]:
                self._known[pod] = there[pod].metadata.uid
                self.order.append(pod)
        self.most_away = max(self.most_away, sum(not _runs(there.get(pod)) for pod in PODS))
        now = sum(self._is_syncing(pod) for pod in PODS)
        self.most_syncing, self.syncing, self.count = (
            max(self.most_syncing, now),
            self.syncing + (now > 0),
            self.count + 1,
        )

    def _is_syncing(self, pod: str) -> bool:
        """Whether a server is getting all the data; one that can't be asked is away, which is counted by itself."""
        # Nothing is held: KeyDB closes descriptor 0 at times, who comes next has it, and no verb goes on while it is taken.
        with (
            suppress(redis.RedisError, OSError, ClusterError),
            closing(self.runs.client(pod, "operator")) as client,
            closing(client.connection_pool),
        ):
            return bool(client.info("replication").get("master_sync_in_progress"))
        return False


def _runs(pod: object) -> bool:
    if pod is None or pod.metadata.deletion_timestamp is not None:  # type: ignore[attr-defined]
        return False
    containers = pod.status.container_statuses or []  # type: ignore[attr-defined]
    return bool(containers) and all(one.state.running is not None for one in containers)

"""Restart: every node's process is replaced by a new one, one after the other, and no write waits for it."""

from __future__ import annotations

from keydb_runbooks.runbooks.plan import Answer, Request
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.rolling import Wish, roll, runs
from keydb_runbooks.runbooks.topology import Topology

INEXACT_SECONDS = 1.0
"""Servers tell their age in whole seconds. Whoever may have begun before the moment is restarted, perhaps once more."""


def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
    """Decide who is restarted and when: every node whose process began before ``request.since``.

    Within one run that are the processes which it saw first; their age is exact enough for another run only.

    :param min_replicas: ``min-replicas-to-write`` that a new primary has after its promotion
    """
    since = request.since
    assert since is not None, "whoever asks for a restart says since when"

    def due(node: Node) -> bool:
        if request.processes is not None:
            return node.run_id in request.processes
        began = node.condition.began_seconds
        return began is None or began - INEXACT_SECONDS < since.seconds

    wish = Wish("restart", due, runs, f"was started since {since.told}", (("since", since.told),))
    return roll(wish, topology, request, min_replicas)

"""What a rolling run stays with: the processes that it set out to replace, and the next primary that it chose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from keydb_runbooks.operations import options
from keydb_runbooks.runbooks.plan import Answer, Plan, Request, Since
from keydb_runbooks.runbooks.restart import INEXACT_SECONDS
from keydb_runbooks.runbooks.steps_restart import Restart
from keydb_runbooks.runbooks.topology import Topology

Verb = Callable[[Topology, Request, int], Answer]


def staying(plan: Verb) -> Verb:
    """A verb that looks again and again, and means what its first plan meant, however ages and candidates change.

    Without ``since=`` it is all that runs at the first look.
    """
    meant: list[Request] = []

    def decide(topology: Topology, request: Request, min_replicas: int) -> Answer:
        request = meant[0] if meant else replace(request, since=request.since or _behind_all(topology))
        answer = plan(topology, request, min_replicas)
        if isinstance(answer, Plan) and not meant:
            processes = frozenset(step.run_id for step in answer.steps if isinstance(step, Restart))
            meant.append(replace(request, to=answer.primary, processes=processes))
        return answer

    return decide


def _behind_all(topology: Topology) -> Since:
    """The earliest moment before which everybody began: by it another run knows best whom this one restarted."""
    began = [node.condition.began_seconds for node in topology.nodes]
    known = [seconds for seconds in began if seconds is not None]
    seconds = max(known) + 2 * INEXACT_SECONDS if len(known) == len(began) and known else time.time()
    return Since(float(math.ceil(seconds)), options.written(math.ceil(seconds)))

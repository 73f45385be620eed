"""Rejoin: whoever doesn't follow the primary becomes its replica, and nothing is destroyed silently."""

from __future__ import annotations

from keydb_runbooks.runbooks.attach import finish
from keydb_runbooks.runbooks.plan import Answer, NothingToDo, Refusal, Request
from keydb_runbooks.runbooks.refusals import refuse_mode, refuse_nobody, refuse_rivals, refuse_unknown
from keydb_runbooks.runbooks.topology import Topology


def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
    """Decide how every node that answers comes to follow the rightful primary.

    Nodes that don't answer are left alone, unless one of them may have been promoted by a run that died.
    """
    refusal = refuse_mode(topology) or refuse_nobody(topology) or refuse_unknown(topology, request)
    if refusal := refusal or refuse_rivals(topology):
        return refusal
    primary = topology.rightful_primary()
    if primary is None:
        return Refusal("no-primary", topology.group, "there is nobody to follow", "run failover first")
    if request.to not in (None, primary.name):
        told = f"is the primary, and {request.to} is not: rejoin moves no role"
        return Refusal("other-primary", primary.name, told, f"leave to= out; switchover to={request.to} moves it")
    answer = finish("rejoin", topology, primary, request, min_replicas)
    if isinstance(answer, NothingToDo):
        return NothingToDo("already-joined", topology.group, f"every node that answers follows {primary.name}")
    return answer

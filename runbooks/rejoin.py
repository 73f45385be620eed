"""Rejoin: whoever doesn't follow the primary becomes its replica, and nothing is destroyed silently."""

from __future__ import annotations

from keydb_runbooks.runbooks.attach import finish, refuse_mode
from keydb_runbooks.runbooks.plan import Answer, NothingToDo, Refusal, Request
from keydb_runbooks.runbooks.topology import Topology


def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
    """Decide how every node that answers comes to follow the rightful primary.

    Nodes that don't answer are left alone: they are nobody's risk here, since no role moves.
    """
    if refusal := refuse_mode(topology):
        return refusal
    if not topology.nodes:
        told = "; ".join(f"{node.name}: {node.detail}" for node in topology.unread)
        return Refusal("no-node-answers", topology.group, told, "start a server or mend the way to it")
    primary = topology.rightful_primary()
    if primary is None and topology.primaries:
        names = " and ".join(node.name for node in topology.primaries)
        told = f"{names} are primaries, and neither lineage nor epoch tells which is the rightful one"
        return Refusal("two-primaries", topology.group, told, "stop the one whose writes you can spare, then rejoin")
    if primary is None:
        return Refusal("no-primary", topology.group, "there is nobody to follow", "run failover first")
    answer = finish("rejoin", topology, primary, request, min_replicas)
    if isinstance(answer, NothingToDo):
        return NothingToDo("already-joined", topology.group, f"every node that answers follows {primary.name}")
    return answer

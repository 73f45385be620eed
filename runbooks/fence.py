"""Fence: no client of a node can write there until unfence says so, whatever role it has and whoever restarts it."""

from __future__ import annotations

from keydb_runbooks.runbooks.named import named_node
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps_fence import Fence, TryWrites
from keydb_runbooks.runbooks.topology import Topology

GAPS = {
    True: "no client can write until unfence or a switchover",
    False: "none: it takes no writes now",
}


def plan(topology: Topology, request: Request, _min_replicas: int) -> Answer:
    """Decide how clients lose the right to write on ``request.node``. Its role and everybody else stay as they are."""
    node = named_node(topology, request)
    if isinstance(node, Refusal):
        return node
    if node.clients is None or node.acl_file is None:
        hint = "run this again, and look at the server if that stays"
        return Refusal("users-unknown", node.name, "did not tell which users it has", hint)
    if node.fenced and node.config_fenced:
        told = "no client can write there, and its file says the same"
        return NothingToDo("already-fenced", node.name, told)
    return _plan(topology, node, Fence(node.name, tuple(u for u in node.clients if u.may_write), node.acl_file))


def _plan(topology: Topology, node: Node, fence: Fence) -> Plan:
    rightful = topology.rightful_primary()
    warnings = []
    if strangers := [user.name for user in fence.users if not user.known and user.fence[0] == "-@all"]:
        names = " and ".join(strangers)
        warnings.append(f"{names} can do nothing there, not even read, until unfence: their rules aren't understood")
    if node is rightful:
        warnings.append(f"{node.name} is the primary: nobody takes writes until unfence or a switchover")
    return Plan(
        verb="fence",
        group=topology.group,
        primary=None if rightful is None else rightful.name,
        former=None if rightful is None else rightful.name,
        steps=(fence, TryWrites(node.name, permitted=False)),
        loss=Loss(0, "what it acknowledged stays"),
        proof="it makes no node a primary",
        gap=GAPS[node.is_primary],
        warnings=tuple(warnings),
        node=node.name,
        outcome=f"{node.name} takes no writes of clients until unfence",
    )

"""Unfence: clients of a node have the inventory's rights again, unless that makes a second writer."""

from __future__ import annotations

from keydb_runbooks.runbooks.named import named_node
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import refuse_empty, refuse_older, refuse_silent
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps_fence import TryWrites, Unfence
from keydb_runbooks.runbooks.superseded import refuse_unsettled
from keydb_runbooks.runbooks.topology import Topology


def plan(topology: Topology, request: Request, _min_replicas: int) -> Answer:
    """Decide how clients of ``request.node`` get their rights back."""
    node = named_node(topology, request)
    if isinstance(node, Refusal):
        return node
    if node.clients is None or node.acl_file is None:
        hint = "run this again, and look at the server if that stays"
        return Refusal("users-unknown", node.name, "did not tell which users it has", hint)
    fenced = tuple(user for user in node.clients if user.fenced)
    saved = node.config_clients is not None and not any(user.fenced for user in node.config_clients)
    if not fenced and saved:
        return NothingToDo("not-fenced", node.name, "its clients have their rights, and its file says the same")
    if refusal := _refuse_second_writer(topology, node, request) if node.is_primary else _refuse_writable(node):
        return refusal
    return _plan(topology, node, Unfence(node.name, fenced, node.acl_file))


def _refuse_writable(node: Node) -> Refusal | None:
    """A replica is no second writer as long as it is read-only, and whether it is must be known."""
    if node.read_only:
        return None
    told = "is a replica, and not known to be read-only: clients could write on it beside the primary"
    hint = "CONFIG SET replica-read-only yes there, then this again"
    return Refusal("second-writer", node.name, told, hint)


def _refuse_second_writer(topology: Topology, node: Node, request: Request) -> Refusal | None:
    """Why a primary may not take writes again: another one does, did, or may do so."""
    rightful = topology.rightful_primary()
    others = [one.name for one in topology.primaries if one is not node]
    if rightful is None:
        rivals = f"is a primary, {' and '.join(others)} is too"
        told = f"{rivals}, and neither lineage nor epoch tells which is the rightful one"
        return Refusal("second-writer", node.name, told, "run demote for the one whose writes you can spare")
    if rightful is not node:
        told = f"is a primary, but {rightful.name} is the rightful one"
        return Refusal("second-writer", node.name, told, "run rejoin first, which makes it a replica")
    return (
        refuse_silent(topology, request)
        or refuse_unsettled(topology, node)
        or refuse_older(topology, node)
        or refuse_empty(topology, node)
    )


def _plan(topology: Topology, node: Node, unfence: Unfence) -> Plan:
    rightful = topology.rightful_primary()
    # A node that holds writes back would hold the trial back too.
    tried = (TryWrites(node.name, permitted=True),) if node.paused is False else ()
    return Plan(
        verb="unfence",
        group=topology.group,
        primary=None if rightful is None else rightful.name,
        former=None if rightful is None else rightful.name,
        steps=(unfence, *tried),
        loss=Loss(0, "it takes nothing away"),
        proof=f"{node.name} is {'the only rightful primary' if node.is_primary else 'a replica, which is read-only'}",
        gap="none: it ends one",
        node=node.name,
        outcome=f"clients of {node.name} have their rights again",
    )

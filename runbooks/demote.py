"""Demote: a primary stops being one, without a successor.

It follows the rightful primary, if that is another one that has all it holds; else it is guarded: nobody's replica,
read-only, with its data.
Never under replicas that are attached: they would meet a source that refuses them, and that makes KeyDB close its file
descriptor 0 (keydb-facts, "KeyDB closes file descriptor 0").
"""

from __future__ import annotations

from dataclasses import replace

from keydb_runbooks.runbooks.attach import release
from keydb_runbooks.runbooks.named import named_node
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import refuse_empty, refuse_loading
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.rescue import left_out, sole_holders, step_down
from keydb_runbooks.runbooks.steps import STALLED_SECONDS, Guard, InSync, SaveConfiguration, Step
from keydb_runbooks.runbooks.topology import Topology


def plan(topology: Topology, request: Request, _min_replicas: int) -> Answer:
    """Decide how ``request.node`` stops being a primary."""
    node = named_node(topology, request)
    if isinstance(node, Refusal):
        return node
    if not node.is_primary:
        return _save(topology, node)
    rightful = topology.rightful_primary()
    if refusal := _refuse_followed(topology, node, rightful):
        return refusal
    if rightful is None or rightful is node:
        return _guard(topology, node)
    if refusal := refuse_loading(rightful) or refuse_empty(topology, rightful) or refuse_loading(node):
        return refusal
    if held := sole_holders(topology, (node,), rightful):
        return replace(_guard(topology, node), warnings=left_out(held))
    return _follow(topology, node, rightful, request)


def _save(topology: Topology, node: Node) -> Answer:
    if node.config_replicaof == node.running_replicaof:
        return NothingToDo("no-primary", node.name, "is no primary, and its file says the same")
    steps = (SaveConfiguration(node.name),)
    return _plan(topology, node, steps, "none: it takes no writes now", f"{node.name} is no primary")


def _refuse_followed(topology: Topology, node: Node, rightful: Node | None) -> Refusal | None:
    """A primary that somebody follows. Who is known by a connection alone is told by its address."""
    names = {one.address: one.name for one in topology.everybody}
    attached = {names.get(replica.address, str(replica.address)) for replica in node.replicas}
    attached |= {other.name for other in topology.nodes if other.follows(node)}
    if not attached:
        return None
    told = f"{' and '.join(sorted(attached))} would lose the primary that it follows, and KeyDB does not stand that"
    hint = f"run switchover, or fence node={node.name} if it shall take no writes"
    if rightful is not None and rightful is not node:
        hint = "run rejoin, which repoints the replicas first"
    return Refusal("replicas-attached", node.name, told, hint)


def _guard(topology: Topology, node: Node) -> Plan:
    others = [one.name for one in topology.primaries if one is not node]
    standing, gap = "nobody is a primary then", "until failover or promote makes a node the primary"
    if others:
        standing = f"{' and '.join(others)} {'stay primaries' if others[1:] else 'stays a primary'}"
        gap = f"for clients of {node.name}, until they find {' or '.join(others)}"
    steps = (Guard(node.name), *release((node,)))
    return _plan(topology, node, steps, gap, f"{node.name} is nobody's replica, read-only; {standing}")


def _follow(topology: Topology, node: Node, rightful: Node, request: Request) -> Plan:
    sync = InSync(node.name, rightful.name, rightful.address, STALLED_SECONDS)
    steps = (Guard(node.name), *step_down(node, rightful, request), sync)
    return _plan(topology, node, steps, f"none for clients of {rightful.name}", f"{node.name} follows {rightful.name}")


def _plan(topology: Topology, node: Node, steps: tuple[Step, ...], gap: str, outcome: str) -> Plan:
    rightful = topology.rightful_primary()
    stays = rightful.name if rightful is not None and rightful is not node else None
    return Plan(
        verb="demote",
        group=topology.group,
        primary=stays,
        former=None if rightful is None else rightful.name,
        steps=steps,
        loss=Loss(0, "it keeps its data"),
        proof="it makes no node a primary",
        gap=gap,
        node=node.name,
        outcome=outcome,
    )

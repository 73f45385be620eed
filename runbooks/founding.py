"""Founding: who is the primary of a group that never had one.

``keydb_first_primary`` counts here and nowhere else: once a group had a primary, its servers know
better than the inventory (design, "The role lives in the servers").
"""

from __future__ import annotations

from keydb_runbooks.runbooks.attach import attach, routes, verify
from keydb_runbooks.runbooks.before import Before
from keydb_runbooks.runbooks.leading import label, lead
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import refuse_fenced, refuse_harm, refuse_mode, refuse_unread
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps import Promote, SaveConfiguration
from keydb_runbooks.runbooks.topology import Topology

NOTHING_BEFORE = Before()


def plan(
    topology: Topology,
    first_primary: str,
    *,
    min_replicas: int,
    before: Before = NOTHING_BEFORE,
    accept_split: bool = False,
) -> Answer:
    """Found a group, or attach new and empty nodes to a founded one; move no role.

    :param first_primary: name of the node that is the first primary of a virgin group
    :param before: what is known of servers that ran before those that are there
    :param accept_split: found it although one of these may run on
    """
    if refusal := refuse_mode(topology):
        return refusal
    primary = topology.rightful_primary()
    for node in topology.nodes:
        if primary is None and node.loading:
            return Refusal("loading", node.name, "is loading its data", "run install again when it is done")
    if len(topology.primaries) > 1 and primary is None:
        names = " and ".join(node.name for node in topology.primaries)
        return NothingToDo("two-primaries", topology.group, f"{names} are primaries; install moves no role, run rejoin")
    if primary is None and not all(virgin(node) for node in topology.nodes):
        sentence = "had a primary before and has none now; install moves no role, run failover"
        return NothingToDo("no-primary", topology.group, sentence, "left without a primary")
    if primary is not None:
        return _attach_new(topology, primary)
    refusal = _refuse_silent(topology, first_primary)
    if refusal := refusal or (None if accept_split else _refuse_before(topology, before)):
        return refusal
    first = topology.node(first_primary)
    assert first is not None
    # Somebody may have fenced it since this install looked first.
    if refusal := refuse_fenced(first, ", then install again"):
        return refusal
    others = tuple(node for node in topology.nodes if node is not first)
    return Plan(
        verb="install",
        group=topology.group,
        primary=first.name,
        former=None,
        steps=(
            Promote(first.name, 1, min_replicas),
            SaveConfiguration(first.name),
            *attach(others, first),
            *routes(topology, first),
            *lead(topology, first),
            *verify(topology, first, tuple(node.name for node in others)),
            *label(topology, first, (node.name for node in others)),
        ),
        loss=Loss(0, "no node holds anything yet"),
        proof="no node ever was a primary",
        gap="none: nobody writes yet",
        warnings=_warnings(before),
    )


def _refuse_before(topology: Topology, before: Before) -> Refusal | None:
    """A pod that is new, as its volume is, says nothing of whoever had its name."""
    if not before.runs:
        return None
    told = (
        f"{before.runs}: all of them hold nothing, and a server of a pod before them may still take writes, on a node "
        "that is out of reach"
    )
    hint = (
        "look for the volumes that have the data; or make sure that no such server runs, and say so by "
        "accept_split=yes (if one does, its writes are lost)"
    )
    return Refusal("founded-before", topology.group, told, hint)


def _warnings(before: Before) -> tuple[str, ...]:
    if before.unread:
        return (f"whether the group had other servers before is not known: {before.unread}",)
    return (f"accepted by accept_split: {before.runs}",) if before.runs else ()


def _refuse_silent(topology: Topology, first_primary: str) -> Refusal | None:
    """A node that doesn't answer, even a stopped one, may hold the data of a group that was founded before."""
    if first_primary not in topology.names:
        nodes = ", ".join(topology.names)
        return Refusal("unknown-first-primary", first_primary, "is no node of this group", f"allowed are {nodes}")
    if refusal := refuse_unread(topology, Request()):
        return refusal
    for node in topology.unread:
        told = f"{node.detail}, and it may hold the data of a group that was founded before"
        return Refusal(f"node-{node.code}", node.name, told, "start it, or take it out of the inventory")
    return None


def virgin(node: Node) -> bool:
    """Whether a node never was part of a founded group: nothing in it, guarded, never promoted."""
    return not node.loading and node.empty and node.guarded and node.epoch is None and node.second_offset < 0


def _attach_new(topology: Topology, primary: Node) -> Answer:
    new = tuple(node for node in topology.nodes if node is not primary and virgin(node))
    move = lead(topology, primary)
    if not new and not move:
        return NothingToDo("founded", topology.group, f"{primary.name} is the primary; install moves no role")
    if refusal := refuse_harm(topology, new, primary, Request()):
        return refusal
    if primary.empty:
        return Refusal("empty-primary", primary.name, "holds nothing, not even an epoch", "run status")
    return Plan(
        verb="install",
        group=topology.group,
        primary=primary.name,
        former=primary.name,
        steps=(*attach(new, primary), *move, *verify(topology, primary, tuple(node.name for node in new))),
        loss=Loss(0, "the new nodes hold nothing"),
        proof=f"{primary.name} stays the primary",
        gap="none",
        warnings=tuple(f"{node.name} needs a full resync: it holds nothing" for node in new),
    )

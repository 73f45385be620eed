"""Whether a node may take the role when the primary is gone: it is whole, and nobody holds more than it, or might."""

from __future__ import annotations

from keydb_runbooks.runbooks.lineage import relate
from keydb_runbooks.runbooks.plan import Refusal, Request
from keydb_runbooks.runbooks.refusals import refuse_target
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.topology import Topology


def refuse_candidate(topology: Topology, node: Node, request: Request) -> Refusal | None:
    """Why this node can't be promoted, or None."""
    if refusal := refuse_target(node):
        return refusal
    if node.link is not None and node.link.syncing:
        told = "was cut off in the middle of a full resync: its data are not whole"
        return Refusal("target-not-whole", node.name, told, "choose another target")
    for other in topology.nodes:
        if other is node or other.empty:
            continue
        if refusal := _refuse_emptiness(node, other) or _refuse_behind(node, other, request):
            return refusal
    return _refuse_returned(topology, node, request)


def _refuse_returned(topology: Topology, node: Node, request: Request) -> Refusal | None:
    """A node that was restarted is no candidate while a silent one may hold more, and follow its very address."""
    for silent in _perhaps_followers(topology, node):
        came = "was restarted" if node.guarded else "holds no keys"
        if node.guarded and node.empty:
            # Nobody may give this up: an empty node is never the source of one that holds data.
            told = f"was restarted and holds no keys, and {silent}, which can't be read, may follow its address"
            hint = f"reach or stop {silent}; if it is lost for good, take it out of the inventory"
            return Refusal("target-empty", node.name, told, hint)
        if silent not in request.accept_loss:
            told = f"{came}, and {silent}, which can't be read, may follow its address and hold more"
            hint = f"reach or stop {silent}, or accept_loss={silent}"
            return Refusal("target-returned", node.name, told, hint)
    return None


def _perhaps_followers(topology: Topology, node: Node) -> tuple[str, ...]:
    """Silent nodes that would copy a node when they wake, since it may be the primary that they had."""
    came_back = node.guarded or node.empty
    return tuple(silent.name for silent in topology.unread if came_back and not silent.stopped)


def given_up_unread(topology: Topology, candidate: Node, request: Request) -> tuple[str, ...]:
    """What a person gave up with accept_loss that nobody could look at, a sentence for each node."""
    return tuple(
        f"{silent} may follow {candidate.name} already: when it wakes it is made a copy of it, and what {silent} alone "
        "holds is gone, saved by nobody (accepted by accept_loss)"
        for silent in _perhaps_followers(topology, candidate)
        if silent in request.accept_loss
    )


def _refuse_emptiness(node: Node, other: Node) -> Refusal | None:
    """Nobody may give this up: an empty node is never the source of one that holds data."""
    if not node.empty or other.loading:
        return None
    return Refusal("target-empty", node.name, f"holds no keys, but {other.name} does", f"use to={other.name}")


def _refuse_behind(node: Node, other: Node, request: Request) -> Refusal | None:
    """Why promoting ``node`` would throw away something that ``other`` holds, or might, and nobody gave up."""
    if other.name in request.accept_loss:
        return None
    if other.loading:
        told = f"nobody can tell whether {other.name} has more, since it is loading its data"
        return Refusal("loading", node.name, told, "wait until status says that it is done")
    if not _same_family(node, other):
        told = f"shares no known history with {other.name}, so nobody can tell who has more"
        return Refusal("unrelated", node.name, told, f"accept_loss={other.name} if you can spare what it holds")
    if _ahead(other, node):
        told = f"{other.name} holds writes that it lacks"
        if relate(other, node).lost_bytes is None:
            told = f"the data of {other.name} come from a later stream, and may hold more"
        hint = f"use to={other.name}, or accept_loss={other.name} if you can spare them"
        return Refusal("target-behind", node.name, told, hint)
    return None


def _same_family(one: Node, other: Node) -> bool:
    return relate(one, other).lost_bytes is not None or relate(other, one).lost_bytes is not None


def _ahead(other: Node, node: Node) -> bool:
    """Whether ``other`` holds bytes of the stream that ``node`` lacks; after a fork that may be so both ways."""
    if other.replication_id == node.replication_id:
        return other.offset > node.offset
    return not relate(other, node).harmless

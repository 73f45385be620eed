"""Whose role the primary has, where it isn't who has it now: for those who are told of it, and for no decision."""

from __future__ import annotations

from keydb_runbooks.runbooks.replication import Node, Unread
from keydb_runbooks.runbooks.topology import Topology


def moved_from(topology: Topology, primary: Node) -> str | None:
    """The node that was the primary before, as long as something of that move is unfinished; None if nothing tells.

    Somebody who follows a replica, or a Service that leads elsewhere, may be a person's doing, and is no sign.
    """
    signs = (
        *_primaries(topology, primary),
        *_followed(topology, primary),
        # Only a primary is told to hold writes back, and this one follows already.
        *(node.name for node in topology.nodes if node.paused and node is not primary),
        *(name for service in topology.services for name in service.stragglers),
    )
    return next(iter(signs), None)


def came_back(topology: Topology, candidate: Node) -> str | None:
    """The node that was the primary and is back as nobody's, while replicas still follow it; None if nobody tells.

    :param candidate: who takes the role: nobody takes it from itself
    """
    guarded = (one for one in topology.followed if isinstance(one, Node) and one.guarded and one is not candidate)
    return next((node.name for node in guarded), None)


def _primaries(topology: Topology, primary: Node) -> tuple[str, ...]:
    """The old primary still says that it is one."""
    return tuple(node.name for node in topology.primaries if node is not primary)


def _followed(topology: Topology, primary: Node) -> tuple[str, ...]:
    """Its replicas still follow it, though it is silent, or has come back as nobody's."""
    return tuple(
        source.name
        for source in topology.followed
        if isinstance(source, Unread) or (source is not primary and source.guarded)
    )

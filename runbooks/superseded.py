"""A primary over which a run that died may have promoted a node that is silent now."""

from __future__ import annotations

from collections.abc import Iterable

from keydb_runbooks.runbooks.lineage import descends
from keydb_runbooks.runbooks.plan import Loss, Refusal, Request
from keydb_runbooks.runbooks.replication import Node, Unread
from keydb_runbooks.runbooks.steps import Reinstate, Step, Unpause
from keydb_runbooks.runbooks.topology import Topology


def refuse_superseded(topology: Topology, primary: Node, request: Request) -> Refusal | None:
    """Only a person can know that nobody was promoted, or spare what that one acknowledged."""
    return _refuse(topology, primary, request.allow_unread, "allow_unread")


def refuse_unsettled(topology: Topology, primary: Node) -> Refusal | None:
    """For verbs that don't settle who is the rightful primary themselves, by ``reinstate``."""
    return _refuse(topology, primary, frozenset(), "first rejoin allow_unread")


def _refuse(topology: Topology, primary: Node, spared: frozenset[str], option: str) -> Refusal | None:
    for silent in topology.unread:
        told = _sign(topology, primary, silent)
        if told is not None and silent.name not in spared:
            hint = f"start or reach {silent.name}, or {option}={silent.name} if you can spare what it acknowledged"
            return Refusal("perhaps-superseded", primary.name, told, hint)
    return None


def reinstate(topology: Topology, primary: Node, min_replicas: int) -> tuple[Step, ...]:
    """Steps that let a primary take writes again, and keep it the rightful one whatever wakes.

    A promotion that nobody saw is of the epoch behind the highest that was seen: what goes on in spite of it needs the
    next one, or the node that wakes would be taken for the rightful primary, and every write since then be left out.
    """
    doubted = tuple(silent.name for silent in topology.unread if _sign(topology, primary, silent))
    if doubted:
        return (Reinstate(primary.name, doubted, topology.highest_epoch() + 2, min_replicas),)
    return () if primary.paused is False else (Unpause(primary.name),)


def lost_silently(steps: Iterable[Step]) -> Loss | None:
    """What is lost with a promotion that nobody saw, if these steps outrank it."""
    silent = [name for step in steps if isinstance(step, Reinstate) for name in step.silent]
    return Loss(None, f"accepted by you: what {' and '.join(silent)} may have acknowledged") if silent else None


def _sign(topology: Topology, primary: Node, silent: Unread) -> str | None:
    """What says that a silent node may have been promoted over a primary, None if nothing does.

    A primary that holds writes back, or may, is half of a switchover; whoever follows the silent node was sent to it by
    a run, unless it is from before this primary's own promotion: then the silent node is the old primary.
    """
    if primary.paused is not False:
        holds = "holds writes back" if primary.paused else "perhaps holds writes back"
        return f"{holds} for a switchover that died, and {silent.name} may have been promoted by it"
    follower = next((node for node in topology.nodes if _was_sent(node, silent, primary)), None)
    if follower is not None:
        return f"may be superseded: {follower.name} follows {silent.name}, which can't be read"
    return None


def _was_sent(node: Node, silent: Unread, primary: Node) -> bool:
    return node.link is not None and node.link.primary == silent.address and not descends(primary, node)

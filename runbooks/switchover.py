"""Switchover: the primary role moves on purpose, and no acknowledged write is lost.

The order of the steps is convergence-facts, "The pause", and keydb-facts, "Planned switchover":
a short pause, the target has everything, an endless pause, the target *still* has everything (a run that
stalled past the short pause lost acknowledged writes without this look), promote, and only then everybody else.
"""

from __future__ import annotations

from keydb_runbooks.runbooks.attach import finish, release, routes, strays, verify
from keydb_runbooks.runbooks.plan import Answer, Loss, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import (
    in_sync,
    refuse_harm,
    refuse_loading,
    refuse_lost,
    refuse_mode,
    refuse_rivals,
    refuse_superseded,
    refuse_target,
    refuse_unknown,
    refuse_unread,
)
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.rescue import left_out, settle, sole_holders
from keydb_runbooks.runbooks.steps import (
    ENDLESS_PAUSE_MILLISECONDS,
    SHORT_PAUSE_MILLISECONDS,
    CatchUp,
    Pause,
    Promote,
    RecordLineage,
    SaveConfiguration,
    Step,
    Unpause,
)
from keydb_runbooks.runbooks.topology import Topology

CATCH_UP_SECONDS = 1.0
"""Shorter than the short pause, so that writers wait no longer than they must."""


def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
    """Decide how the primary role moves to ``request.to``.

    :param min_replicas: ``min-replicas-to-write`` that the target has after its promotion
    """
    refusal = refuse_mode(topology) or refuse_unread(topology, request) or refuse_unknown(topology, request)
    if refusal := refusal or refuse_rivals(topology):
        return refusal
    primary = topology.rightful_primary()
    if primary is None:
        return Refusal("no-primary", topology.group, "nobody is primary", "run failover")
    if refusal := refuse_loading(primary):
        return refusal
    if request.to == primary.name:
        return finish("switchover", topology, primary, request, min_replicas)
    if len(topology.primaries) > 1:
        names = " and ".join(node.name for node in topology.primaries)
        return Refusal("several-primaries", topology.group, f"{names} are primaries", "run rejoin first")
    target = _target(topology, primary, request)
    if isinstance(target, Refusal):
        return target
    others = tuple(node for node in topology.nodes if node not in (primary, target))
    refusal = refuse_superseded(topology, primary, request) or refuse_lost(topology, primary, request)
    refusal = refusal or refuse_harm(topology, others, primary, request)
    return refusal or _plan(topology, primary, target, others, min_replicas)


def _plan(topology: Topology, primary: Node, target: Node, others: tuple[Node, ...], min_replicas: int) -> Plan:
    ordered = (*sorted(others, key=lambda node: node.name), primary)
    held = sole_holders(topology, (node for node in others if not in_sync(node, primary)), primary)
    hold: tuple[Step, ...] = (
        *release((target, *others)),
        Pause(primary.name, SHORT_PAUSE_MILLISECONDS),
        CatchUp(target.name, primary.name, primary.run_id, CATCH_UP_SECONDS),
        Pause(primary.name, ENDLESS_PAUSE_MILLISECONDS),
        CatchUp(target.name, primary.name, primary.run_id, CATCH_UP_SECONDS),
    )
    move: tuple[Step, ...] = (
        Promote(target.name, topology.highest_epoch() + 1, min_replicas),
        RecordLineage(target.name, min_replicas),
        SaveConfiguration(target.name),
        *settle(ordered, held, target),
        *routes(topology, target),
        Unpause(primary.name),
    )
    return Plan(
        verb="switchover",
        group=topology.group,
        primary=target.name,
        former=primary.name,
        steps=(
            *hold,
            *move,
            *verify(topology, target, tuple(node.name for node in ordered if node not in held)),
        ),
        loss=Loss(0, f"{primary.name} takes no writes until {target.name} has them all"),
        proof=f"{primary.name} holds writes back until it is a replica",
        gap="tens of milliseconds for writers, while the role moves",
        undo=(Unpause(primary.name),),
        warnings=(
            *(f"{node.name} does not follow {primary.name} now" for node in strays(topology, primary)),
            *left_out(held),
        ),
    )


def _target(topology: Topology, primary: Node, request: Request) -> Node | Refusal:
    if request.to is not None:
        target = topology.node(request.to)
        if target is None:
            return Refusal("target-unread", request.to, "does not answer", "choose another target")
        return _refuse_target(target, primary) or target
    ranked = [node for node in topology.nodes if node is not primary and not _refuse_target(node, primary)]
    if not ranked:
        return Refusal("no-target", topology.group, f"no replica is in sync with {primary.name}", "run status")
    return min(ranked, key=lambda node: (node.priority, -node.offset, node.name))


def _refuse_target(target: Node, primary: Node) -> Refusal | None:
    """Why this node can't take over from a live primary, or None."""
    if refusal := refuse_target(target):
        return refusal
    if target.guarded:
        return Refusal("target-guarded", target.name, "was started guarded and follows nobody", "run rejoin first")
    if not target.follows(primary):
        return Refusal("target-stray", target.name, f"does not follow {primary.name}", "run rejoin first")
    if target.link is None or not target.link.alive:
        told = f"has no live link to {primary.name}"
        return Refusal("target-not-in-sync", target.name, told, "wait for it, or choose another target")
    return None

"""Switchover: the primary role moves on purpose, and no acknowledged write is lost.

The order of the steps is convergence-facts, "The pause", and keydb-facts, "Planned switchover":
the target comes close, a short pause, the target has everything, an endless pause, the target *still* has everything
(a run that stalled past the short pause lost acknowledged writes without this look), promote, and only then everybody
else.
"""

from __future__ import annotations

from dataclasses import replace

from keydb_runbooks.runbooks.attach import finish, release, routes, strays, verify
from keydb_runbooks.runbooks.checks import check, together
from keydb_runbooks.runbooks.checks_server import Situation
from keydb_runbooks.runbooks.cost import predict_gap, resyncs
from keydb_runbooks.runbooks.evidence import gather
from keydb_runbooks.runbooks.leading import end_latecomers, end_stragglers, label, lead, left_by
from keydb_runbooks.runbooks.plan import Answer, Loss, Plan, Refusal, Request
from keydb_runbooks.runbooks.ranking import SWITCHOVER, Ranking, Wish, rank
from keydb_runbooks.runbooks.refusals import (
    in_sync,
    refuse_harm,
    refuse_loading,
    refuse_lost,
    refuse_mode,
    refuse_rivals,
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
    ComeClose,
    Pause,
    Promote,
    RecordLineage,
    SaveConfiguration,
    Step,
    Unpause,
)
from keydb_runbooks.runbooks.superseded import refuse_unsettled
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
        evidence = gather(topology, None)
        return Refusal("no-primary", topology.group, "nobody is primary", "run failover", evidence=evidence)
    if refusal := refuse_loading(primary):
        return refusal
    if request.to == primary.name:
        return finish("switchover", topology, primary, request, min_replicas)
    if len(topology.primaries) > 1:
        names = " and ".join(node.name for node in topology.primaries)
        return Refusal("several-primaries", topology.group, f"{names} are primaries", "run rejoin first")
    ranking = _rank(topology, primary, request, min_replicas)
    target = _target(topology, primary, request, ranking)
    if isinstance(target, Refusal):
        return replace(target, ranking=ranking.places)
    situation = _situation(topology, primary, target, request, min_replicas)
    found = check("switchover", situation)
    standing = (
        refuse_unsettled(topology, primary),
        refuse_lost(topology, primary, request),
        refuse_harm(topology, situation.others, primary, request),
    )
    refusals = [*(refusal for refusal in standing if refusal is not None), *found.refusals]
    if refusal := together(refusals, found.warnings):
        return replace(refusal, ranking=ranking.places)
    return replace(
        _plan(situation, primary, found.warnings),
        evidence=gather(topology, primary.name),
        ranking=ranking.places,
    )


def _plan(situation: Situation, primary: Node, warnings: tuple[str, ...]) -> Plan:
    topology, target, others = situation.topology, situation.target, situation.others
    request, min_replicas = situation.request, situation.min_replicas
    ordered = (*sorted(others, key=lambda node: node.name), primary)
    held = sole_holders(topology, (node for node in others if not in_sync(node, primary)), primary)
    joining = tuple(node for node in ordered if node not in held)
    former = left_by(topology, (primary,))
    hold: tuple[Step, ...] = (
        *release((target, *others)),
        ComeClose(target.name, primary.name, primary.run_id, request.catch_up_timeout),
        Pause(primary.name, SHORT_PAUSE_MILLISECONDS),
        CatchUp(target.name, primary.name, primary.run_id, CATCH_UP_SECONDS),
        Pause(primary.name, ENDLESS_PAUSE_MILLISECONDS),
        CatchUp(target.name, primary.name, primary.run_id, CATCH_UP_SECONDS),
    )
    move: tuple[Step, ...] = (
        Promote(target.name, topology.highest_epoch() + 1, min_replicas),
        *lead(topology, target),
        RecordLineage(target.name, min_replicas),
        SaveConfiguration(target.name),
        *settle(ordered, held, target),
        *routes(topology, target),
        *end_stragglers(topology, former, target),
        # Behind these, so that a write which was only late meets the end of its connection, and not -READONLY.
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
            *verify(topology, target, tuple(node.name for node in joining)),
            *end_latecomers(topology, former, target),
            *label(topology, target, (node.name for node in (*others, primary))),
        ),
        loss=Loss(0, f"{primary.name} takes no writes until {target.name} has them all"),
        proof=f"{primary.name} holds writes back until it is a replica",
        gap=f"writers wait while the role moves: {predict_gap((*hold, *move), topology)}",
        undo=(Unpause(primary.name),),
        warnings=(*_warnings(topology, primary), *left_out(held), *warnings),
        needs=resyncs(topology, target, joining, frozenset(one.name for one in joining if _in_stream(one, primary))),
    )


def _warnings(topology: Topology, primary: Node) -> tuple[str, ...]:
    stays = f"{primary.name} is fenced and stays so: run unfence node={primary.name} later"
    away = (f"{node.name} does not follow {primary.name} now" for node in strays(topology, primary))
    return (*away, *((stays,) if primary.fenced else ()))


def _in_stream(node: Node, primary: Node) -> bool:
    return node is primary or in_sync(node, primary)


def _situation(topology: Topology, primary: Node, target: Node, request: Request, min_replicas: int) -> Situation:
    others = tuple(node for node in topology.nodes if node not in (primary, target))
    return Situation(topology, target, primary, others, request, min_replicas)


def _rank(topology: Topology, primary: Node, request: Request, min_replicas: int) -> Ranking:
    def refuse(node: Node) -> Refusal | None:
        found = check("switchover", _situation(topology, primary, node, request, min_replicas))
        return _refuse_target(node, primary) or next(iter(found.refusals), None)

    candidates = tuple(node for node in topology.nodes if node is not primary)
    return rank(candidates, topology.unread, SWITCHOVER, Wish(topology.preferred_zones, primary), refuse)


def _target(topology: Topology, primary: Node, request: Request, ranking: Ranking) -> Node | Refusal:
    """The node that was asked for, or the best one; if every check-free one is missing, the best that is in sync."""
    if request.to is not None:
        target = topology.node(request.to)
        if target is None:
            return Refusal("target-unread", request.to, "does not answer", "choose another target")
        return _refuse_target(target, primary) or target
    if ranking.able:
        return ranking.able[0]
    wish, others = Wish(topology.preferred_zones, primary), (node for node in topology.nodes if node is not primary)
    in_sync = rank(others, (), SWITCHOVER, wish, lambda node: _refuse_target(node, primary)).able
    if not in_sync:
        return Refusal("no-target", topology.group, f"no replica is in sync with {primary.name}", "run status")
    return in_sync[0]


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

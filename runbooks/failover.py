"""Failover: the primary is gone, and the best of the rest takes its role.

Three questions come first, each answered by facts or refused: is it really gone (two places must say so), can
it still acknowledge writes, and who has the most of its data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from keydb_runbooks.runbooks.attach import finish, release, routes, verify
from keydb_runbooks.runbooks.candidate import given_up_unread, refuse_candidate
from keydb_runbooks.runbooks.checks import check, together
from keydb_runbooks.runbooks.checks_server import Situation
from keydb_runbooks.runbooks.cost import predict_gap, rate_of_stream, resyncs, writes_in
from keydb_runbooks.runbooks.empty import lost_its_data, refuse_emptied, replace_empty
from keydb_runbooks.runbooks.evidence import gather, refuse_few, refuse_reached
from keydb_runbooks.runbooks.grounds import Evidence, Place
from keydb_runbooks.runbooks.leading import end_latecomers, end_stragglers, label, lead, left_by
from keydb_runbooks.runbooks.moved import came_back
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.ranking import FAILOVER, Ranking, Wish, rank
from keydb_runbooks.runbooks.refusals import (
    refuse_loading,
    refuse_mode,
    refuse_nobody,
    refuse_rivals,
    refuse_unknown,
    refuse_unread_proxies,
)
from keydb_runbooks.runbooks.replication import Node, Unread
from keydb_runbooks.runbooks.rescue import left_out, settle, sole_holders
from keydb_runbooks.runbooks.silence import prove_silence, refuse_followed, refuse_split, when_it_wakes
from keydb_runbooks.runbooks.steps import Promote, RecordLineage, SaveConfiguration
from keydb_runbooks.runbooks.topology import Topology


def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
    """Decide who takes over from a primary that is gone.

    :param min_replicas: ``min-replicas-to-write`` that the candidate has after its promotion
    """
    if refusal := refuse_mode(topology) or _refuse_start(topology, request):
        return refusal
    primary = topology.rightful_primary()
    if primary is not None:
        answer = _primary_lives(topology, primary, request, min_replicas)
        return answer if isinstance(answer, NothingToDo) else replace(answer, evidence=gather(topology, primary.name))
    former = _former(topology)
    evidence = gather(topology, former.name if former is not None else None)
    if refusal := _refuse_alive(topology, request, former, evidence):
        return replace(refusal, evidence=evidence)
    chosen = _choose(topology, request, min_replicas)
    if isinstance(chosen, Refusal):
        return replace(chosen, evidence=evidence)
    made = _plan(topology, chosen.node, request, min_replicas, chosen.warnings)
    return replace(made, evidence=evidence, ranking=chosen.ranking)


LAST_NODE = (
    "nobody follows it at once, so min-replicas-to-write becomes 0, or it would refuse all writes; "
    "run install when the others follow, it restores the setting"
)


def _refuse_start(topology: Topology, request: Request) -> Refusal | None:
    refusal = refuse_nobody(topology) or refuse_unknown(topology, request) or refuse_unread_proxies(topology, request)
    if refusal := refusal or refuse_rivals(topology):
        return refusal
    for node in topology.unread:
        if node.code == "wrong-password":
            hint = "set the password that the server has; a server that answers is not gone"
            return Refusal(f"node-{node.code}", node.name, node.detail, hint)
    return None


def _primary_lives(
    topology: Topology, primary: Node, request: Request, min_replicas: int
) -> Plan | NothingToDo | Refusal:
    """A primary answers: either a dead run left something to finish, or this is no failover."""
    if lost_its_data(topology, primary):
        return _primary_lost_its_data(topology, primary, request, min_replicas)
    if request.to not in (None, primary.name):
        return Refusal("primary-answers", primary.name, "is the primary and answers", f"run switchover to={request.to}")
    if primary.fenced:
        told = "is the primary and answers, but is fenced: it takes no writes"
        hint = f"run switchover, or unfence node={primary.name}"
        return Refusal("primary-fenced", primary.name, told, hint)
    answer = finish("failover", topology, primary, request, min_replicas)
    if isinstance(answer, Plan):
        proof = prove_silence(topology)
        if not proof.sufficient and not request.accept_split:
            return refuse_split(proof)
    return answer


def _primary_lost_its_data(topology: Topology, primary: Node, request: Request, min_replicas: int) -> Plan | Refusal:
    """An empty primary answers: it can be told to wait and to step down, so nobody has to stop it first."""
    refusal = refuse_loading(primary) or refuse_emptied(topology, primary) or _refuse_writers(topology, request)
    if refusal:
        return refusal
    chosen = _choose(topology, request, min_replicas)
    if isinstance(chosen, Refusal):
        return chosen
    made = replace_empty(topology, primary, chosen.node, min_replicas, prove_silence(topology).sentence)
    told = (*made.warnings, *given_up_unread(topology, chosen.node, request), *chosen.warnings)
    return replace(made, ranking=chosen.ranking, warnings=told)


@dataclass(frozen=True)
class Choice:
    """The node that takes the role, everybody's place in the ranking, and what the pre-checks warn of."""

    node: Node
    ranking: tuple[Place, ...]
    warnings: tuple[str, ...]


def _choose(topology: Topology, request: Request, min_replicas: int) -> Choice | Refusal:
    ranking = _rank(topology, request, min_replicas)
    candidate = _candidate(topology, request, ranking)
    if isinstance(candidate, Refusal):
        return replace(candidate, ranking=ranking.places)
    found = check("failover", _situation(topology, candidate, request, min_replicas))
    if refusal := together(list(found.refusals), found.warnings):
        return replace(refusal, ranking=ranking.places)
    return Choice(candidate, ranking.places, found.warnings)


def _refuse_alive(
    topology: Topology, request: Request, former: Unread | None, evidence: tuple[Evidence, ...]
) -> Refusal | None:
    """Why it is not proved that the primary is gone and that nobody takes writes meanwhile."""
    suspects = (former,) if former is not None else topology.unread
    return (
        refuse_followed(topology)
        or refuse_reached(topology, request, evidence)
        or _refuse_writers(topology, request)
        or refuse_few(suspects, request, evidence)
    )


def _refuse_writers(topology: Topology, request: Request) -> Refusal | None:
    proof = prove_silence(topology)
    return None if proof.sufficient or request.accept_split else refuse_split(proof)


def _situation(topology: Topology, candidate: Node, request: Request, min_replicas: int) -> Situation:
    others = tuple(node for node in topology.nodes if node is not candidate and not node.loading)
    return Situation(topology, candidate, None, others, request, min_replicas)


def _rank(topology: Topology, request: Request, min_replicas: int) -> Ranking:
    """Offsets compare only within one stream: ``refuse_candidate`` keeps the others out."""

    def refuse(node: Node) -> Refusal | None:
        if refusal := refuse_candidate(topology, node, request):
            return refusal
        found = check("failover", _situation(topology, node, request, min_replicas))
        return next(iter(found.refusals), None)

    return rank(topology.nodes, topology.unread, FAILOVER, Wish(topology.preferred_zones), refuse)


def _candidate(topology: Topology, request: Request, ranking: Ranking) -> Node | Refusal:
    """The node that was asked for, or the best one; if checks keep everybody out, the best that has the data."""
    if request.to is not None:
        chosen = topology.node(request.to)
        if chosen is None:
            return Refusal("target-unread", request.to, "does not answer", "choose another target")
        return refuse_candidate(topology, chosen, request) or chosen
    if ranking.able:
        return ranking.able[0]
    everybody = rank(topology.nodes, (), FAILOVER, Wish(topology.preferred_zones), lambda _: None).able
    refusals = [refuse_candidate(topology, node, request) for node in everybody]
    whole = next((node for node, refusal in zip(everybody, refusals, strict=True) if refusal is None), None)
    return whole or next(refusal for refusal in refusals if refusal is not None)


def _plan(topology: Topology, candidate: Node, request: Request, min_replicas: int, warnings: tuple[str, ...]) -> Plan:
    others = tuple(sorted((node for node in topology.nodes if node is not candidate), key=lambda node: node.name))
    proof = prove_silence(topology)
    former = _former(topology)
    whole = tuple(node for node in others if not node.loading)
    held = sole_holders(topology, whole, candidate)
    joining = tuple(node for node in whole if node not in held)
    needed = min_replicas if joining else 0
    left = left_by(topology, ())
    # Whoever points to the candidate already would be its copy the moment it is promoted.
    endangered = tuple(node for node in held if node.follows(candidate))
    steps = (
        *release((candidate, *others)),
        *settle(endangered, held, candidate),
        Promote(candidate.name, topology.highest_epoch() + 1, needed),
        *lead(topology, candidate),
        RecordLineage(candidate.name, needed),
        SaveConfiguration(candidate.name),
        *settle((node for node in whole if node not in endangered), held, candidate),
        *routes(topology, candidate),
        *end_stragglers(topology, left, candidate),
        *verify(topology, candidate, tuple(node.name for node in joining)),
        *end_latecomers(topology, left, candidate),
        *label(topology, candidate, (node.name for node in others)),
    )
    return Plan(
        verb="failover",
        group=topology.group,
        primary=candidate.name,
        former=former.name if former is not None else None,
        steps=steps,
        loss=_loss(topology, former, candidate, request),
        proof=proof.sentence,
        gap=f"since the primary went; it ends when the routes have moved: {predict_gap(steps, topology)}",
        warnings=(
            *(() if proof.sufficient else (f"accepted by accept_split: {proof.sentence}",)),
            *left_out(held),
            *given_up_unread(topology, candidate, request),
            *(when_it_wakes(topology, min_replicas) if proof.sufficient else ()),
            *((LAST_NODE,) if not joining and min_replicas else ()),
            *warnings,
        ),
        needs=resyncs(topology, candidate, joining, frozenset()),
        moved_from=came_back(topology, candidate) if former is None else None,
    )


def _former(topology: Topology) -> Unread | None:
    """The silent node that somebody's link names."""
    named = [topology.at(node.link.primary) for node in topology.nodes if node.link is not None]
    return next((node for node in named if isinstance(node, Unread)), None)


def _loss(topology: Topology, former: Unread | None, candidate: Node, request: Request) -> Loss:
    """What the old primary acknowledged last is known to nobody; what others hold and give up can be counted."""
    silent = " and ".join(node.name for node in topology.unread)
    if former is not None:
        told = f"{former.name} can't be read, so what it acknowledged last can't be counted"
    elif silent:
        told = f"{silent} can't be read, so what was acknowledged last can't be counted"
    else:
        told = f"no primary answers, so what was acknowledged last can't be counted{_restarted(candidate)}"
    return Loss(None, told + rate_of_stream(candidate) + _given_up(topology, candidate, request))


def _restarted(candidate: Node) -> str:
    """What a server that nobody feeds has at most; behind a power loss of all nodes that may be nothing at all."""
    uptime = candidate.condition.uptime_seconds
    if not candidate.guarded or uptime is None:
        return ""
    return (
        f"; {candidate.name} holds {candidate.keys:,} keys, runbook:* among them: "
        f"its server was started {uptime:,} s ago, with what it had saved"
    )


def _given_up(topology: Topology, candidate: Node, request: Request) -> str:
    """What a plan throws away by accept_loss, and how much that is."""
    told = ""
    for node in topology.nodes:
        if node.name in request.accept_loss and node is not candidate:
            lost = topology.relation(node, candidate).lost_bytes
            if lost is None:
                told += f"; what only {node.name} holds is unknown and given up"
            elif lost:
                writes = writes_in(lost, candidate)
                about = "" if writes is None else f", about {writes:,} writes"
                told += f"; {lost:,} bytes{about} that only {node.name} holds are given up"
    return told

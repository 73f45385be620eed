"""Promote: failover's first half alone. One node becomes the primary where there is none, and nobody follows it yet."""

from __future__ import annotations

from dataclasses import replace

from keydb_runbooks.runbooks import failover
from keydb_runbooks.runbooks.lineage import unrecorded
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import refuse_mode, refuse_rivals, refuse_unknown
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps import Promote, RecordLineage, SaveConfiguration, Step
from keydb_runbooks.runbooks.topology import Topology

LEFT = "nobody follows it yet and proxies are left to their own checks: rejoin does the rest, and wipes what differs"


def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
    """Decide how ``request.to`` becomes the primary of a group that has none, with all of failover's questions.

    :param min_replicas: ``min-replicas-to-write`` that it has afterwards
    """
    if request.to is None:
        hint = f"add to=NAME, one of {', '.join(topology.names)}; failover chooses by itself"
        return Refusal("no-target-named", topology.group, "which node shall be the primary is not said", hint)
    refusal = refuse_mode(topology) or refuse_unknown(topology, request) or refuse_rivals(topology)
    if refusal is not None:
        return refusal
    primary = topology.rightful_primary()
    if primary is None:
        answer = failover.plan(topology, request, min_replicas)
        return _half(topology, request, answer) if isinstance(answer, Plan) else answer
    if primary.name != request.to:
        hint = f"run switchover to={request.to}"
        return Refusal("primary-answers", primary.name, "is the primary and answers", hint)
    if primary.paused:
        return Refusal("paused", primary.name, "holds writes back for a run that died", "run abort")
    if primary.empty and any(not node.empty for node in topology.nodes):
        told = "is the primary and holds no keys, but others do"
        return Refusal("empty-primary", primary.name, told, "run failover, which promotes who holds the most")
    return _rest(topology, primary, min_replicas)


def _half(topology: Topology, request: Request, answer: Plan) -> Answer:
    """What failover would do, up to the promoted node's own file."""
    if refusal := _refuse_waking(topology, request):
        return refusal
    end = next(number for number, step in enumerate(answer.steps) if isinstance(step, SaveConfiguration))
    ends = "it ends when the proxies' own checks find the new one"
    if topology.services:
        ends = "it ends when the Service has moved"
    if any(isinstance(step, Promote) and step.min_replicas for step in answer.steps):
        ends = "it ends behind rejoin: without a replica the new one refuses writes (min-replicas-to-write)"
    return replace(
        answer,
        verb="promote",
        steps=answer.steps[: end + 1],
        warnings=(*answer.warnings, LEFT),
        gap=f"since the primary went; {ends}",
        needs=(),
    )


def _refuse_waking(topology: Topology, request: Request) -> Refusal | None:
    """Failover sends replicas away, so that a primary which wakes takes no writes (its lease); promote sends nobody."""
    for node in topology.unread:
        if node in topology.followed and not node.stopped and not request.accept_split:
            told = "is silent, but not stopped: when it wakes its replicas still follow it, so it takes writes"
            hint = (
                "use failover; or stop its server or its machine, then this again "
                "(last resort: accept_split=yes, and these writes are lost)"
            )
            return Refusal("not-fenced", node.name, told, hint)
    return None


def _rest(topology: Topology, primary: Node, min_replicas: int) -> Answer:
    """What a promotion that died left undone on the node itself."""
    needed = min_replicas if len(topology.nodes) > 1 else 0
    steps: tuple[Step, ...] = (
        *((RecordLineage(primary.name, needed),) if unrecorded(primary) else ()),
        *((SaveConfiguration(primary.name),) if primary.config_replicaof != "" else ()),
    )
    if not steps:
        told = "is the primary, its promotion is recorded and saved; run rejoin if somebody doesn't follow"
        return NothingToDo("already-primary", primary.name, told)
    return Plan(
        verb="promote",
        group=topology.group,
        primary=primary.name,
        former=primary.name,
        steps=steps,
        loss=Loss(0, "it is the primary already"),
        proof=f"{primary.name} is the only rightful primary",
        gap="none",
        warnings=(LEFT,),
    )

"""Making everybody follow the primary: shared by all verbs, and the whole of ``rejoin``."""

from __future__ import annotations

from collections.abc import Iterable

from keydb_runbooks.runbooks.cost import resyncs, writes_in
from keydb_runbooks.runbooks.leading import end_latecomers, end_stragglers, label, lead, left_by
from keydb_runbooks.runbooks.lineage import Relation, unrecorded
from keydb_runbooks.runbooks.moved import moved_from
from keydb_runbooks.runbooks.plan import Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import refuse_harm, refuse_lost, refuse_older
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.rescue import left_out, rescue, settle, step_down, warnings
from keydb_runbooks.runbooks.steps import (
    STALLED_SECONDS,
    Follow,
    InSync,
    RecordLineage,
    Reinstate,
    Route,
    SaveConfiguration,
    Step,
    Unpause,
    VerifyWrite,
)
from keydb_runbooks.runbooks.steps_service import ServiceLeads
from keydb_runbooks.runbooks.superseded import lost_silently, refuse_superseded, reinstate
from keydb_runbooks.runbooks.topology import Topology

VERIFY_TIMEOUT_SECONDS = 5.0
LEADS_TIMEOUT_SECONDS = 60.0
"""The cluster makes endpoints of a selector in milliseconds, but not until its controllers have found an API server
again that came back."""


def strays(topology: Topology, primary: Node) -> tuple[Node, ...]:
    """The nodes that answered and don't follow the primary, replicas before other primaries.

    The order matters: a replica that is repointed before its old source steps down never meets a
    source that refuses it (keydb-facts, "KeyDB closes file descriptor 0").
    """
    others = [node for node in topology.nodes if node is not primary and not node.follows(primary)]
    return tuple(sorted(others, key=lambda node: (node.is_primary, node.name)))


def attach(nodes: tuple[Node, ...], primary: Node) -> tuple[Step, ...]:
    """Steps that make nodes follow a primary, in the order given."""
    return tuple(Follow(node.name, primary.name, primary.address) for node in nodes)


def release(nodes: Iterable[Node]) -> tuple[Step, ...]:
    """Steps that end the pauses that are known: a paused replica applies nothing of what it receives."""
    return tuple(Unpause(node.name) for node in nodes if node.paused)


def routes(topology: Topology, primary: Node) -> tuple[Step, ...]:
    """Steps that send every proxy's writes to the primary, wherever they go now."""
    return tuple(
        Route(
            proxy.name,
            proxy.write_backend,
            primary.name,
            tuple(server.node for server in proxy.writers if server.node != primary.name),
        )
        for proxy in topology.proxies
    )


def verify(topology: Topology, primary: Node, replicas: tuple[str, ...]) -> tuple[Step, ...]:
    """Steps that look at the result from outside."""
    in_sync = tuple(InSync(name, primary.name, primary.address, STALLED_SECONDS) for name in sorted(replicas))
    written = tuple(
        VerifyWrite(proxy.name, primary.name, primary.run_id, VERIFY_TIMEOUT_SECONDS) for proxy in topology.proxies
    )
    led = tuple(ServiceLeads(service.name, primary.name, LEADS_TIMEOUT_SECONDS) for service in topology.services)
    return (*in_sync, *written, *led)


def finish(
    verb: str, topology: Topology, primary: Node, request: Request, min_replicas: int
) -> Plan | NothingToDo | Refusal:
    """Whatever is left to do when the right node already is the primary.

    That is what makes any verb finish what a dead run began: nodes that don't follow yet, a pause
    that nobody ended, proxies that still point elsewhere.
    """
    nodes = strays(topology, primary)
    refusal = refuse_superseded(topology, primary, request) or refuse_older(topology, primary)
    refusal = refusal or refuse_lost(topology, primary, request)
    if refusal := refusal or refuse_harm(topology, nodes, primary, request):
        return refusal
    held, leaving = _sorted_out(topology, nodes, primary, request)
    joining = nodes if verb == "rejoin" else tuple(node for node in nodes if node not in held)
    followers = tuple(node for node in topology.nodes if node.follows(primary))
    unsaved = tuple(SaveConfiguration(node.name) for node in (primary, *followers) if not _saved(node))
    wrong = any(proxy.writes_go_to != (primary.name,) for proxy in topology.proxies)
    route = routes(topology, primary) if wrong or any(node.is_primary for node in nodes) else ()
    # A node that is alone keeps the setting with which it takes writes.
    needed = min_replicas if len(topology.nodes) > 1 else 0
    move = lead(topology, primary)
    former = left_by(topology, (node for node in nodes if node.is_primary))
    record = (RecordLineage(primary.name, needed),) if unrecorded(primary) else ()
    saved_first = tuple(node for node in joining if node in held)
    reinstated = reinstate(topology, primary, min_replicas)
    steps: tuple[Step, ...] = (
        *reinstated,
        *record,
        *unsaved,
        *settle(nodes, (*held, *leaving), primary),
        *route,
        *move,
        *end_stragglers(topology, former, primary),
        *release(node for node in (*followers, *nodes) if node not in leaving),
        # Nobody waits for these any more.
        *(step for node in leaving for step in step_down(node, primary, request)),
        *rescue(saved_first, primary, request),
        *attach(saved_first, primary),
    )
    if not steps:
        fronts = "Service" if topology.services else "proxy"
        routed = f"every {fronts} that answers sends writes to it"
        sentence = f"is the primary, everybody who answers follows it, and {routed}"
        if held:
            sentence = f"is the primary, and {routed}"
        return NothingToDo("already-primary", primary.name, "; ".join((sentence, *left_out(held))))
    relations = [topology.relation(node, primary) for node in joining]
    doubtful = tuple(node for node in leaving if not topology.relation(node, primary).harmless)
    thrown = tuple(node for node in joining if node in held or node in doubtful)
    return Plan(
        verb=verb,
        group=topology.group,
        primary=primary.name,
        former=primary.name,
        steps=(
            *steps,
            *verify(topology, primary, tuple(node.name for node in joining)),
            *end_latecomers(topology, former, primary),
            *label(topology, primary, (node.name for node in topology.nodes if node is not primary)),
        ),
        loss=lost_silently(reinstated) or _loss(topology, thrown, primary, request),
        proof=f"{primary.name} is the only rightful primary",
        gap=_gap(topology, primary, steps),
        warnings=(
            *(
                f"{node.name} needs a full resync: it {relation.kinship.value}"
                for node, relation in zip(joining, relations, strict=True)
                if not relation.partial
            ),
            *(() if verb == "rejoin" else left_out(held)),
            *warnings(topology, thrown, primary, request),
        ),
        needs=resyncs(topology, primary, joining, frozenset()),
        moved_from=moved_from(topology, primary),
        moved_epoch=primary.epoch,
    )


def _gap(topology: Topology, primary: Node, steps: tuple[Step, ...]) -> str:
    """Whether writers wait for anything: for nothing new, but perhaps since long ago."""
    astray = [front for front in topology.fronts if front.writes_go_to != (primary.name,)]
    if not astray and not primary.paused:
        return "none for clients of the primary"
    names = {front.name for front in astray}
    ends = max(
        number
        for number, step in enumerate(steps, start=1)
        if step.where in names or (isinstance(step, Unpause | Reinstate) and step.where == primary.name)
    )
    holding = {node.name for node in topology.nodes if node.paused}
    if primary.paused or all(front.writes_go_to and holding.issuperset(front.writes_go_to) for front in astray):
        return f"writers wait already; it ends with step {ends}"
    return f"not every writer reaches the primary now; all do from step {ends} on"


def _sorted_out(
    topology: Topology, nodes: tuple[Node, ...], primary: Node, request: Request
) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """The nodes that hold something alone, and others that may have taken writes since they were looked at.

    What a primary takes between the look and its step down would be lost; so it steps down before it follows. The same
    is looked for on one that a run which died had guarded, and that still holds back what waited for it.
    """

    def alone(node: Node, relation: Relation) -> bool:
        return not relation.explained or (not relation.harmless and node.name in request.accept_loss)

    held = tuple(node for node in nodes if alone(node, topology.relation(node, primary)))
    leaving = (node for node in nodes if node.is_primary or (node.guarded and node.paused))
    return held, tuple(node for node in leaving if node not in held)


def _saved(node: Node) -> bool:
    """Whether the file on disk says what the node is; unknown is not saved, and saving again harms nobody."""
    return node.config_replicaof == node.running_replicaof


def _loss(topology: Topology, thrown: tuple[Node, ...], primary: Node, request: Request) -> Loss:
    """What is in the stream of these nodes alone."""
    if not thrown:
        return Loss(0, "nobody who is attached holds anything that the primary lacks")
    lost = [topology.relation(node, primary).lost_bytes for node in thrown]
    if None in lost:
        return Loss(None, "accepted by you: no known history tells how much")
    count = sum(number or 0 for number in lost)
    if not any(node.name in request.accept_loss for node in thrown):
        names = " and ".join(node.name for node in thrown)
        return Loss(
            count, f"as many as PINGs are, and {names} holds writes back; its data are saved first all the same"
        )
    return Loss(count, "accepted by you, counted from the offsets", writes_in(count, primary))

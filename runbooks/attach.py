"""Making everybody follow the primary: shared by all verbs, and the whole of ``rejoin``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from keydb_runbooks.runbooks.lineage import Kinship, Relation, relate, unrecorded
from keydb_runbooks.runbooks.plan import Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.replication import Node, Role
from keydb_runbooks.runbooks.steps import (
    Follow,
    InSync,
    RecordLineage,
    Route,
    SaveConfiguration,
    Step,
    Unpause,
    VerifyWrite,
)
from keydb_runbooks.runbooks.topology import Topology

SYNC_TIMEOUT_SECONDS = 60.0
VERIFY_TIMEOUT_SECONDS = 5.0


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
    in_sync = tuple(InSync(name, primary.name, primary.address, SYNC_TIMEOUT_SECONDS) for name in sorted(replicas))
    written = tuple(
        VerifyWrite(proxy.name, primary.name, primary.run_id, VERIFY_TIMEOUT_SECONDS) for proxy in topology.proxies
    )
    return (*in_sync, *written)


def refuse_harm(topology: Topology, nodes: tuple[Node, ...], primary: Node, request: Request) -> Refusal | None:
    """Why these nodes may not follow the primary: an empty source, or writes that only they hold.

    Whoever is in sync with it already is not asked: it was read a moment later, so it may well be ahead.
    """
    if primary.loading:
        return Refusal("loading", primary.name, "is loading its data", "wait until status says that it is done")
    for node in nodes:
        if node.loading:
            return Refusal("loading", node.name, "is loading its data", "wait until status says that it is done")
        if node.follows(primary) and node.link is not None and node.link.up:
            continue
        relation = _relate(topology, node, primary)
        if primary.empty and not node.empty:
            return Refusal(
                "empty-primary",
                primary.name,
                f"holds no keys, but {node.name} holds {node.keys:,}; following would wipe them",
                f"stop {primary.name}, then run failover",
            )
        if relation.harmless or node.name in request.accept_loss:
            continue
        if relation.kinship is Kinship.UNRELATED:
            told = f"shares no known history with {primary.name}, so what it alone holds is unknown"
            code = "unrelated"
        else:
            told, code = f"holds {relation.lost_bytes:,} bytes that {primary.name} never had", "diverged"
        return Refusal(code, node.name, told, f"save its data if you need them, then accept_loss={node.name}")
    return None


def _relate(topology: Topology, node: Node, primary: Node) -> Relation:
    """As ``relate``; a replica of a node that holds writes back got nothing but PINGs from it."""
    held = any(source.paused and node.follows(source) for source in topology.nodes)
    return relate(replace(node, paused=True) if held else node, primary)


def refuse_target(node: Node) -> Refusal | None:
    """Why no verb may make this node the primary, whatever became of the present one; or None."""
    if node.loading:
        return Refusal("loading", node.name, "is loading its data", "wait until status says that it is done")
    if node.priority == 0:
        told = "has replica-priority 0: it must never be the primary"
        return Refusal("target-never-primary", node.name, told, "choose another target, or change its priority")
    if 0 < node.memory_limit <= node.memory_used:
        told = f"uses {node.memory_used:,} bytes of {node.memory_limit:,}: as the primary it would refuse every write"
        return Refusal("memory-full", node.name, told, "raise keydb_maxmemory, or choose another target")
    return None


def refuse_superseded(topology: Topology, primary: Node, request: Request) -> Refusal | None:
    """A primary that holds writes back is half of a switchover that died: who is silent may be the other half."""
    for node in topology.unread:
        if primary.paused and node.name not in request.allow_unread:
            told = f"holds writes back for a switchover that died, and {node.name} may have been promoted by it"
            hint = f"start or reach {node.name}, or allow_unread={node.name} if you can spare what it acknowledged"
            return Refusal("perhaps-superseded", primary.name, told, hint)
    return None


def _refuse_older(topology: Topology, primary: Node) -> Refusal | None:
    """A primary that came back while the others hold a newer promotion is not the rightful one."""
    for node in topology.nodes:
        if node.epoch is not None and primary.epoch is not None and node.epoch > primary.epoch:
            told = f"is the primary of epoch {primary.epoch}, but {node.name} holds data of epoch {node.epoch}"
            return Refusal("superseded", primary.name, told, f"stop {primary.name}, then run failover")
    return None


def refuse_mode(topology: Topology) -> Refusal | None:
    """Why no verb may touch this group at all: its servers replicate in a way that has no one primary."""
    for node in topology.nodes:
        if node.cluster:
            return Refusal("cluster-mode", node.name, "runs in cluster mode", "use CLUSTER FAILOVER there")
        if node.role is Role.ACTIVE_REPLICA:
            told = "runs in active-replica mode, where every node takes writes"
            return Refusal("active-replica", node.name, told, "set active-replica no and restart it first")
        if len(node.links) > 1:
            told = f"replicates {len(node.links)} primaries (multi-master)"
            return Refusal("multi-master", node.name, told, "leave one with REPLICAOF REMOVE host port first")
    return None


def refuse_unread(topology: Topology, request: Request) -> Refusal | None:
    """Why a verb may not go on without hearing everybody: who is silent may be a primary."""
    if not topology.nodes:
        told = "; ".join(f"{node.name}: {node.detail}" for node in topology.unread)
        return Refusal("no-node-answers", topology.group, told, "start a server or mend the way to it")
    for node in topology.unread:
        if node.name not in request.allow_unread and not node.stopped:
            hint = f"mend that, or allow_unread={node.name} if you know that it is no primary"
            return Refusal(f"node-{node.code}", node.name, node.detail, hint)
    for proxy in topology.unread_proxies:
        if proxy.name not in request.allow_unread:
            hint = f"mend that, or allow_unread={proxy.name} to leave it to its own checks"
            return Refusal(f"proxy-{proxy.code}", proxy.name, proxy.detail, hint)
    return None


def finish(
    verb: str, topology: Topology, primary: Node, request: Request, min_replicas: int
) -> Plan | NothingToDo | Refusal:
    """Whatever is left to do when the right node already is the primary.

    That is what makes any verb finish what a dead run began: nodes that don't follow yet, a pause
    that nobody ended, proxies that still point elsewhere.
    """
    nodes = strays(topology, primary)
    refusal = refuse_superseded(topology, primary, request) or _refuse_older(topology, primary)
    if refusal := refusal or refuse_harm(topology, nodes, primary, request):
        return refusal
    followers = tuple(node for node in topology.nodes if node.follows(primary))
    unsaved = tuple(SaveConfiguration(node.name) for node in (primary, *followers) if not _saved(node))
    wrong = any(proxy.writes_go_to != (primary.name,) for proxy in topology.proxies)
    route = routes(topology, primary) if wrong or any(node.is_primary for node in nodes) else ()
    # A node that is alone keeps the setting with which it takes writes.
    needed = min_replicas if len(topology.nodes) > 1 else 0
    record = (RecordLineage(primary.name, needed),) if unrecorded(primary) else ()
    steps: tuple[Step, ...] = (
        *(() if primary.paused is False else (Unpause(primary.name),)),
        *record,
        *unsaved,
        *attach(nodes, primary),
        *route,
        *release((*followers, *nodes)),
    )
    if not steps:
        sentence = "is the primary, everybody who answers follows it, and every proxy that answers sends writes to it"
        return NothingToDo("already-primary", primary.name, sentence)
    relations = [_relate(topology, node, primary) for node in nodes]
    accepted = [relation.lost_bytes for relation in relations if not relation.harmless]
    if primary.paused and topology.unread:
        accepted.append(None)
    return Plan(
        verb=verb,
        group=topology.group,
        primary=primary.name,
        former=primary.name,
        steps=(*steps, *verify(topology, primary, tuple(node.name for node in nodes))),
        loss=_loss(accepted),
        proof=f"{primary.name} is the only rightful primary",
        gap="none for clients of the primary",
        warnings=tuple(
            f"{node.name} needs a full resync: {relation.kinship.value}"
            for node, relation in zip(nodes, relations, strict=True)
            if not relation.partial
        ),
    )


def _saved(node: Node) -> bool:
    """Whether the file on disk says what the node is; unknown is not saved, and saving again harms nobody."""
    running = f"{node.link.primary.host} {node.link.primary.port}" if node.link is not None else ""
    return node.config_replicaof == running


def _loss(accepted: list[int | None]) -> Loss:
    if not accepted:
        return Loss(0, "nobody who is attached holds anything that the primary lacks")
    if None in accepted:
        return Loss(None, "accepted by you: no known history tells how much")
    return Loss(sum(lost or 0 for lost in accepted), "accepted by you, counted from the offsets")

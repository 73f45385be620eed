"""Refusals that several verbs share: each a question to the facts, answered by a ``Refusal`` or None.

A refusal names the fact, the node and the one thing to do or option to give. Unknown is refused.
"""

from __future__ import annotations

from keydb_runbooks.runbooks.kinds import kind_of
from keydb_runbooks.runbooks.lineage import Kinship
from keydb_runbooks.runbooks.plan import Refusal, Request
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.topology import Topology, told_newer
from keydb_runbooks.runbooks.writable import full_memory

WAIT = "wait until status says that it is done"


def refuse_nobody(topology: Topology) -> Refusal | None:
    """Nobody answers at all."""
    if topology.nodes:
        return None
    told = "; ".join(f"{node.name}: {node.detail}" for node in topology.unread)
    hint = "run start, which starts guarded what doesn't run, or mend the way to them; then this again"
    if all(node.stopped for node in topology.unread):
        hint = "run start, which starts all of them, guarded; then this again"
    return Refusal("no-node-answers", topology.group, told, hint)


def refuse_rivals(topology: Topology) -> Refusal | None:
    """Several primaries, and the facts don't tell which of them is the rightful one."""
    if len(topology.primaries) < 2 or topology.rightful_primary() is not None:
        return None
    names = " and ".join(node.name for node in topology.primaries)
    told = f"{names} are primaries, and neither lineage nor epoch tells which is the rightful one"
    return Refusal("two-primaries", topology.group, told, "stop the one whose writes you can spare, then rejoin")


def refuse_unknown(topology: Topology, request: Request) -> Refusal | None:
    """The wanted primary is no node of the group."""
    if request.to is None or request.to in topology.names:
        return None
    nodes = ", ".join(topology.names)
    return Refusal("unknown-target", request.to, f"is no node of {topology.group}", f"allowed are {nodes}")


def refuse_loading(node: Node) -> Refusal | None:
    """A server that loads its data can't tell what it has, and refuses replicas."""
    return Refusal("loading", node.name, "is loading its data", WAIT) if node.loading else None


def refuse_unread_proxies(topology: Topology, request: Request) -> Refusal | None:
    """A proxy that can't be told of the new primary."""
    for proxy in topology.unread_proxies:
        if proxy.name not in request.allow_unread:
            mend = "run start" if proxy.code == "refused" else "mend that"
            hint = f"{mend}, or allow_unread={proxy.name} to leave it to its own checks"
            return Refusal(f"proxy-{proxy.code}", proxy.name, proxy.detail, hint)
    return _refuse_services(topology, request)


def _refuse_services(topology: Topology, request: Request) -> Refusal | None:
    """A Service that can't be moved: clients would stay with the old primary."""
    for unread in topology.unread_services:
        if unread.name not in request.allow_unread:
            hint = f"mend that, or allow_unread={unread.name} and move it yourself, right behind the promotion"
            return Refusal("service-unread", unread.name, unread.detail, hint)
    for service in topology.services:
        if service.movable is False and service.name not in request.allow_unread:
            told = "can't be moved: there is no right to patch it (RBAC)"
            hint = f"get the right, or allow_unread={service.name} and move it yourself, right behind the promotion"
            return Refusal("service-not-movable", service.name, told, hint)
    return None


def refuse_mode(topology: Topology) -> Refusal | None:
    """Why no verb may touch this group at all: one of its servers is of another kind."""
    for seen in topology.everybody:
        if kind := kind_of(seen):
            return Refusal(kind.code, seen.name, kind.sentence, kind.hint)
    return None


def refuse_unread(topology: Topology, request: Request) -> Refusal | None:
    """Why a verb may not go on without hearing everybody: who is silent may be a primary."""
    refusal = refuse_nobody(topology) or refuse_silent(topology, request)
    return refusal or refuse_unread_proxies(topology, request)


def refuse_silent(topology: Topology, request: Request) -> Refusal | None:
    """A node that is silent, not stopped, and that nobody called no primary."""
    for node in topology.unread:
        if node.name not in request.allow_unread and not node.stopped:
            hint = f"mend that, or allow_unread={node.name} if you know that it is no primary"
            return Refusal(f"node-{node.code}", node.name, node.detail, hint)
    return None


def refuse_target(node: Node) -> Refusal | None:
    """Why no verb may make this node the primary, whatever became of the present one; or None."""
    if refusal := refuse_loading(node):
        return refusal
    if node.priority == 0:
        told = "has replica-priority 0: it must never be the primary"
        return Refusal("target-never-primary", node.name, told, "choose another target, or change its priority")
    if full := full_memory(node):
        told = f"{full}: as the primary it would refuse every write"
        return Refusal("memory-full", node.name, told, "raise keydb_maxmemory, or choose another target")
    return refuse_fenced(node, ", or choose another target")


def refuse_fenced(node: Node, then: str) -> Refusal | None:
    """Why a node can't become the primary while no client can write on it.

    :param then: how the way on ends
    """
    if not node.fenced:
        return None
    told = "is fenced: as the primary it would refuse every write"
    return Refusal("target-fenced", node.name, told, f"run unfence node={node.name}{then}")


def in_sync(node: Node, primary: Node) -> bool:
    """Whether a node follows the primary, and its link is up."""
    return node.follows(primary) and node.link is not None and node.link.up


def refuse_harm(topology: Topology, nodes: tuple[Node, ...], primary: Node, request: Request) -> Refusal | None:
    """Why these nodes may not follow the primary: an empty source, or writes that only they hold.

    Whoever is in sync with it already is not asked: it was read a moment later, so it may well be ahead.
    """
    if refusal := refuse_loading(primary) or refuse_empty(topology, primary):
        return refusal
    for node in nodes:
        if refusal := refuse_loading(node):
            return refusal
        if in_sync(node, primary):
            continue
        relation = topology.relation(node, primary)
        if node.name in request.accept_loss or relation.harmless:
            continue
        # Whoever looks like PINGs needs nobody's word, but only because a copy is kept.
        if relation.explained and request.save != "no":
            continue
        if relation.kinship is Kinship.UNRELATED:
            told = f"shares no known history with {primary.name}, so what it alone holds is unknown"
            code = "unrelated"
        else:
            told, code = f"holds {relation.lost_bytes:,} bytes that {primary.name} never had", "diverged"
        hint = f"rejoin accept_loss={node.name} saves them, tells what differs, and attaches it"
        return Refusal(code, node.name, told, hint)
    return None


def refuse_empty(topology: Topology, primary: Node) -> Refusal | None:
    """A primary that holds nothing is nobody's source as long as somebody else holds something."""
    for node in topology.nodes:
        if primary.empty and not node.empty and not node.loading:
            told = f"holds no keys, but {node.name} holds {node.keys:,}; following would wipe them"
            return Refusal("empty-primary", primary.name, told, "run failover, which promotes who holds the most")
    return None


def refuse_older(topology: Topology, primary: Node) -> Refusal | None:
    """A primary that came back while the others hold a newer promotion is not the rightful one."""
    if newer := topology.newer(primary):
        hint = f"stop {primary.name}, then run failover"
        return Refusal("superseded", primary.name, told_newer(primary, newer), hint)
    return None


def refuse_lost(topology: Topology, primary: Node, request: Request) -> Refusal | None:
    """A primary whose history is unknown, without the epoch that others have: it lost its data and took new ones.

    The epoch has no expiry, and a verb that can't write it says so: who was promoted lacks it only after a FLUSHALL, an
    eviction or a lost disk. Only naming the primary with ``to`` says that its data are the right ones all the same.
    """
    if request.to == primary.name:
        return None
    if survivor := topology.survivor(primary):
        told = (
            f"lacks the epoch {survivor.epoch} and the history that {survivor.name} has, so it may have lost its data"
        )
        hint = f"stop {primary.name}, then run failover; or rejoin to={primary.name} if its data are the right ones"
        return Refusal("lost-history", primary.name, told, hint)
    return None

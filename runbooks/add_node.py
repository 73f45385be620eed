"""Adding a node: what must hold before its machine is touched, and before the others are told of it.

The inventory is the wish: the node stands in it already. It joins as a replica, alone, and the rest of the group is
changed only once it has all that the primary has. Every answer is made of what is seen, so another run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keydb_runbooks.runbooks.cost import full_resync
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import (
    WAIT,
    in_sync,
    refuse_harm,
    refuse_loading,
    refuse_lost,
    refuse_mode,
    refuse_older,
    refuse_rivals,
    refuse_unread,
)
from keydb_runbooks.runbooks.replication import Node, Unread
from keydb_runbooks.runbooks.steps import Follow
from keydb_runbooks.runbooks.steps_restart import BackInSync
from keydb_runbooks.runbooks.superseded import refuse_superseded
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.values import changed

CODES = ("no-room",)
"""Refusals that ``accept=CODE`` overrides."""


@dataclass(frozen=True)
class Place:
    """What the machine of a new node has, asked before anything is started there.

    ``memory_limit`` is its ``keydb_maxmemory`` in bytes, 0 for none. ``data`` are the names of data files that lie in
    its data directory, None if that is unknown; ``aof`` is whether its server will read an AOF, and no RDB file.
    """

    memory_limit: int
    data: tuple[str, ...] | None
    aof: bool


@dataclass(frozen=True)
class Joining:
    """A node that joins, whom it follows, what its resync needs, and what a person should know.

    ``others`` are the nodes whose files are extended afterwards: those that answer.
    """

    group: str
    node: str
    primary: str
    others: tuple[str, ...]
    needs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"add-node of {self.group}: {self.node} becomes a replica of {self.primary}; when it is in sync,"
        return f"{told} {' and '.join(self.others)} ask it too and proxies lead to it; no role moves"


def welcome(topology: Topology, request: Request, place: Place) -> Joining | Refusal:
    """Decide whether a node may be installed and join, with the room that it needs."""
    if refusal := _refuse_name(topology, request):
        return refusal
    name = request.node
    assert name is not None
    primary = _primary(topology, name, request)
    if isinstance(primary, Refusal):
        return primary
    refusal = _refuse_newcomer(topology, name, primary) or _refuse_data(topology, name, place)
    if refusal := refusal or _refuse_second(topology, name) or _refuse_room(topology, name, primary, place, request):
        return refusal
    node = topology.node(name)
    joined = node is not None and in_sync(node, primary)
    return Joining(
        group=topology.group,
        node=name,
        primary=primary.name,
        others=tuple(sorted(one.name for one in topology.nodes if one.name != name)),
        needs=() if joined else (_needs(topology, name, primary),),
        warnings=tuple(_warnings(topology, name, primary, joined=joined)),
    )


def _needs(topology: Topology, name: str, primary: Node) -> str:
    node = topology.node(name)
    if node is not None and topology.relation(node, primary).partial:
        return f"partial resync of {name} from {primary.name}: it has most of the data"
    # One that doesn't run is taken for such a server as the primary is.
    return f"full resync of {name} from {primary.name}: {full_resync(node or changed(primary, name=name), primary)}"


def plan(topology: Topology, request: Request) -> Answer:
    """Decide how an installed node comes to follow the primary; no role moves."""
    name = request.node
    assert name is not None, "whoever is welcome has a name"
    primary = _primary(topology, name, request)
    if isinstance(primary, Refusal):
        return primary
    node = topology.node(name)
    if node is None:
        return _refuse_silent(topology, name)
    if refusal := _refuse_newcomer(topology, name, primary):
        return refusal
    if in_sync(node, primary) and _counted(primary, node):
        return NothingToDo("already-joined", name, f"is a replica of {primary.name}, in sync")
    if refusal := _refuse_second(topology, name):
        return refusal
    # It may be in the middle of it, for a run that died or by its boot guard.
    follow = () if node.follows(primary) else (Follow(name, primary.name, primary.address),)
    return Plan(
        verb="add-node",
        group=topology.group,
        primary=primary.name,
        former=primary.name,
        steps=(*follow, BackInSync(name, primary.name, primary.address)),
        loss=Loss(0, f"{name} holds nothing that {primary.name} lacks"),
        proof=f"{primary.name} stays the primary",
        gap="none",
        node=name,
        outcome=f"{name} is a replica of {primary.name}, in sync",
    )


def _refuse_name(topology: Topology, request: Request) -> Refusal | None:
    hint = f"add node=NAME, one of {', '.join(topology.names)}: its host is in the inventory first"
    if request.node is None:
        return Refusal("nothing-named", topology.group, "which node joins is not said", hint)
    if request.node not in topology.names:
        return Refusal("unknown-member", request.node, f"is no node of {topology.group}'s inventory", hint)
    return None


def _primary(topology: Topology, name: str, request: Request) -> Node | Refusal:
    """The primary that it follows; the rest of the group has to be in order without it."""
    rest = _without(topology, name)
    refusal = refuse_mode(topology) or refuse_unread(rest, request) or refuse_rivals(rest)
    primary = rest.rightful_primary()
    if refusal is None and primary is None:
        hint = "run failover first; of a group that never had one, install makes the first"
        refusal = Refusal("no-primary", topology.group, "there is nobody to follow", hint)
    if refusal or primary is None:
        assert refusal is not None
        return refusal
    refusal = refuse_loading(primary) or refuse_superseded(rest, primary, request) or refuse_older(rest, primary)
    refusal = refusal or refuse_lost(rest, primary, request)
    if refusal is None and primary.paused:
        told = "holds all writes back: a run that died left that, or somebody paused it"
        refusal = Refusal("paused", primary.name, told, "run abort first")
    if refusal is None and primary.empty:
        refusal = Refusal("empty-primary", primary.name, "holds nothing, not even an epoch", "run status")
    return refusal or primary


def _without(topology: Topology, name: str) -> Topology:
    """The group as it is without the new node."""
    return changed(
        topology,
        nodes=tuple(node for node in topology.nodes if node.name != name),
        unread=tuple(node for node in topology.unread if node.name != name),
    )


def _refuse_newcomer(topology: Topology, name: str, primary: Node) -> Refusal | None:
    """Why this node must not become a replica: it is something already, or holds what nobody else has."""
    node = topology.node(name)
    if node is None:
        silent = next(one for one in topology.unread if one.name == name)
        return None if silent.stopped else _refuse_unread(silent)
    if node.is_primary:
        told = "is a primary: clients may have written to it"
        hint = f"if it is to follow {primary.name}, run demote node={name} first; else take it out of the inventory"
        return Refusal("primary", name, told, hint)
    if node.link is not None and not node.guarded and not node.follows(primary):
        told = f"follows {node.link.primary}, not {primary.name}"
        return Refusal("follows-other", name, told, "run rejoin, which looks at what it alone holds; then this again")
    if node.loading:
        # Of the primary's data: nothing else is left to do than to wait.
        return None if node.follows(primary) else refuse_loading(node)
    return refuse_harm(topology, (node,), primary, Request())


def _refuse_unread(silent: Unread) -> Refusal:
    hint = "mend that; a new node's machine is reached, and nothing else listens at its port"
    return Refusal(f"node-{silent.code}", silent.name, silent.detail, hint)


def _refuse_silent(topology: Topology, name: str) -> Refusal:
    silent = next(one for one in topology.unread if one.name == name)
    hint = "look at its log; then this again"
    return Refusal(f"node-{silent.code}", name, f"was not started: {silent.detail}", hint)


def _refuse_data(topology: Topology, name: str, place: Place) -> Refusal | None:
    """Files that its server would not read: what is in them is unknown, and the resync may replace them.

    Those that it reads are judged by their lineage when it runs, guarded.
    """
    if topology.node(name) is not None:
        return None
    hint = "move them away, or let keydb_persistence be what wrote them"
    if place.data is None:
        told = "its data directory can't be looked at"
        return Refusal("data-unknown", name, told, "look at keydb_data_directory there: is it a directory?")
    aof = tuple(one for one in place.data if not one.endswith(".rdb"))
    unread = (place.data if not aof else ()) if place.aof else aof
    if not unread:
        return None
    told = f"its data directory has {' and '.join(unread)}, which its server would not read"
    return Refusal("data-unread", name, told, hint)


def _refuse_second(topology: Topology, name: str) -> Refusal | None:
    """At most one full resync at a time: each lets the primary fork."""
    for node in topology.nodes:
        if node.name != name and (node.loading or any(link.syncing for link in node.links)):
            return Refusal("resync-running", node.name, "is loading all data", WAIT)
    return None


def _refuse_room(topology: Topology, name: str, primary: Node, place: Place, request: Request) -> Refusal | None:
    node = topology.node(name)
    if "no-room" in request.accept or (node is not None and in_sync(node, primary)):
        return None
    for where, told, hint in _lacks(topology, name, primary, place):
        return Refusal("no-room", where, told, f"{hint}, or accept=no-room")
    return None


def _lacks(topology: Topology, name: str, primary: Node, place: Place) -> Iterator[tuple[str, str, str]]:
    """What is known to be too little for all that the primary holds."""
    data = primary.condition.dataset_bytes
    if data is None:
        return
    if 0 < place.memory_limit < data:
        told = f"may use {place.memory_limit:,} bytes of memory, and {primary.name} holds {data:,} bytes of data"
        yield name, told, "raise its keydb_maxmemory"
    new = next(one for one in topology.everybody if one.name == name)
    if (free := _free(new)) is not None and free < data:
        yield name, f"its disk has {free:,} bytes free for {data:,} bytes of data", "make room"
    if not primary.condition.diskless_sync and (free := _free(primary)) is not None and free < data:
        told = f"writes {data:,} bytes of data to its disk for a new replica, which has {free:,} free"
        yield primary.name, told, "make room"


def _free(seen: Node | Unread) -> int | None:
    return seen.machine.disk_free if seen.machine is not None else None


def _warnings(topology: Topology, name: str, primary: Node, *, joined: bool) -> Iterator[str]:
    if not joined:
        yield from _tight(primary)
    for silent in topology.unread:
        if silent.name != name:
            yield f"{silent.name} is not told of {name}, since its server doesn't answer: run install when it is back"
    for proxy in topology.unread_proxies:
        yield f"{proxy.name} may not be told of {name}: run install when it is back"


def _tight(primary: Node) -> Iterator[str]:
    """What a full resync may meet at worst."""
    condition, machine = primary.condition, primary.machine
    free = machine.memory_available if machine is not None else None
    if free is None:
        yield f"how much memory {primary.name}'s machine has for a fork is unknown"
    elif free < primary.memory_used:
        yield (
            f"{primary.name} uses {primary.memory_used:,} bytes, and its machine has {free:,} more: "
            "a full resync may run out of memory at worst"
        )
    rate, seconds = condition.input_bytes_per_second, condition.save_seconds
    if rate and seconds and rate * seconds > primary.backlog_size:
        yield (
            f"{primary.name} gets {rate * seconds:,} bytes while it sends its data, and its backlog has "
            f"{primary.backlog_size:,}: if the link breaks meanwhile it begins again; do it when less is written"
        )


def _counted(primary: Node, node: Node) -> bool:
    """Whether the primary counts it; behind an address translation it knows it by another address."""
    return all(one.online for one in primary.replicas if one.address == node.address)

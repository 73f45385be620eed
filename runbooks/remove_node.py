"""Removing a node: what must hold before clients are led away from it, and before its server ends.

The node still stands in the inventory. Proxies forget it first, then it ends with its data kept, then the others' boot
guards forget it: while it holds what nobody else has, they still ask for it. Every answer is made of what is seen, so
another run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import in_sync, refuse_mode, refuse_rivals, refuse_target, refuse_unread
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps_members import Leave, LeftByClients
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.values import changed

CODES = ("no-replica-left",)
"""Refusals that ``accept=CODE`` overrides."""

DRAIN_SECONDS = 10.0
"""For how long clients that read from the node may stay connected to it; new ones go elsewhere at once."""


@dataclass(frozen=True)
class Leaving:
    """A node that leaves, who stays, and what a person should know; ``others`` are those whose files are changed."""

    group: str
    node: str
    primary: str
    others: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"remove-node of {self.group}: proxies forget {self.node}, its server ends and its data stay; then"
        return f"{told} {' and '.join(self.others)} ask it no more; {self.primary} stays the primary"


def farewell(topology: Topology, request: Request, min_replicas: int) -> Leaving | Refusal:
    """Decide whether a node may leave.

    :param min_replicas: ``min-replicas-to-write``, which the rest has to have replicas for
    """
    name = request.node
    if refusal := _refuse_name(topology, name):
        return refusal
    assert name is not None
    primary = _primary(topology, name, request)
    if isinstance(primary, Refusal):
        return primary
    if refusal := _refuse_rest(topology, name, primary, request, min_replicas):
        return refusal
    return Leaving(
        group=topology.group,
        node=name,
        primary=primary.name,
        others=tuple(sorted(one.name for one in topology.nodes if one.name != name)),
        warnings=tuple(_warnings(topology, name)),
    )


def refuse_number(group: str, name: str | None, names: Sequence[str]) -> Refusal | None:
    """A StatefulSet gives up the pod of the highest number, and no other.

    :param names: the pods of one StatefulSet
    """
    last = max(names, key=lambda one: int(one.rpartition("-")[2]))
    if name is None or name not in names or name == last:
        return None
    hint = f"name {last}; if it is the primary, switchover first"
    return Refusal("not-the-last", name, f"a StatefulSet of {group} gives up its last pod only, {last}", hint)


def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
    """Decide how a node ends that no proxy leads to any more."""
    answer = farewell(topology, request, min_replicas)
    if isinstance(answer, Refusal):
        return answer
    node = topology.node(answer.node)
    if node is None:
        return NothingToDo("already-gone", answer.node, f"its server does not run; {_then(answer.node)}")
    if refusal := _refuse_led(topology, answer.node, request):
        return refusal
    return Plan(
        verb="remove-node",
        group=topology.group,
        primary=answer.primary,
        former=answer.primary,
        steps=(LeftByClients(node.name, DRAIN_SECONDS), Leave(node.name, node.run_id)),
        loss=Loss(0, f"{answer.primary} goes on and has everything"),
        proof=f"{answer.primary} stays the primary",
        gap="none",
        node=node.name,
        outcome=f"{node.name} has left {topology.group}",
    )


def _then(name: str) -> str:
    return f"take {name} out of the inventory, or the next install brings it back"


def _refuse_name(topology: Topology, name: str | None) -> Refusal | None:
    proxies = {*(proxy.name for proxy in topology.proxies), *(proxy.name for proxy in topology.unread_proxies)}
    hint = f"add node=NAME, one of {', '.join(topology.names)}"
    if name is None:
        return Refusal("nothing-named", topology.group, "which node leaves is not said", hint)
    if name in proxies:
        told = "is a proxy, and no node knows it"
        return Refusal("proxy-named", name, told, f"uninstall node={name} takes it away")
    if name not in topology.names:
        return Refusal("unknown-member", name, f"is no node of {topology.group}", hint)
    if len(topology.names) == 1:
        told = "is the only node, so the whole group would be gone"
        return Refusal("last-node", name, told, f"uninstall whole_group={topology.group} says so")
    return None


def _primary(topology: Topology, name: str, request: Request) -> Node | Refusal:
    """The primary of those who stay."""
    refusal = refuse_mode(topology) or _refuse_unread(topology, name, request) or refuse_rivals(topology)
    primary = topology.rightful_primary()
    if refusal is None and primary is None:
        refusal = Refusal("no-primary", topology.group, "nobody is primary", "run failover first")
    if refusal is None and primary is not None and primary.name == name:
        refusal = _refuse_primary(topology, primary)
    if refusal is None:
        refusal = _refuse_other_primary(topology, name)
    if refusal or primary is None:
        assert refusal is not None
        return refusal
    return primary


def _refuse_unread(topology: Topology, name: str, request: Request) -> Refusal | None:
    """Who is silent may be a primary, the node itself too; one that is gone for ever is named by ``allow_unread``."""
    for silent in topology.unread:
        if silent.name == name and not silent.stopped and name not in request.allow_unread:
            hint = f"stop its server, or allow_unread={name} if its machine is off for good"
            return Refusal(f"node-{silent.code}", name, silent.detail, hint)
    return refuse_unread(_without(topology, name), request)


def _refuse_primary(topology: Topology, primary: Node) -> Refusal:
    able = [node.name for node in topology.nodes if in_sync(node, primary) and refuse_target(node) is None]
    hint = f"run switchover to={min(able)} first, then this again" if able else "let a replica be in sync with it first"
    return Refusal("primary", primary.name, "is the primary", hint)


def _refuse_other_primary(topology: Topology, name: str) -> Refusal | None:
    """It holds writes that were given to it and to nobody else, perhaps."""
    node = topology.node(name)
    if node is None or not node.is_primary:
        return None
    return Refusal("primary", name, "is a primary beside the rightful one", "run rejoin first, then this again")


def _refuse_rest(topology: Topology, name: str, primary: Node, request: Request, min_replicas: int) -> Refusal | None:
    """Why those who stay could not go on."""
    rest = _without(topology, name)
    node = topology.node(name)
    if node is not None:
        for other in rest.nodes:
            if other.follows(node):
                told = f"follows {name}, not {primary.name}"
                return Refusal("follows-other", other.name, told, "run rejoin first, then this again")
    if len(rest.nodes) * 2 <= len(rest.everybody):
        told = f"{len(rest.nodes)} of the {len(rest.everybody)} nodes that stay answer: no majority could keep the lock"
        return Refusal("no-majority", topology.group, told, "start or reach the others first")
    following = sum(in_sync(other, primary) for other in rest.nodes)
    if following < min_replicas:
        told = f"would have {following} replicas in sync, and takes writes only with {min_replicas}"
        hint = f"{_one_more(rest, primary)}, or lower keydb_min_replicas_to_write and install"
        return Refusal("too-few-replicas", primary.name, told, hint)
    if following == 0 and "no-replica-left" not in request.accept:
        told = f"would be alone: {name} is its last replica"
        return Refusal("no-replica-left", primary.name, told, f"{_one_more(rest, primary)}, or accept=no-replica-left")
    return None


def _one_more(rest: Topology, primary: Node) -> str:
    """How those who stay come to have another replica; nobody has to join where one of them only doesn't follow."""
    strays = [node.name for node in rest.nodes if node is not primary and not node.follows(primary)]
    if not strays:
        return "let another one join first"
    return f"run rejoin first, so that {' and '.join(strays)} {'follows' if len(strays) == 1 else 'follow'} it"


def _refuse_led(topology: Topology, name: str, request: Request) -> Refusal | None:
    """A proxy that still leads to it."""
    for proxy in topology.proxies:
        if proxy.name in request.allow_unread:
            continue
        if any(server.node == name for server in (*proxy.writers, *proxy.readers)):
            told = f"still leads to {name}"
            hint = f"look at what this run said of it; or allow_unread={proxy.name} leaves it to its own checks"
            return Refusal("proxy-leads", proxy.name, told, hint)
    return None


def _without(topology: Topology, name: str) -> Topology:
    return changed(
        topology,
        nodes=tuple(node for node in topology.nodes if node.name != name),
        unread=tuple(node for node in topology.unread if node.name != name),
    )


def _warnings(topology: Topology, name: str) -> Iterator[str]:
    rest = [node for node in topology.everybody if node.name != name]
    for silent in topology.unread:
        if silent.name != name:
            yield f"{silent.name} still knows {name}, since its server doesn't answer: run install when it is back"
        elif not silent.stopped:
            yield f"{name} can't be ended or cleared, since it is not reached: see that its machine never comes back"
    for proxy in topology.unread_proxies:
        yield f"{proxy.name} may still lead to {name}: run install when it is back"
    if len(rest) % 2 == 0:
        yield f"of {len(rest)} nodes a majority is {len(rest) // 2 + 1}: verbs need {len(rest) // 2 + 1} that answer"
    yield f"afterwards: {_then(name)}"

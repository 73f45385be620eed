"""What is true when a run is over: each node's role, lineage and file, looked at once more, and told in sentences."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from keydb_runbooks.runbooks.plan import Plan
from keydb_runbooks.runbooks.replication import SILENT, Node
from keydb_runbooks.runbooks.steps import Follow, Promote, VerifyWrite
from keydb_runbooks.runbooks.steps_members import Leave
from keydb_runbooks.runbooks.steps_service import MoveService
from keydb_runbooks.runbooks.topology import Topology

READS = "reads"


@dataclass(frozen=True)
class Check:
    """Something that was verified, or could not be: ``what``, on which node or proxy, and how or why not."""

    what: str
    where: str
    told: str


@dataclass(frozen=True)
class Verification:
    """What was verified and how, what was not and why, and what is not as it should be, a sentence each."""

    verified: tuple[Check, ...]
    not_verified: tuple[Check, ...]
    wrong: tuple[str, ...]


def verify(plan: Plan, topology: Topology) -> Verification:
    """Compare what a plan promised with what was read after its last step.

    Only what one of its steps was about can be wrong: who was left alone may be what it likes.
    """
    checks = tuple(_verified(plan, topology))
    return Verification(checks, tuple(_not_verified(plan, topology)), tuple(_wrong(plan, topology)))


def ended(plan: Plan) -> frozenset[str]:
    """The nodes that a plan ends for good: nobody looks for them any more."""
    return frozenset(step.where for step in plan.steps if isinstance(step, Leave))


def whose_reads(topology: Topology, proxy: str, run_id: str | None, why: str) -> tuple[Check, bool]:
    """What a read through a proxy's port for reads showed, and whether it got what the rightful primary gives on.

    :param run_id: of the server that answered; None if none did
    :param why: in this case, what was met instead; else ""
    """
    node = next((node for node in topology.nodes if node.run_id == run_id), None)
    primary = topology.rightful_primary()
    if run_id is None:
        return Check(READS, proxy, f"a read through its port for reads was not answered: {why}"), False
    if node is None:
        return Check(READS, proxy, "a server that is no node of the group answers reads"), False
    told = f"{node.name} answers them and {_role(topology, node)}"
    given_on = node.link is None or node.link.alive
    return Check(READS, proxy, told), primary is not None and given_on and node.replication_id == primary.replication_id


def can_be_read(topology: Topology) -> bool:
    """Whether any replica is there that gets what the rightful primary gives on."""
    primary = topology.rightful_primary()
    return primary is not None and any(node.link is not None and node.follows(primary) for node in topology.nodes)


def truths(topology: Topology) -> Iterator[str]:
    """What each node and each proxy is now, a sentence each."""
    for node in topology.nodes:
        paused = {True: ", holds writes back", False: "", None: ", whether it holds writes back is unknown"}
        yield f"{node.name} {_role(topology, node)} at offset {node.offset:,}{paused[node.paused]}"
    for unread in topology.unread:
        yield f"{unread.name} can't be read: {unread.detail}"
    for proxy in topology.proxies:
        yield f"{proxy.name} sends writes to {' and '.join(proxy.writes_go_to) or 'nobody'}"
    for service in topology.services:
        yield f"{service.name} sends writes to {service.whom}"
    for silent in topology.unread_fronts:
        yield f"{silent.name} can't be read: {silent.detail}"


def left(topology: Topology, primary: str | None, ended: Container[str] = ()) -> Iterator[str]:
    """Who of a group with this primary is not part of it and must not come back as another one, a sentence each.

    :param ended: names of those that were ended for good
    """
    rightful = topology.rightful_primary()
    if rightful is None or rightful.name != primary:
        return
    for node in topology.unread:
        if node.name in ended:
            yield f"left: take {node.name} out of the inventory, or the next install brings it back"
        elif node.stopped:
            yield f"left: {node.name} does not run; run start, then rejoin"
        elif node.code in SILENT:
            told = "does not answer and may wake up as a primary; stop its server or its machine"
            yield f"left: {node.name} {told}, then run start and rejoin"


def _role(topology: Topology, node: Node) -> str:
    if node.is_primary:
        return "is a primary"
    if node.link is None or node.guarded:
        return "follows nobody"
    source = topology.at(node.link.primary)
    state = "" if node.link.up else " (no link)"
    return f"follows {source.name if source is not None else node.link.primary}{state}"


def _verified(plan: Plan, topology: Topology) -> Iterator[Check]:
    primary = topology.node(plan.primary or "")
    for node in topology.nodes:
        yield Check("role", node.name, f"INFO: {_role(topology, node)}")
        if primary is not None and node.replication_id == primary.replication_id:
            yield Check("lineage", node.name, f"INFO: its stream is {node.replication_id[:8]}, as {primary.name}'s")
        if node.config_replicaof == node.running_replicaof:
            yield Check("file", node.name, f"its configuration file says {node.running_replicaof or 'no replicaof'}")
    for proxy in topology.proxies:
        if plan.primary is not None and proxy.writes_go_to == (plan.primary,):
            yield Check("route", proxy.name, f"its statistics: writes go to {plan.primary} alone")
    for service in topology.services:
        if plan.primary is not None and service.writes_go_to == (plan.primary,):
            yield Check("route", service.name, f"its selector: writes go to {plan.primary} alone")


def _not_verified(plan: Plan, topology: Topology) -> Iterator[Check]:
    for unread in (node for node in topology.unread if node.name not in ended(plan)):
        yield Check("everything", unread.name, unread.detail)
    for silent in topology.unread_fronts:
        yield Check("everything", silent.name, silent.detail)
    for node in topology.nodes:
        if node.config_replicaof is None:
            yield Check("file", node.name, "its configuration file could not be read")
        if node.paused is None:
            yield Check("pause", node.name, "whether it holds writes back could not be proved")
    tried = {step.where for step in plan.steps if isinstance(step, VerifyWrite)}
    for proxy in topology.proxies:
        if proxy.name not in tried:
            yield Check("a write", proxy.name, f"{plan.verb} sends none through it")
    for service in topology.services:
        yield Check("a write", service.name, "no write was sent through it: only pods reach it")


def _wrong(plan: Plan, topology: Topology) -> Iterator[str]:
    primary = topology.node(plan.primary or "")
    promised = any(isinstance(step, Promote | VerifyWrite) for step in plan.steps)
    if primary is not None and promised and not primary.is_primary:
        yield f"{primary.name} {_role(topology, primary)} now"
    if primary is not None and promised and primary.paused:
        yield f"{primary.name} holds writes back"
    for name in sorted({step.where for step in plan.steps if isinstance(step, Follow)}):
        follower = topology.node(name)
        if follower is not None and primary is not None and not follower.follows(primary):
            yield f"{name} {_role(topology, follower)} now"
    moved = {step.where for step in plan.steps if isinstance(step, MoveService)}
    for service in topology.services:
        if service.name in moved and service.writes_go_to != (plan.primary,):
            yield f"{service.name} sends writes to {service.whom} now"

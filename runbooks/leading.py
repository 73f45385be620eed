"""Letting a Service lead to the primary, and the former clients of a Service or of proxies find it."""

from __future__ import annotations

from collections.abc import Iterable

from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps import Step
from keydb_runbooks.runbooks.steps_clients import EndLatecomers, EndSessions, EndStragglers
from keydb_runbooks.runbooks.steps_service import LabelPods, MoveService
from keydb_runbooks.runbooks.topology import Topology


def lead(topology: Topology, primary: Node) -> tuple[Step, ...]:
    """Steps that let every Service lead to the primary, where it doesn't yet."""
    return tuple(
        MoveService(service.name, primary.name, service.named, service.unmet)
        for service in topology.services
        if service.writes_go_to != (primary.name,)
    )


def left_by(topology: Topology, former: Iterable[Node]) -> tuple[str, ...]:
    """Nodes whose clients have to look for the primary again: who gave the role away, and of a Service also whose
    clients were never told because a run died, and whom it leads to now, a server that was killed and is back as no
    primary for instance."""
    if not topology.fronts:
        return ()
    answering = {node.name for node in topology.nodes if not node.loading}
    led = {name for service in topology.services for name in service.writes_go_to}
    seen = {name for service in topology.services for name in service.stragglers}
    return tuple(sorted(seen | (led & answering) | {node.name for node in former}))


def end_stragglers(topology: Topology, names: Iterable[str], primary: Node) -> tuple[Step, ...]:
    """Steps that end the connections that are open to nodes which are no longer the primary."""
    former = tuple(name for name in names if name != primary.name)
    if not topology.services:
        return tuple(EndSessions(name) for name in former)
    return tuple(EndStragglers(name, service.name, primary.name) for service in topology.services for name in former)


def end_latecomers(topology: Topology, names: Iterable[str], primary: Node) -> tuple[Step, ...]:
    """The last steps of a plan that moves a Service."""
    return tuple(
        EndLatecomers(name, service.name, primary.name)
        for service in topology.services
        for name in names
        if name != primary.name
    )


def label(topology: Topology, primary: Node, replicas: Iterable[str]) -> tuple[Step, ...]:
    """Steps that label the pods."""
    named = tuple(sorted(replicas))
    return tuple(LabelPods(service.name, primary.name, named) for service in topology.services[:1])

"""Read the Service that clients write through, and who was left behind when it moved last."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

import redis

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, NodeEntry, ServiceEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.link import LinkError, link
from keydb_runbooks.connectors.services import Seen, ServiceClient
from keydb_runbooks.facts.condition import moment
from keydb_runbooks.runbooks.clients import older_than
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.service import Service, UnreadService
from keydb_runbooks.runbooks.steps_service import POD_NAME
from keydb_runbooks.runbooks.values import changed

OURS = ("replication", "operator", "monitoring", "check")
"""Roles of the inventory's users whose connections are no client's."""


def read_service(entry: ServiceEntry, group: Group) -> tuple[Service | UnreadService, Seen | None]:
    """Where a Service leads, and what the API server said of it."""
    before = time.time()
    try:
        client = ServiceClient(entry.host, entry.name, entry.data("keydb_connect_timeout"))
        seen = client.read()
        trip = time.time() - before
        movable = client.may_move()
    except ClusterError as error:
        told = f"there is no Service {entry.name}: {error.detail}" if error.code == "missing" else error.detail
        return UnreadService(entry.name, error.code, told, moment(time.time())), None
    named = seen.selector.get(POD_NAME)
    service = Service(
        entry.name,
        tuple(node.name for node in group.nodes if _selected(node, seen.selector)),
        next((node.name for node in group.nodes if node.name == named), None),
        tuple(sorted(key for key, value in seen.selector.items() if not _met(group, key, value))),
        movable,
        observed_at=moment(time.time()),
        round_trip_seconds=trip,
    )
    return service, seen


def with_stragglers(
    service: Service | UnreadService, seen: Seen | None, group: Group, nodes: tuple[Node, ...]
) -> Service | UnreadService:
    """The same with the node that it was moved away from, if clients are still connected there since before."""
    if isinstance(service, UnreadService) or seen is None or seen.moved_seconds is None:
        return service
    node = next((node for node in nodes if node.name == seen.moved_from and not node.loading), None)
    if node is None or node.name in service.writes_go_to or not _has_older(group.node(node.name), seen.moved_seconds):
        return service
    return changed(service, stragglers=(node.name,))


def our_users(entry: NodeEntry) -> frozenset[str]:
    """Names of the users whose connections are no client's."""
    return frozenset(entry.user(role).name for role in OURS)


def _has_older(entry: NodeEntry, moved_seconds: float) -> bool:
    """Whether a client of a node is there since before the move; what can't be read is not told of."""
    with suppress(LinkError, redis.RedisError, OSError):
        client = link(entry)
        try:
            return older_than(str(client.execute_command("CLIENT", "LIST")), our_users(entry), moved_seconds)
        finally:
            client.close()
    return False


def _met(group: Group, key: str, value: str) -> bool:
    """Whether every pod that we know meets a part of a selector; the one that names a pod is ours to change."""
    return key == POD_NAME or all(_labels(node).get(key) == value for node in group.nodes if node.host.connected)


def _selected(node: NodeEntry, selector: Mapping[str, str]) -> bool:
    """Whether a selector leads to a node's pod. Of one that is away no labels are known: its name must do."""
    named, labels = selector.get(POD_NAME), _labels(node)
    others = [(key, value) for key, value in selector.items() if key != POD_NAME]
    if not node.host.connected:
        return named == node.name
    return bool(selector) and named in (None, node.name) and all(labels.get(key) == value for key, value in others)


def _labels(node: NodeEntry) -> dict[str, str]:
    connector = node.host.connector
    return connector.labels if isinstance(connector, KubernetesConnector) else {}

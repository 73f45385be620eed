"""Groups on pods, and the namespaces that these are in."""

from __future__ import annotations

from pyinfra.api.host import Host

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.objects import Objects

ANSWER_SECONDS = 10.0
"""What the API server may take for one answer: it checks whole objects."""


def are_pods(group: Group) -> bool:
    """Whether a group is on pods, all of it."""
    return bool(group.hosts) and all(issubclass(one.connector_cls, KubernetesConnector) for one in group.hosts)


def is_pod(entry: NodeEntry) -> bool:
    return issubclass(entry.host.connector_cls, KubernetesConnector)


def connector_of(host: Host) -> KubernetesConnector:
    """The connector of a host that is a pod."""
    connector = host.connector
    assert isinstance(connector, KubernetesConnector)
    return connector


def runs(host: Host) -> bool:
    """Whether a pod ran when it was looked at last."""
    return connector_of(host).pod is not None


def objects_at(entry: NodeEntry) -> Objects:
    """The namespace that a node's pod is in.

    :raises ClusterError: not-configured
    """
    connector = connector_of(entry.host)
    return Objects(connector.cluster(), connector.namespace, ANSWER_SECONDS)


def objects_of(group: Group) -> Objects:
    """The namespace that a group's pods are in.

    :raises ClusterError: not-configured
    """
    return objects_at(group.nodes[0])

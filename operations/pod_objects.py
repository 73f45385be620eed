"""Groups on pods, and the namespaces that these are in."""

from __future__ import annotations

from contextlib import suppress

from pyinfra.api.host import Host

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.objects import Objects

ANSWER_SECONDS = 10.0
"""What the API server may take for one answer: it checks whole objects."""

SECRET_FILES = {"keydb_tls_ca": "ca.crt", "keydb_tls_certificate": "tls.crt", "keydb_tls_key": "tls.key"}
"""What a Secret of type kubernetes.io/tls calls the files of the inventory's keys, cert-manager's for instance."""


def are_pods(group: Group) -> bool:
    """Whether a group is on pods, all of it."""
    return bool(group.hosts) and all(issubclass(one.connector_cls, KubernetesConnector) for one in group.hosts)


def is_pod(entry: NodeEntry | ProxyEntry) -> bool:
    return issubclass(entry.host.connector_cls, KubernetesConnector)


def connector_of(host: Host) -> KubernetesConnector:
    """The connector of a host that is a pod."""
    connector = host.connector
    assert isinstance(connector, KubernetesConnector)
    return connector


def runs(host: Host) -> bool:
    """Whether a pod ran when it was looked at last."""
    return connector_of(host).pod is not None


def is_new(entry: NodeEntry) -> bool:
    """Whether a node is a pod that its StatefulSet doesn't have, and the API server knows of none; unknown is no.

    One that is wanted and isn't there may still run, on a node that is out of reach for instance.
    """
    if not is_pod(entry) or runs(entry.host):
        return False
    name, _, number = entry.name.rpartition("-")
    with suppress(ClusterError, ValueError):
        objects = objects_at(entry)
        there = objects.read("StatefulSet", name)
        if there is None or objects.read("Pod", entry.name) is not None:
            return False
        first = there["spec"].get("ordinals", {}).get("start", 0)
        return not first <= int(number) < first + int(there["spec"]["replicas"])
    return False


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

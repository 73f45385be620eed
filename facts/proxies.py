"""Proxies in pods come and go: which ones came after the inventory was read, so that nobody takes the rest for all."""

from __future__ import annotations

from collections import defaultdict

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, ProxyEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector, deployed
from keydb_runbooks.runbooks.proxy import UnreadProxy


def newcomers(group: Group) -> list[UnreadProxy]:
    """The pods of the proxies' Deployments that the inventory doesn't have, or why that can't be told."""
    found = []
    for (namespace, name), entries in _deployments(group).items():
        known, entry = {entry.name for entry in entries}, entries[0]
        try:
            connector = entry.host.connector
            assert isinstance(connector, KubernetesConnector)
            pods = deployed(connector.cluster(), namespace, name, entry.data("keydb_connect_timeout"))
            told = f"was made after this run had begun: deployment/{name} made it; run this again"
            found += [UnreadProxy(pod, "came-later", told) for pod in pods if pod not in known]
        except ClusterError as error:
            told = f"which proxies there are is unknown: {error.detail}"
            found.append(UnreadProxy(f"deployment/{name}", "not-listed", told))
    return found


def _deployments(group: Group) -> dict[tuple[str, str], list[ProxyEntry]]:
    """The proxies by their namespace and Deployment; nobody who was named as a pod."""
    found = defaultdict(list)
    for entry in group.proxies:
        if named := entry.host.data.get("kubernetes_deployment"):
            found[str(entry.host.data.get("kubernetes_namespace")), str(named)].append(entry)
    return dict(found)

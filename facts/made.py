"""How a pod that somebody else made is made: the pod, who owns it, and the ConfigMaps that it is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from keydb_runbooks.connectors.cluster import Cluster, ClusterError, place
from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.runbooks.made import UNREAD, Undoing, judge
from keydb_runbooks.runbooks.objects import MANAGED_BY, OURS


def read_made(entry: NodeEntry) -> tuple[Undoing, ...]:
    """What of a pod's making may undo its role; nothing on a machine, and of a pod that install made."""
    connector = entry.host.connector
    if not isinstance(connector, KubernetesConnector) or connector.pod is None:
        return ()
    pod, container = connector.seen, str(connector.pod.container)
    if (pod["metadata"].get("labels") or {}).get(MANAGED_BY) == OURS:
        return ()
    try:
        cluster, namespace = connector.cluster(), connector.namespace
        timeout = float(entry.data("keydb_connect_timeout"))
        owners = list(_owners(cluster, namespace, pod, timeout))
        texts: dict[str, str] = {}
        for name in _given(pod):
            texts |= {f"{name}/{file}": text for file, text in _files(cluster, namespace, name, timeout)}
        complete = True
    except ClusterError:
        owners, texts, complete = list(pod["metadata"].get("ownerReferences") or ()), {}, False
    found = judge(pod, container, owners, texts, str(entry.data("keydb_config_directory")))
    return found if complete else (*found, UNREAD)


def _owners(cluster: Cluster, namespace: str, pod: Mapping[str, Any], timeout: float) -> Iterator[Mapping[str, Any]]:
    """Who owns a pod, and who owns its StatefulSet.

    :raises ClusterError: as ``Cluster.get``
    """
    for owner in pod["metadata"].get("ownerReferences") or ():
        yield owner
        if owner.get("kind") == "StatefulSet":
            with suppress(LookupError):
                yield from _owners_of_set(cluster, namespace, str(owner["name"]), timeout)


@lru_cache(maxsize=64)
def _owners_of_set(cluster: Cluster, namespace: str, name: str, timeout: float) -> tuple[Mapping[str, Any], ...]:
    found = cluster.get(place(namespace, "statefulsets", name, group="/apis/apps/v1"), timeout=timeout)
    return tuple(found["metadata"].get("ownerReferences") or ())


def _given(pod: Mapping[str, Any]) -> list[str]:
    """The names of the ConfigMaps that a pod has as files; the cluster's own is none of them."""
    volumes = pod["spec"].get("volumes") or ()
    names = [one["configMap"]["name"] for one in volumes if "configMap" in one]
    for one in volumes:
        sources = (one.get("projected") or {}).get("sources") or ()
        names += [part["configMap"]["name"] for part in sources if "configMap" in part]
    return sorted({str(name) for name in names if name != "kube-root-ca.crt"})


@lru_cache(maxsize=64)
def _files(cluster: Cluster, namespace: str, name: str, timeout: float) -> tuple[tuple[str, str], ...]:
    """A ConfigMap's files; it is read once a run.

    :raises ClusterError: as ``Cluster.get``
    """
    found = cluster.get(place(namespace, "configmaps", name), timeout=timeout)
    return tuple((str(file), str(text)) for file, text in (found.get("data") or {}).items())

"""A Service in the pods' namespace: read it, move it, and what the cluster made of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyinfra.api.host import Host

from keydb_runbooks.connectors.cluster import Cluster, place
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.runbooks.steps_service import FORMER

MANAGER = "keydb-runbooks"
"""Under this name the API server remembers what we changed."""


@dataclass(frozen=True)
class Seen:
    """What the API server says of a Service.

    ``selector``: as it is. ``moved_seconds``: since when that is so. ``moved_from``: which pod it named before. Both of
    these are None unless the last who changed the selector was one of our runs.
    """

    selector: Mapping[str, str]
    moved_seconds: float | None
    moved_from: str | None


class ServiceClient:
    """A Service that can be read and moved.

    :param host: any pod's host of the Service's namespace
    :raises ClusterError: not-configured
    """

    def __init__(self, host: Host, name: str, timeout: float) -> None:
        connector = host.connector
        assert isinstance(connector, KubernetesConnector)
        self.name, self.namespace = name, connector.namespace
        self.cluster: Cluster = connector.cluster()
        self.timeout = timeout

    def read(self) -> Seen:
        """
        :raises ClusterError: as ``Cluster.get``
        """
        found, now = self.cluster.get_dated(self._path(), timeout=self.timeout)
        told = found["metadata"]
        moved = _moved(told.get("managedFields") or [])
        former = (told.get("annotations") or {}).get(FORMER)
        selector = found["spec"].get("selector") or {}
        if moved is None or now is None or former is None:
            return Seen(selector, None, None)
        return Seen(selector, (now - moved).total_seconds(), former)

    def may_move(self) -> bool:
        """
        :raises ClusterError: as ``Cluster.get``
        """
        return self.cluster.may("patch", "services", self.namespace, self.name, timeout=self.timeout)

    def patch(self, body: Mapping[str, Any]) -> None:
        """
        :raises ClusterError: as ``Cluster.get``
        """
        self.cluster.patch(self._path(), body, timeout=self.timeout, manager=MANAGER)

    def patch_pod(self, pod: str, body: Mapping[str, Any]) -> None:
        """
        :raises ClusterError: as ``Cluster.get``
        """
        self.cluster.patch(place(self.namespace, "pods", pod), body, timeout=self.timeout, manager=MANAGER)

    def leads_to(self) -> set[str]:
        """The pods that get new connections, as the cluster itself made it out of the selector.

        :raises ClusterError: as ``Cluster.get``
        """
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"
        found = self.cluster.get(f"{path}?labelSelector=kubernetes.io/service-name={self.name}", timeout=self.timeout)
        places = [one for part in found["items"] for one in part.get("endpoints") or []]
        return {
            str(one.get("targetRef", {}).get("name"))
            for one in places
            if one.get("conditions", {}).get("ready") is not False
        }

    def _path(self) -> str:
        return place(self.namespace, "services", self.name)


def _moved(managed: list[dict[str, Any]]) -> datetime | None:
    """When one of our runs moved the Service; None if somebody else, install as well, set its selector later."""
    owners = [one for one in managed if "f:selector" in one.get("fieldsV1", {}).get("f:spec", {}) and one.get("time")]
    times = {(_time(one["time"]), (one.get("manager"), one.get("operation")) == (MANAGER, "Update")) for one in owners}
    latest, ours = max(times, default=(None, False))
    return latest if ours else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))

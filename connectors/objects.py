"""Objects of a namespace: tried on the server, which keeps nothing of that, then applied, read and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keydb_runbooks.connectors.cluster import Cluster, ClusterError, place
from keydb_runbooks.connectors.services import MANAGER
from keydb_runbooks.runbooks.objects import Tried

Document = Mapping[str, Any]

KINDS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Event": ("/api/v1", "events"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Pod": ("/api/v1", "pods"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
}
"""Where the API server has each kind."""


@dataclass(frozen=True)
class Objects:
    """The objects of one namespace; ``timeout`` is what one answer may take, in seconds."""

    cluster: Cluster
    namespace: str
    timeout: float

    @property
    def told(self) -> str:
        """Where they are, for people."""
        return f"namespace {self.namespace}"

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """An object, None if there is none.

        :raises ClusterError: as ``Cluster.get``
        """
        try:
            return self.cluster.get(self._path(kind, name), timeout=self.timeout)
        except ClusterError as error:
            if error.code == "missing":
                return None
            raise

    def chosen(self, kind: str, selector: str) -> list[dict[str, Any]]:
        """The objects of a kind that a selector of labels chooses.

        :raises ClusterError: as ``Cluster.get``
        """
        group, plural = KINDS[kind]
        path = f"{group}/namespaces/{self.namespace}/{plural}?labelSelector={selector}"
        found: list[dict[str, Any]] = self.cluster.get(path, timeout=self.timeout)["items"]
        return found

    def try_out(self, document: Document, live: Document | None, *, force: bool = False) -> Tried:
        """What the server would make of a document; it keeps nothing of it."""
        kind, name = document["kind"], document["metadata"]["name"]
        try:
            wished = self._apply(document, dry=True, force=force)
        except ClusterError as error:
            return Tried(kind, name, live, None, error.code, error.detail, error.fields)
        return Tried(kind, name, live, wished)

    def apply(self, document: Document, *, force: bool = False) -> None:
        """Make it so.

        :raises ClusterError: as ``Cluster.apply``
        """
        self._apply(document, dry=False, force=force)

    def create(self, document: Document) -> None:
        """Make a new object, whose name the server chooses.

        :raises ClusterError: as ``Cluster.create``
        """
        group, plural = KINDS[document["kind"]]
        self.cluster.create(f"{group}/namespaces/{self.namespace}/{plural}", document, timeout=self.timeout)

    def delete(self, kind: str, name: str, uid: str | None = None) -> None:
        """Delete an object, and what belongs to it.

        :param uid: which one is meant, whatever has its name by then
        :raises ClusterError: as ``Cluster.delete``
        """
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        options |= {} if uid is None else {"preconditions": {"uid": uid}}
        self.cluster.delete(self._path(kind, name), timeout=self.timeout, body=options)

    def annotate(self, kind: str, name: str, uid: str, annotations: Mapping[str, str]) -> None:
        """Put annotations on an object, unless another one has its name by then.

        :raises ClusterError: as ``Cluster.patch``, and conflict if it isn't the one that is meant
        """
        body = {"metadata": {"uid": uid, "annotations": annotations}}
        self.cluster.patch(self._path(kind, name), body, timeout=self.timeout, manager=MANAGER)

    def _apply(self, document: Document, *, dry: bool, force: bool) -> dict[str, Any]:
        path = self._path(document["kind"], document["metadata"]["name"])
        return self.cluster.apply(path, document, timeout=self.timeout, manager=MANAGER, dry=dry, force=force)

    def _path(self, kind: str, name: str) -> str:
        group, plural = KINDS[kind]
        return place(self.namespace, plural, name, group=group)

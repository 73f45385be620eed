"""A namespace with nothing in it but an account that may do what install must, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.kubernetes.group import PODS, RIGHTS, Group, _plain, eventually
from tests.kubernetes.images import SERVER_IMAGE
from tests.kubernetes.runs import Runs

KINDS = [
    ("", "configmaps"),
    ("", "secrets"),
    ("", "services"),
    ("apps", "statefulsets"),
    ("apps", "deployments"),
    ("policy", "poddisruptionbudgets"),
    ("networking.k8s.io", "networkpolicies"),
]

MAKE, TAKE_AWAY = ["get", "create", "patch"], ["list", "delete"]

INSTALL_RIGHTS: list[dict[str, Any]] = [
    *RIGHTS,
    *({"apiGroups": [group], "resources": [kind], "verbs": [*MAKE, *TAKE_AWAY]} for group, kind in KINDS),
    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": TAKE_AWAY},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "create", "delete"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
]
"""What docs/kubernetes.md says that install and uninstall need beside what every verb does."""


class Installed(Group):
    """A group that install makes out of nothing."""

    def make(self) -> None:
        self.create(_plain("Namespace", self.namespace))
        for document in self._account("operator", INSTALL_RIGHTS):
            self.create(document)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "KEYDB_KUBERNETES_IMAGE": SERVER_IMAGE}


class InstalledRuns(Runs):
    """pyinfra on a group that install made."""

    def there(self) -> list[str]:
        """The names of what install makes, of whatever kind."""
        core, apps, space = self.group.core, self.group.apps, self.group.namespace
        lists = (
            apps.list_namespaced_stateful_set(space).items,
            [one for one in core.list_namespaced_config_map(space).items if one.metadata.name != "kube-root-ca.crt"],
            core.list_namespaced_service(space).items,
        )
        ours = [one for some in lists for one in some if (one.metadata.annotations or {}).get("keydb-runbooks/group")]
        return sorted(f"{one.metadata.name}" for one in ours)

    def drifts(self, environment: dict[str, str] | None = None) -> list[str]:
        """What drift tells: the code, where, and what of it."""
        drifts = self.told("drift", environment)["drifts"]
        return sorted(" ".join(filter(None, (one["code"], one["where"], one.get("key")))) for one in drifts)

    def versions(self) -> dict[str, str]:
        """What changes with every change of an object."""
        core, apps, space = self.group.core, self.group.apps, self.group.namespace
        found = [apps.read_namespaced_stateful_set("keydb", space), core.read_namespaced_config_map("keydb", space)]
        return {f"{type(one).__name__}": one.metadata.resource_version for one in found}

    def claims(self) -> list[str]:
        core, space = self.group.core, self.group.namespace
        return [one.metadata.name for one in core.list_namespaced_persistent_volume_claim(space).items]

    def pods(self) -> list[str]:
        return [one.metadata.name for one in self.group.core.list_namespaced_pod(self.group.namespace).items]

    def delete(self, *pods: str) -> None:
        """Delete pods as `kubectl delete pod` does, and wait until they are others."""
        core, space = self.group.core, self.group.namespace
        before = {pod: core.read_namespaced_pod(pod, space).metadata.uid for pod in pods}
        for pod in pods:
            core.delete_namespaced_pod(pod, space)
        for pod in pods:
            eventually(lambda pod=pod: self.uid(pod) not in (None, before[pod]), f"{pod} is another one", 120)

    def reason(self, pod: str) -> str:
        """Why a pod's container doesn't run, "" if it does or there is none."""
        found = self.group.core.list_namespaced_pod(self.group.namespace, field_selector=f"metadata.name={pod}").items
        states = (found[0].status.container_statuses or []) if found else []
        return "".join(str(one.state.waiting.reason) for one in states if one.state.waiting)

    def uid(self, pod: str) -> str | None:
        found = self.group.core.list_namespaced_pod(self.group.namespace, field_selector=f"metadata.name={pod}").items
        return str(found[0].metadata.uid) if found else None

    def comes_back(self, pod: str) -> None:
        """Wait until a pod is ready, which is to say in sync or the primary."""
        eventually(lambda: self.group.is_ready(pod), f"{pod} is ready: {self.log(pod)}", 120)

    def lose_volume(self, pod: str) -> None:
        """Its claim goes with the pod, and the next pod gets a new and empty one."""
        self.group.core.delete_namespaced_persistent_volume_claim(f"data-{pod}", self.group.namespace)
        self.delete(pod)

    def log(self, pod: str) -> str:
        """What its container printed; nothing if there is none just now."""
        from kubernetes.client.exceptions import ApiException

        try:
            return str(self.group.core.read_namespaced_pod_log(pod, self.group.namespace))
        except ApiException:
            return ""

    def is_guarded(self, pod: str) -> bool:
        nodes = {node["name"]: node for node in self.status()["nodes"]}
        return pod in nodes and nodes[pod]["role"] == "replica"

    @contextmanager
    def nobody_restarts(self) -> Iterator[None]:
        """Within it every pod stays the same one, and so does its server."""
        before = {pod: (self.uid(pod), self.restarts(pod)) for pod in PODS}
        yield
        assert {pod: (self.uid(pod), self.restarts(pod)) for pod in PODS} == before

    def restarts(self, pod: str) -> int:
        seen = self.group.core.read_namespaced_pod(pod, self.group.namespace)
        return int(seen.status.container_statuses[0].restart_count)

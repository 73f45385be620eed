"""A group of three pods as somebody made it by hand, and clients of it in a pod: ``python -m tests.kubernetes.group``.

The manifests are in the shape of the usual charts: a StatefulSet, a headless Service, one Service to write and one to
read, the configuration copied from a ConfigMap to the volume when the pod starts for the first time. The server's file
is this project's own, so that drift has nothing to say of it.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from keydb_runbooks.connectors.group import Credentials
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.schemas import default_of
from keydb_runbooks.templates import render
from tests.kubernetes.images import ENGINE, SERVER_IMAGE, WRITER_IMAGE

PODS = ("keydb-0", "keydb-1", "keydb-2")
POD_NAME = "statefulset.kubernetes.io/pod-name"

# The file with `replicaof` lives on the volume. A server that ends is started again; `stopped` keeps it from that.
START = """
conf=/data/keydb.conf
if [ ! -e "$conf" ]; then
    cp "/config/$HOSTNAME.conf" "$conf.new"
    [ "$HOSTNAME" = keydb-0 ] || echo "replicaof keydb-0.keydb.$NAMESPACE.svc.cluster.local 6379" >>"$conf.new"
    mv "$conf.new" "$conf"
fi
trap 'kill $server 2>/dev/null; wait $server; exit 0' TERM
while :; do
    if [ -e /data/stopped ]; then sleep 0.1; continue; fi
    "$ENGINE-server" "$conf" & server=$!
    wait $server
    sleep 0.2
done
"""

RIGHTS = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/exec", "pods/portforward"], "verbs": ["get", "create"]},
    {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
]
"""What docs/kubernetes.md says that an operator needs. All tests run with exactly these."""


class Group:
    """The pods of one namespace, with an account that may do what an operator must, and no more."""

    ca: str | None = None
    """The CA's file, where servers speak TLS."""

    def __init__(self, folder: Path, namespace: str | None = None) -> None:
        from kubernetes import client, config

        config.load_kube_config()
        self.api, self.folder = client.ApiClient(), folder
        self.core, self.apps = client.CoreV1Api(self.api), client.AppsV1Api(self.api)
        self.namespace = namespace or f"keydb-test-{secrets.token_hex(3)}"
        self.passwords = {role: secrets.token_urlsafe(12) for role in ACL}

    def make(self) -> None:
        self.create(_plain("Namespace", self.namespace))
        for document in (*self._account("operator", RIGHTS), *self._services(), self._config(), self._statefulset()):
            self.create(document)

    def create(self, document: dict[str, Any]) -> None:
        from kubernetes import utils

        utils.create_from_dict(self.api, document, namespace=self.namespace)

    def wait(self, patience_seconds: float = 60) -> None:
        """Until every pod is ready."""
        eventually(lambda: all(map(self.is_ready, PODS)), "three pods are ready", patience_seconds)

    def is_ready(self, pod: str) -> bool:
        from kubernetes.client.exceptions import ApiException

        try:
            seen = self.core.read_namespaced_pod(pod, self.namespace)
        except ApiException:
            return False
        conditions = seen.status.conditions or []
        deleted = seen.metadata.deletion_timestamp is not None
        return not deleted and any(one.type == "Ready" and one.status == "True" for one in conditions)

    def end(self) -> None:
        self.core.delete_namespace(self.namespace, grace_period_seconds=0)

    # Who uses it

    def kubeconfig(self, account: str = "operator") -> Path:
        """A kubeconfig of a service account."""
        token = self.core.create_namespaced_service_account_token(
            account, self.namespace, {"spec": {"expirationSeconds": 3600}}
        ).status.token
        configuration = self.api.configuration
        authority = base64.b64encode(Path(configuration.ssl_ca_cert).read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "c", "cluster": {"server": configuration.host, "certificate-authority-data": authority}}
            ],
            "users": [{"name": account, "user": {"token": token}}],
            "contexts": [{"name": account, "context": {"cluster": "c", "user": account}}],
            "current-context": account,
        }
        path = self.folder / f"{account}.kubeconfig"
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        return path

    def environment(self) -> dict[str, str]:
        """What ``inventories/kubernetes.py`` reads."""
        return {
            **{f"KEYDB_{role.upper()}_PASSWORD": word for role, word in self.passwords.items()},
            "KEYDB_KUBERNETES_NAMESPACE": self.namespace,
            "KEYDB_KUBERNETES_ENGINE": ENGINE,
            "KEYDB_RUNBOOKS_HISTORY": str(self.folder / "history.jsonl"),
            "KUBECONFIG": str(self.kubeconfig()),
        }

    def account(self, name: str, without: str) -> Path:
        """A kubeconfig of an account that lacks one of the rights: all on a resource, or one verb everywhere."""
        rules = [
            {
                **rule,
                "resources": [one for one in rule["resources"] if one != without],
                "verbs": [verb for verb in rule["verbs"] if verb != without],
            }
            for rule in RIGHTS
        ]
        for document in self._account(name, [rule for rule in rules if rule["resources"] and rule["verbs"]]):
            self.create(document)
        return self.kubeconfig(name)

    def scale(self, replicas: int) -> None:
        self.apps.patch_namespaced_stateful_set_scale("keydb", self.namespace, {"spec": {"replicas": replicas}})

    # Manifests

    def _account(self, name: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        return [
            _plain("ServiceAccount", name),
            {**_plain("Role", name), **rbac, "rules": rules},
            {**_plain("RoleBinding", name), **rbac, "subjects": [subject], "roleRef": role},
        ]

    def _services(self) -> list[dict[str, Any]]:
        port = [{"name": "keydb", "port": 6379}]
        headless = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"app": "keydb"}, "ports": port}
        write = {"selector": {"app": "keydb", POD_NAME: "keydb-0"}, "ports": port}
        return [
            {**_plain("Service", "keydb"), "spec": headless},
            {**_plain("Service", "keydb-write"), "spec": write},
            {**_plain("Service", "keydb-read"), "spec": {"selector": {"app": "keydb"}, "ports": port}},
        ]

    def _config(self) -> dict[str, Any]:
        files = {f"{pod}.conf": self.configuration(pod) for pod in PODS}
        return {**_plain("ConfigMap", "keydb"), "data": {**files, "start.sh": START}}

    def configuration(self, pod: str) -> str:
        """``keydb.conf`` as install would write it."""
        data = {name: default_of(f"keydb_{name}") for name in (
            "server_threads", "persistence", "backlog_size", "min_replicas_to_write", "min_replicas_max_lag",
            "default_user", "settings",
        )}  # fmt: skip
        return render(
            "keydb.conf.j2",
            **data,
            engine=ENGINE,
            address=f"{pod}.keydb.{self.namespace}.svc.cluster.local",
            bind=["0.0.0.0"],
            port=6379,
            tls={},
            daemonize="no",
            pid_file="/data/server.pid",
            log_file="/data/server.log",
            data_directory="/data",
            maxmemory="64mb",
            users={role: Credentials(role, word) for role, word in self.passwords.items()},
            passwords={role: [word] for role, word in self.passwords.items()},
            masterauth=self.passwords["replication"],
            acl=ACL,
        )

    def _statefulset(self) -> dict[str, Any]:
        own_name = {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        server = {
            "name": "server",
            "image": SERVER_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "/config/start.sh"],
            "env": [own_name, {"name": "NAMESPACE", "value": self.namespace}, {"name": "ENGINE", "value": ENGINE}],
            "ports": [{"name": "keydb", "containerPort": 6379}],
            "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1},
            "volumeMounts": [
                {"name": "config", "mountPath": "/config"},
                # A cluster without a storage class has this; the folder outlives its pod.
                {"name": "data", "mountPath": "/data", "subPathExpr": "$(POD)"},
            ],
        }
        volumes = [
            {"name": "config", "configMap": {"name": "keydb"}},
            {
                "name": "data",
                "hostPath": {"path": f"/var/tmp/keydb-runbooks/{self.namespace}", "type": "DirectoryOrCreate"},
            },
        ]
        pod = {
            "terminationGracePeriodSeconds": 2,
            "automountServiceAccountToken": False,
            # A container beside the server, as metrics have one: nobody may take it for the server.
            "containers": [{**_sleeper("metrics")}, server],
            "volumes": volumes,
        }
        return {
            **_plain("StatefulSet", "keydb"),
            "apiVersion": "apps/v1",
            "spec": {
                "serviceName": "keydb",
                "replicas": len(PODS),
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": {"app": "keydb"}},
                "template": {"metadata": {"labels": {"app": "keydb"}}, "spec": pod},
            },
        }

    def writer(self, name: str, clients: int, per_second: int, patience_seconds: int) -> dict[str, Any]:
        """A pod with clients that know the Service's name and nothing else."""
        numbers = map(str, (clients, per_second, patience_seconds))
        words = ["keydb-write", "6379", "application", self.passwords["application"], *numbers, "/tmp/journal"]
        # Without a share of its own it gets the processor when nobody else wants it, and sees gaps that nobody made.
        share = {"requests": {"cpu": "500m"}}
        container = {"name": "writer", "image": WRITER_IMAGE, "imagePullPolicy": "IfNotPresent", "args": words}
        container["resources"] = share
        spec = {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False, "containers": [container]}
        return {**_plain("Pod", name), "spec": spec}


SomeGroup = TypeVar("SomeGroup", bound=Group)


@contextmanager
def made(group: SomeGroup) -> Iterator[SomeGroup]:
    """A group in its namespace, until the end of the block."""
    group.make()
    try:
        yield group
    finally:
        group.end()


def eventually(true: Callable[[], object], what: str, patience_seconds: float = 30) -> None:
    """Wait until something is true, and say what wasn't."""
    deadline = time.monotonic() + patience_seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {patience_seconds} s: {what}"
        time.sleep(0.05)


def _sleeper(name: str) -> dict[str, Any]:
    return {"name": name, "image": SERVER_IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000000"]}


def _plain(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


def main() -> None:
    group = Group(Path(os.environ["KUBECONFIG"]).parent, "keydb")
    group.make()
    group.wait()
    for name, value in group.environment().items():
        print(f"export {name}={value}")


if __name__ == "__main__":
    sys.exit(main())

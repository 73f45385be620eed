"""Groups as well-known charts make them, in small: what matters here is who gives a pod its role, and when.

Their users are those of docs/users.md, which somebody has put into the chart's configuration.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tests.kubernetes.group import RIGHTS, Group, _plain, eventually
from tests.kubernetes.images import ENGINE, PROXY_IMAGE, SERVER_IMAGE

LOOK = [*RIGHTS, {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
"""With the right to see what a chart's scripts do."""


class Chart(Group):
    """A chart's pods; ``pods`` are their names, each with its headless Service."""

    pods: ClassVar[tuple[tuple[str, str], ...]]
    data: ClassVar[dict[str, Any]]

    def make(self) -> None:
        self.create(_plain("Namespace", self.namespace))
        for document in (*self._account("operator", LOOK), *self.documents()):
            self.create(document)

    def documents(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def wait(self, patience_seconds: float = 60) -> None:
        eventually(lambda: all(self.is_ready(pod) for pod, _ in self.pods), "its pods are ready", patience_seconds)

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "KEYDB_CHART_PODS": json.dumps(self.pods),
            "KEYDB_CHART_DATA": json.dumps(self.data),
        }

    def file(self) -> str:
        """The server's configuration, without a name of its own."""
        lines = self.configuration("POD").splitlines()
        return "\n".join(line for line in lines if "announce-ip" not in line) + "\n"

    def set(self, name: str, service: str, replicas: int, labels: dict[str, str], **pod: Any) -> dict[str, Any]:
        """A StatefulSet, whose pods' data and the rest live in the pod alone, or on the machine where ``kept``."""
        volumes = [
            {"name": "scripts", "configMap": {"name": "scripts"}},
            {"name": "data", **pod.pop("data", {"emptyDir": {}})},
        ]
        spec = {"terminationGracePeriodSeconds": 2, "automountServiceAccountToken": False, "volumes": volumes, **pod}
        return {
            **_plain("StatefulSet", name),
            "apiVersion": "apps/v1",
            "spec": {
                "serviceName": service,
                "replicas": replicas,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }


def service(name: str, labels: dict[str, str], *, headless: bool = False) -> dict[str, Any]:
    spec: dict[str, Any] = {"selector": labels, "ports": [{"name": "redis", "port": 6379}]}
    return {
        **_plain("Service", name),
        "spec": {**spec, **({"clusterIP": "None", "publishNotReadyAddresses": True} if headless else {})},
    }


def container(name: str, script: str, image: str = SERVER_IMAGE, **more: Any) -> dict[str, Any]:
    """A container that runs one of the scripts."""
    mounts = [{"name": "scripts", "mountPath": "/scripts"}, {"name": "data", "mountPath": "/data"}]
    ready = {"readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1}} if name == "server" else {}
    command = ["sh", f"/scripts/{script}"]
    made = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": command}
    return {**made, "volumeMounts": mounts, **ready, **more}


def scripts(**files: str) -> dict[str, Any]:
    return {**_plain("ConfigMap", "scripts"), "data": {name.replace("_", "."): text for name, text in files.items()}}


class MasterAndReplicas(Chart):
    """One StatefulSet for the master and one for the replicas; each container is told its role by the environment."""

    pods = (("redis-master-0", "redis"), ("redis-replicas-0", "redis"), ("redis-replicas-1", "redis"))
    data: ClassVar = {"keydb_write_service": "redis-master", "keydb_config_directory": "/opt/etc", "keydb_pid_file": "/data/server.pid"}  # fmt: skip

    START = f"""
cp /scripts/redis.conf /opt/etc/keydb.conf
if [ "$REDIS_REPLICATION_MODE" = replica ]; then
    echo "replicaof $REDIS_MASTER_HOST 6379" >>/opt/etc/keydb.conf
fi
exec {ENGINE}-server /opt/etc/keydb.conf --replica-announce-ip "$HOSTNAME.redis.$NAMESPACE.svc.cluster.local"
"""

    def documents(self) -> list[dict[str, Any]]:
        app = {"app": "redis"}
        master, replicas = {**app, "component": "master"}, {**app, "component": "replica"}
        return [
            scripts(redis_conf=self.file(), start_sh=self.START),
            service("redis", app, headless=True),
            service("redis-master", master),
            self._set("redis-master", 1, master, "master"),
            self._set("redis-replicas", 2, replicas, "replica"),
        ]

    def _set(self, name: str, count: int, labels: dict[str, str], mode: str) -> dict[str, Any]:
        host = f"redis-master-0.redis.{self.namespace}.svc.cluster.local"
        told = {"REDIS_REPLICATION_MODE": mode, "REDIS_MASTER_HOST": host, "NAMESPACE": self.namespace}
        server = container("server", "start.sh", env=[{"name": key, "value": value} for key, value in told.items()])
        server["volumeMounts"].append({"name": "etc", "mountPath": "/opt/etc"})
        made = self.set(name, "redis", count, labels, containers=[server])
        made["spec"]["template"]["spec"]["volumes"].append({"name": "etc", "emptyDir": {}})
        return made

    def writer(self, name: str, clients: int, per_second: int, patience_seconds: int) -> dict[str, Any]:
        made = super().writer(name, clients, per_second, patience_seconds)
        made["spec"]["containers"][0]["args"][0] = "redis-master"
        return made


class MultiMaster(Chart):
    """KeyDB pods each of which replicates all the others and takes writes."""

    pods = (("keydb-0", "keydb-headless"), ("keydb-1", "keydb-headless"), ("keydb-2", "keydb-headless"))
    data: ClassVar = {
        "keydb_write_service": "keydb",
        "keydb_config_directory": "/scripts",
        "keydb_pid_file": "/data/server.pid",
    }

    START = """
for number in 0 1 2; do
    [ "$HOSTNAME" = "keydb-$number" ] || replicas="$replicas --replicaof keydb-$number.keydb-headless 6379"
done
exec keydb-server /scripts/keydb.conf --active-replica yes --multi-master yes $replicas
"""

    def documents(self) -> list[dict[str, Any]]:
        app = {"app": "keydb"}
        return [
            scripts(keydb_conf=self.file(), server_sh=self.START),
            service("keydb-headless", app, headless=True),
            service("keydb", app),
            self.set("keydb", "keydb-headless", 3, app, containers=[container("server", "server.sh")]),
        ]


class Sentinels(Chart):
    """Pods with a Sentinel each, whose first container writes the file; HAProxy in front asks each server for its role."""

    pods = (("cache-server-0", "cache"), ("cache-server-1", "cache"), ("cache-server-2", "cache"))
    data: ClassVar = {"keydb_config_directory": "/data", "keydb_pid_file": "/data/server.pid"}

    INIT = """
cp /scripts/redis.conf /data/keydb.conf
# Who the master is a Sentinel would say; without any it is the first.
master=$(redis-cli -p 26379 sentinel get-master-addr-by-name cache 2>/dev/null)
[ "$HOSTNAME" = cache-server-0 ] || echo "replicaof ${master:-cache-server-0.cache.$NAMESPACE.svc.cluster.local} 6379" >>/data/keydb.conf
echo "replica-announce-ip $HOSTNAME.cache.$NAMESPACE.svc.cluster.local" >>/data/keydb.conf
"""
    # It watches nobody: one that does is told by the server itself.
    SENTINEL = f"""
mkdir -p /data/sentinel && echo "port 26379" >/data/sentinel/sentinel.conf
exec {ENGINE}-server /data/sentinel/sentinel.conf --sentinel
"""
    SERVER = f"exec {ENGINE}-server /data/keydb.conf\n"
    HAPROXY = """
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
resolvers cluster
    parse-resolv-conf
    hold valid 1s
    hold nx 1s
listen master
    bind *:6379
    option tcp-check
    tcp-check send "AUTH check %(check)s\\r\\n"
    tcp-check expect string +OK
    tcp-check send "info replication\\r\\n"
    tcp-check expect string role:master
    default-server check inter 500ms fall 1 rise 1 on-marked-down shutdown-sessions resolvers cluster init-addr libc,none
    server s0 cache-server-0.cache.%(namespace)s.svc.cluster.local:6379
    server s1 cache-server-1.cache.%(namespace)s.svc.cluster.local:6379
    server s2 cache-server-2.cache.%(namespace)s.svc.cluster.local:6379
"""

    def documents(self) -> list[dict[str, Any]]:
        app, front = {"app": "cache"}, {"app": "cache-haproxy"}
        where = [{"name": "NAMESPACE", "value": self.namespace}]
        init = container("config-init", "init.sh", env=where)
        containers = [container("server", "server.sh"), container("sentinel", "sentinel.sh")]
        proxy = container(
            "haproxy", "haproxy.cfg", PROXY_IMAGE, command=["haproxy", "-db", "-f", "/scripts/haproxy.cfg"]
        )
        check = self.HAPROXY % {"check": self.passwords["check"], "namespace": self.namespace}
        return [
            scripts(redis_conf=self.file(), init_sh=self.INIT, server_sh=self.SERVER, sentinel_sh=self.SENTINEL, haproxy_cfg=check),
            service("cache", app, headless=True),
            service("keydb-write", front),
            self.set("cache-server", "cache", 3, app, initContainers=[init], containers=containers),
            self.set("cache-haproxy", "cache", 1, front, containers=[proxy]),
        ]  # fmt: skip

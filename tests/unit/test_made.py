"""What is read of the way a pod was made, from an API server that a program plays."""

from __future__ import annotations

from types import SimpleNamespace

from test_pods_install import entry

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.facts import made


class Cluster:
    def __init__(self, **objects: dict) -> None:
        self.objects, self.asked = objects, []

    def get(self, path: str, *, timeout: float) -> dict:
        name = path.rpartition("/")[2]
        self.asked.append(name)
        if name not in self.objects:
            raise ClusterError("not-permitted", "no")
        return self.objects[name]


def node(cluster: Cluster, **labels: str):
    connector = KubernetesConnector.__new__(KubernetesConnector)
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "x"}},
        {"name": "scripts", "configMap": {"name": "scripts"}},
        {"name": "token", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {}}]}},
    ]
    server = {"name": "server", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    connector.seen = {
        "metadata": {"labels": labels, "ownerReferences": [{"kind": "StatefulSet", "name": "cache"}]},
        "spec": {"containers": [server], "volumes": volumes},
    }
    connector.pod, connector.cluster = SimpleNamespace(container="server"), lambda: cluster
    connector.data = {"kubernetes_namespace": "shop"}
    found = entry(0)
    found.host.connector = connector
    return found


def told(cluster: Cluster, **labels: str) -> list[str]:
    return [one.code for one in made.read_made(node(cluster, **labels))]


def test_the_set_and_the_scripts_of_a_pod_are_read_once_a_run():
    owner = {"kind": "RedisReplication", "name": "cache"}
    cluster = Cluster(
        cache={"metadata": {"ownerReferences": [owner]}}, scripts={"data": {"start.sh": "exec x --replicaof y 1"}}
    )
    assert told(cluster) == told(cluster) == ["owned-by-controller", "role-at-start"]
    assert cluster.asked == ["cache", "scripts"], "the cluster's own certificates are no script"


def test_what_may_not_be_read_is_unknown_and_not_fine():
    assert told(Cluster(cache={"metadata": {}})) == ["made-unknown"]
    assert told(Cluster()) == ["made-unknown"]


def test_of_a_pod_that_install_made_nothing_is_asked():
    cluster = Cluster()
    assert told(cluster, **{"app.kubernetes.io/managed-by": "keydb-runbooks"}) == [] and cluster.asked == []

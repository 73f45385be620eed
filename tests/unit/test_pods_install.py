"""What install makes of an inventory of pods, and what of one it makes nothing of; no API server is asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.operations import manifests, pods
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks.objects import GROUP
from keydb_runbooks.runbooks.replication import Address

DATA = {
    "keydb_image": "registry.example/keydb:6.3.4",
    "keydb_bind": ["0.0.0.0"],
    "keydb_config_directory": "/data",
    "keydb_data_directory": "/data",
    "keydb_log_file": "/dev/stdout",
    "keydb_pid_file": "/data/server.pid",
    "keydb_history_file": "/data/history.jsonl",
    "keydb_write_service": "cache-write",
    "keydb_read_service": "cache-read",
    "keydb_users": {role: {"name": role, "password": f"secret-of-{role}"} for role in ACL},
    "kubernetes_namespace": "shop",
}
LABELS = {"app.kubernetes.io/instance": "cache", "app.kubernetes.io/managed-by": "keydb-runbooks"}


def entry(number: int, name: str = "cache", address: str | None = None, **data) -> NodeEntry:
    pod = f"{name}-{number}"
    inventory = SimpleNamespace(groups={})
    host = SimpleNamespace(name=pod, connector_cls=KubernetesConnector, data={**DATA, **data}, inventory=inventory)
    return NodeEntry(host, Address(address or f"{pod}.{name}.shop.svc.cluster.local", data.get("keydb_port", 6379)))


def group(*entries: NodeEntry, **data) -> Group:
    return Group("keydb", entries or tuple(entry(number, **data) for number in (0, 1, 2)), ())


def documents(of: Group | None = None) -> dict[str, dict]:
    made = manifests.documents(of or group(), manifests.first_selector(of or group(), "cache-0"))
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in made}


def test_the_pods_come_last_and_every_object_says_whose_it_is():
    made = documents()
    assert list(made) == [
        "ConfigMap/cache",
        "Secret/cache",
        "Service/cache",
        "Service/cache-write",
        "Service/cache-read",
        "PodDisruptionBudget/cache",
        "NetworkPolicy/cache",
        "StatefulSet/cache",
    ]
    for document in made.values():
        assert document["metadata"]["labels"] == LABELS
        assert document["metadata"]["annotations"] == {GROUP: "keydb"}
        assert "namespace" not in document["metadata"]


def test_passwords_are_in_the_secret_and_nowhere_else():
    made = documents()
    del made["Secret/cache"]
    told = str(made)
    assert not any(f"secret-of-{role}" in told for role in ACL)
    assert "(secret)" in str(manifests.readable(documents()["Secret/cache"]))
    assert "secret-of" not in str(manifests.readable(documents()["Secret/cache"]))


def test_every_selector_finds_the_pods_that_the_set_makes():
    made = documents()
    template = made["StatefulSet/cache"]["spec"]["template"]["metadata"]["labels"]
    chosen = [one["spec"]["selector"] for kind, one in made.items() if kind.startswith("Service")]
    chosen += [
        made[f"{kind}/cache"]["spec"]["selector"]["matchLabels"] for kind in ("PodDisruptionBudget", "StatefulSet")
    ]
    chosen.append(made["NetworkPolicy/cache"]["spec"]["podSelector"]["matchLabels"])
    for selector in chosen:
        named = selector.pop("statefulset.kubernetes.io/pod-name", "cache-0")
        assert named == "cache-0" and selector.items() <= template.items()


def test_what_an_inventory_says_arrives():
    data = {
        "keydb_spread": "required",
        "keydb_memory": "3Gi",
        "keydb_image_pull_secret": "pull",
        "keydb_volume_class": "fast",
        "keydb_client_namespaces": ["web", "jobs"],
        "keydb_secret": "theirs",
    }
    made = documents(group(entry(3, **data), entry(4, **data)))
    spec = made["StatefulSet/cache"]["spec"]
    pod = spec["template"]["spec"]
    assert (spec["replicas"], spec["ordinals"]) == (2, {"start": 3})
    assert "requiredDuringSchedulingIgnoredDuringExecution" in pod["affinity"]["podAntiAffinity"]
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "250m", "memory": "3Gi"},
        "limits": {"memory": "3Gi"},
    }
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"
    assert "Secret/cache" not in made and pod["volumes"][1]["secret"]["secretName"] == "theirs"
    namespaces = [
        one["namespaceSelector"]["matchLabels"] for one in made["NetworkPolicy/cache"]["spec"]["ingress"][0]["from"][1:]
    ]
    assert [one["kubernetes.io/metadata.name"] for one in namespaces] == ["web", "jobs"]


def test_a_pod_may_use_twice_its_data_and_what_a_server_needs_besides():
    memory = documents(group(keydb_maxmemory="1gb"))["StatefulSet/cache"]["spec"]["template"]["spec"]["containers"][0]
    assert memory["resources"]["limits"] == {"memory": str(2 * 1024**3 + 128 * 1024**2)}


def test_a_service_whose_selector_a_verb_has_set_is_left_as_it_is():
    (service,) = [one for one in manifests.documents(group(), None) if one["metadata"]["name"] == "cache-write"]
    assert "selector" not in service["spec"]


@pytest.mark.parametrize("of, sentence", [
    (group(), None),
    (group(keydb_image=None), "cache-0: keydb_image: is missing"),
    (group(keydb_tls_ca="ca.pem"), "cache-0: keydb_tls_certificate: is missing, and so is keydb_tls_secret"),
    (group(entry(0), entry(1, keydb_tls_key="key.pem")), "cache-1: keydb_tls_key: differs from cache-0's None; all pods"),
    (group(keydb_config_directory="/etc/keydb"), "cache-0: keydb_config_directory: /etc/keydb is not on the pod's volume"),
    (group(keydb_log_file="/var/log/x"), "cache-0: keydb_log_file: /var/log/x is not on the pod's volume"),
    (group(keydb_bind=None), "cache-0: keydb_bind: lacks 0.0.0.0"),
    (group(kubernetes_container="main"), "cache-0: kubernetes_container: 'main' is wrong; install calls it server"),
    (group(entry(0), entry(1, address="10.0.0.1")), "cache-1: keydb_address: '10.0.0.1' is not the pod's name in DNS; allowed is cache-1.cache.shop.svc.CLUSTER-DOMAIN"),
    (group(entry(0), entry(2)), "cache-0, cache-2 are no pods of one StatefulSet; allowed are NAME-0, NAME-1 and so on"),
    (group(entry(0), entry(1, name="other")), "cache-0, other-1 are no pods of one StatefulSet"),
    (group(entry(0), entry(1, keydb_maxmemory="1gb")), "cache-1: keydb_maxmemory: differs from cache-0's '256mb'"),
])  # fmt: skip
def test_what_is_no_group_on_pods_is_told(monkeypatch, of, sentence):
    monkeypatch.setattr(pods, "all_groups", lambda _: {of.name: of})
    told = list(pods.wrong(of))
    assert told == [] if sentence is None else any(one.startswith(sentence) for one in told), told


def test_two_groups_of_an_inventory_with_the_same_names_are_told(monkeypatch):
    one, other = group(), Group("other", (entry(3), entry(4)), ())
    monkeypatch.setattr(pods, "all_groups", lambda _: {"keydb": one, "other": other})
    assert list(pods.wrong(one)) == [
        "groups keydb and other both have pods of StatefulSet cache; each needs its own",
        "groups keydb and other both have keydb_write_service cache-write; each needs its own",
        "groups keydb and other both have keydb_read_service cache-read; each needs its own",
    ]

"""Proxies that are pods: what install makes of an inventory of them, with a real HAProxy's judgement of its file."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pyinfra.api.inventory import Inventory
from test_pods_install import LABELS, entry, group
from test_templates import EVERY, users

from keydb_runbooks.connectors import kubernetes
from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, GroupError, PodProxies, ProxyEntry, all_groups
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.programs import find_proxy
from keydb_runbooks.connectors.runtime import RuntimeSocketError, runtime
from keydb_runbooks.facts import proxies as facts
from keydb_runbooks.operations import haproxy, manifests, pods
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks.replication import Address
from keydb_runbooks.templates import plain

GIVEN = {
    "haproxy_image": "registry.example/haproxy:2.8",
    "haproxy_config_directory": "/run/haproxy",
    "haproxy_pid_file": "/run/haproxy/haproxy.pid",
}


def proxied(**data) -> Group:
    nodes = tuple(entry(number, keydb_routing="haproxy", **data) for number in (0, 1, 2))
    return replace(group(*nodes), pod_proxies=PodProxies(GIVEN))


def documents(of: Group) -> dict[str, dict]:
    made = manifests.documents(of, manifests.first_selector(of, ""))
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in made}


def test_the_proxies_come_last_and_the_services_lead_to_them():
    made = documents(proxied())
    assert list(made)[-4:] == [
        "ConfigMap/cache-proxy",
        "PodDisruptionBudget/cache-proxy",
        "NetworkPolicy/cache-proxy",
        "Deployment/cache-proxy",
    ]
    template = made["Deployment/cache-proxy"]["spec"]["template"]
    assert made["Deployment/cache-proxy"]["metadata"]["labels"] == LABELS, "uninstall finds it by the group's"
    for name, port in (("write", "write"), ("read", "read")):
        spec = made[f"Service/cache-{name}"]["spec"]
        assert spec["selector"].items() <= template["metadata"]["labels"].items()
        assert spec["ports"][0]["targetPort"] == port
        assert port in [one["name"] for one in template["spec"]["containers"][0]["ports"]]
    servers = made["StatefulSet/cache"]["spec"]["template"]["metadata"]["labels"]
    assert not made["Service/cache-write"]["spec"]["selector"].items() <= servers.items()


def test_no_password_is_in_what_proxies_start_with():
    made = documents(proxied())
    del made["Secret/cache"]
    told = str(made)
    hidden = [f"secret-of-{role}" for role in ACL]
    assert not any(word in told or word.encode().hex() in told for word in hidden)


def test_clients_that_cannot_go_around_the_proxies_are_kept_from_it():
    policy = documents(proxied(keydb_clients_only_through_proxies=True))["NetworkPolicy/cache"]
    allowed = [one["podSelector"]["matchLabels"] for one in policy["spec"]["ingress"][0]["from"]]
    assert [one["app.kubernetes.io/instance"] for one in allowed] == ["cache", "cache-proxy"]
    assert documents(proxied())["NetworkPolicy/cache"]["spec"]["ingress"][0]["from"][0] == {"podSelector": {}}


@EVERY
def test_a_proxys_file_is_the_one_that_drift_wants_whatever_the_password(tmp_path, password):
    if "\n" in password:
        pytest.skip("the schema takes no line breaks")
    of = proxied(keydb_users=users(password))
    files = manifests._proxy_values(of, PodProxies(GIVEN))["files"]
    (tmp_path / "check").write_text(of.nodes[0].user("check").password)
    (tmp_path / "haproxy.cfg").write_text(files["haproxy.cfg"])
    script = files["proxy"].replace("/etc/keydb-runbooks", str(tmp_path)).replace("/etc/keydb-secrets", str(tmp_path))
    script = script.replace("exec haproxy", "exec true")
    config = tmp_path / "made.cfg"
    environment = {"PATH": os.environ["PATH"], "CONFIG": str(config), "PID_FILE": str(tmp_path / "pid")}
    subprocess.run(["sh", "-c", script], env={**environment, "CHECK_USER": "check"}, check=True, timeout=30)
    host = SimpleNamespace(name="cache-proxy-x", connector_cls=KubernetesConnector, data={})
    assert config.read_text() == haproxy.wanted_configuration(of, ProxyEntry(host, Address("cache-write", 6380)))
    assert config.stat().st_mode & 0o077 == 0


def test_haproxy_takes_the_file(tmp_path):
    text = haproxy.pod_configuration(proxied(), PodProxies(GIVEN), b"PING\r\n".hex())
    (tmp_path / "haproxy.cfg").write_text(text.replace("/run/haproxy", str(tmp_path)))
    words = [find_proxy(), "-c", "-f", str(tmp_path / "haproxy.cfg")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_proxys_script_calls_is_what_its_image_is_tried_for():
    called = {"cat", "od", "sleep", "tr", "wc", "haproxy"}
    tried = plain("pods/proxy-image.sh").partition("for program in ")[2].partition(";")[0].split()
    assert set(tried) == called
    assert all(word in plain("pods/proxy.sh") for word in called)


@pytest.mark.parametrize("given, sentence", [
    ({"haproxy_image": None}, "haproxy: haproxy_image: is missing"),
    ({"haproxy_pid_file": "/run/haproxy.pid"}, "haproxy: haproxy_pid_file: /run/haproxy.pid is not below haproxy_config_directory, /run/haproxy"),
])  # fmt: skip
def test_what_makes_no_proxies_is_told(monkeypatch, given, sentence):
    of = replace(proxied(), pod_proxies=PodProxies({**GIVEN, **given}))
    monkeypatch.setattr(pods, "all_groups", lambda _: {of.name: of})
    assert [one for one in pods.wrong(of) if one.startswith(sentence)], list(pods.wrong(of))


def test_proxies_of_another_deployment_and_a_service_that_is_missing_are_told(monkeypatch):
    host = SimpleNamespace(name="other-1", data={"kubernetes_deployment": "other"})
    of = replace(proxied(keydb_write_service=None), proxies=(ProxyEntry(host, Address("cache-write", 6380)),))
    monkeypatch.setattr(pods, "all_groups", lambda _: {of.name: of})
    assert list(pods.wrong(of)) == [
        "cache-0: keydb_write_service: is missing: clients find the proxies by it",
        "other-1: haproxy: is no pod of Deployment cache-proxy; allowed is @kubernetes/NAMESPACE/deployment/cache-proxy, "
        "and keydb_group beside another one",
    ]


def test_proxies_that_are_there_have_what_those_had_that_were_not_there_yet(monkeypatch):
    data = {**GIVEN, "kubernetes_deployment": "cache-proxy", "haproxy_address": "cache-write", "haproxy_replicas": 3}
    host = SimpleNamespace(name="cache-proxy-1", data=data)
    of = replace(proxied(), proxies=(ProxyEntry(host, Address("cache-write", 6380)),))
    monkeypatch.setattr(pods, "all_groups", lambda _: {of.name: of})
    told = "cache-proxy-1: haproxy_replicas: 3 is not what the inventory's group haproxy says, 2"
    assert list(pods.wrong(of)) == [f"{told}, and install makes all proxies of that"]
    data["haproxy_replicas"] = 2
    assert list(pods.wrong(of)) == []


class Cluster:
    """An API server with one Deployment and its pods, or with nothing but an error."""

    def __init__(self, *pods: tuple[str, str], error: ClusterError | None = None) -> None:
        self.pods, self.error, self.asked = pods, error, []

    def get(self, path: str, *, timeout: float) -> dict:
        self.asked.append(path)
        if self.error is not None:
            raise self.error
        if path.endswith("/deployments/proxy"):
            expressions = [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ]
            return {"spec": {"selector": {"matchLabels": {"app": "proxy"}, "matchExpressions": expressions}}}
        return {"items": [{"metadata": {"name": name}, "status": {"phase": phase}} for name, phase in self.pods]}


def test_a_deployments_pods_are_those_that_have_not_ended_for_good():
    cluster = Cluster(("b", "Running"), ("a", "Pending"), ("gone", "Failed"), ("over", "Succeeded"))
    assert kubernetes.deployed(cluster, "shop", "proxy", 1) == ["a", "b"]
    assert cluster.asked[1].endswith("labelSelector=app%3Dproxy%2Ctier%20in%20%28a%2Cb%29%2C%21old")


def test_a_deployment_that_is_not_there_has_no_pods_and_every_other_error_is_told():
    assert kubernetes.deployed(Cluster(error=ClusterError("missing", "no")), "shop", "proxy", 1) == []
    with pytest.raises(ClusterError, match="lacks a right"):
        kubernetes.deployed(Cluster(error=ClusterError("not-permitted", "lacks a right")), "shop", "proxy", 1)


def pod_host(name: str, cluster: Cluster) -> SimpleNamespace:
    connector = KubernetesConnector.__new__(KubernetesConnector)
    connector.cluster = lambda: cluster
    data = {"kubernetes_deployment": "proxy", "kubernetes_namespace": "shop"}
    return SimpleNamespace(name=name, connector=connector, connected=True, data=data)


def test_a_proxy_that_came_after_the_inventory_was_read_is_one_that_is_not_known():
    cluster = Cluster(("a", "Running"), ("b", "Running"))
    of = replace(proxied(), proxies=(ProxyEntry(pod_host("a", cluster), Address("x", 1)),))
    assert [(one.name, one.code) for one in facts.newcomers(of)] == [("b", "came-later")]
    cluster.error = ClusterError("no-answer", "it does not answer")
    assert [(one.name, one.code) for one in facts.newcomers(of)] == [("deployment/proxy", "not-listed")]
    assert facts.newcomers(proxied()) == [], "before there is any"


def test_a_proxys_runtime_port_that_nobody_may_reach_or_listens_on_is_told_by_name():
    host = pod_host("a", Cluster())

    def refuse(code: str):
        raise ClusterError(code, "no")

    entry_ = ProxyEntry(host, Address("x", 1))
    for code, told in (("not-permitted", "forwarding-forbidden"), ("missing", "unreachable-host")):
        host.connector.pod = SimpleNamespace(connect=lambda port, timeout, code=code: refuse(code))
        with pytest.raises(RuntimeSocketError) as caught:
            runtime(entry_)
        assert caught.value.code == told

    class Refusing:
        def sendall(self, data): ...
        def settimeout(self, seconds): ...
        def recv(self, size):
            raise ConnectionRefusedError

    host.connector.pod = SimpleNamespace(connect=lambda port, timeout: Refusing())
    with pytest.raises(RuntimeSocketError, match="HAProxy does not listen in pod a") as caught:
        runtime(entry_)
    assert caught.value.code == "refused"


def inventory(monkeypatch, there: list[tuple[str, dict]], **given) -> Inventory:
    """Two groups of two pods each, with what install knows of proxies, and those that are there already."""
    monkeypatch.setattr(kubernetes, "_named", lambda _, kind, whole: [(whole, {"kubernetes_deployment": kind or None})])
    nodes = [
        (
            f"@kubernetes/shop/{name}-{number}",
            {
                "keydb_group": name,
                "keydb_routing": "haproxy",
                "keydb_write_service": f"{name}-write",
                "keydb_address": f"{name}-{number}.{name}.shop.svc.cluster.local",
                "keydb_bind": ["0.0.0.0"],
                "keydb_users": users("secret"),
            },
        )
        for name in ("cache", "queue")
        for number in (0, 1)
    ]
    data = {**GIVEN, "haproxy_address": "cache-write", "keydb_users": users("secret"), **given}
    fronts = [(f"@kubernetes/shop/{name}", own) for name, own in there]
    names = [*nodes, *fronts]
    return Inventory((names, {}), keydb=(nodes, {}), haproxy=(fronts, data))


def test_each_of_two_groups_has_proxies_of_what_stands_for_all(monkeypatch):
    groups = all_groups(inventory(monkeypatch, []))
    assert {name: one.pod_proxies.data("keydb_group") for name, one in groups.items()} == {
        "cache": "cache",
        "queue": "queue",
    }
    assert all(one.pod_proxies.data("haproxy_image") == GIVEN["haproxy_image"] for one in groups.values())
    there = [("cache-proxy-1", {"keydb_group": "cache"}), ("queue-proxy-1", {"keydb_group": "queue"})]
    groups = all_groups(inventory(monkeypatch, there))
    assert {name: [proxy.name for proxy in one.proxies] for name, one in groups.items()} == {
        "cache": ["cache-proxy-1"],
        "queue": ["queue-proxy-1"],
    }
    assert groups["queue"].pod_proxies.data("keydb_group") == "queue"


def test_two_groups_with_other_passwords_need_an_inventory_each(monkeypatch):
    with pytest.raises(GroupError, match=r"haproxy of cache: keydb_users.check: differs from cache-0's") as caught:
        all_groups(inventory(monkeypatch, [], keydb_users=users("other")))
    assert "haproxy of queue: keydb_users.check: differs from queue-0's" in str(caught.value)

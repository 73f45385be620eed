"""Proxies in pods behind the Services: install makes them, verbs tell them by their runtime sockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.group import PODS, eventually, made
from tests.kubernetes.images import PROXY_IMAGE
from tests.kubernetes.installed import Installed, InstalledRuns
from tests.kubernetes.runs import REPOSITORY


class Proxied(Installed):
    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "KEYDB_KUBERNETES_ROUTING": "haproxy",
            "KEYDB_KUBERNETES_PROXY_IMAGE": PROXY_IMAGE,
        }


class ProxiedRuns(InstalledRuns):
    def proxies(self) -> list[str]:
        return [pod for pod in self.pods() if pod.startswith("keydb-proxy-")]

    def service_leads_to(self) -> str | None:
        return self.primary()


@contextmanager
def proxied(folder: Path) -> Iterator[ProxiedRuns]:
    """A group behind proxies, as install makes it, until the end of the block."""
    with made(Proxied(folder)) as group:
        runs = ProxiedRuns(group)
        text = runs.run("install").ok().text
        assert "keydb-0 is the primary of keydb" in text
        group.wait()
        yield runs


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedRuns]:
    with proxied(tmp_path_factory.mktemp("proxied")) as runs:
        yield runs


@pytest.fixture
def runs(everybody: ProxiedRuns) -> ProxiedRuns:
    everybody.group.wait()
    eventually(lambda: everybody.findings() == [], "the group is well", 60)
    return everybody


def test_install_makes_proxies_and_again_changes_nothing(runs, tmp_path):
    seen = runs.status()
    assert sorted(proxy["name"] for proxy in seen["proxies"]) == runs.proxies() and len(runs.proxies()) == 2
    assert runs.selected() == {"app.kubernetes.io/instance": "keydb-proxy"}
    runs.run("drift").ok()
    for document in yaml.safe_load_all((REPOSITORY / "cluster" / "drift.yaml").read_text()):
        if document["kind"] != "CronJob":
            for subject in document.get("subjects", []):
                subject["namespace"] = runs.group.namespace
            runs.group.create(document)
    # Which names no image, and so compares no objects.
    account = {"KUBECONFIG": str(runs.group.kubeconfig("keydb-drift")), "KEYDB_KUBERNETES_IMAGE": ""}
    runs.run("drift", environment=account).ok()
    assert runs.run("install").ok().total()[1:3] == (0, 0), "again changes nothing"
    told = str(runs.group.core.read_namespaced_config_map("keydb-proxy", runs.group.namespace).data)
    assert "@check@" in told and runs.group.passwords["check"] not in told
    assert "Read-only file system" in runs.shell(runs.proxies()[0], "touch /x 2>&1", container="proxy")


def test_a_switchover_tells_every_proxy_and_no_acknowledged_write_is_lost(runs, tmp_path):
    before = runs.primary()
    with runs.writing() as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        done = runs.run("switchover").ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
        print(f"switchover: gap of clients in another pod {writer.gap():.0f} ms, {writer.acknowledged():,} writes")
    assert runs.primary() != before
    reached = [line for line in done.text.splitlines() if "reach" in line]
    assert all(any(proxy in line for line in reached) for proxy in runs.proxies()), done.text
    runs.run("drift").ok()


def test_a_failover_and_a_rejoin_through_proxies(runs, tmp_path):
    gone = runs.primary()
    with runs.writing() as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        runs.shell(gone, "kill -9 $(cat /data/server.pid)")
        eventually(lambda: "guarded start" in runs.log(gone) and runs.is_guarded(gone), "it is guarded", 60)
        runs.run("failover").ok()
        writer.goes_on()
        print(f"failover: gap of clients in another pod {writer.gap():.0f} ms")
    assert runs.primary() != gone
    runs.comes_back(gone)
    assert all(proxy["writers"] for proxy in runs.status()["proxies"])


@pytest.mark.slow
def test_a_run_that_died_before_the_proxies_were_told_is_finished_by_rejoin(runs):
    target = next(pod for pod in PODS if pod != runs.primary())
    with runs.writing(clients=2) as writer:
        runs.dies_before("Route", "switchover", to=target)
        runs.run("rejoin").ok()
        writer.goes_on()
    assert runs.primary() == target


@pytest.mark.slow
def test_a_proxy_that_goes_is_replaced_and_leads_where_the_others_do(runs):
    gone = runs.proxies()[0]
    with runs.writing(clients=2) as writer:
        runs.group.core.delete_namespaced_pod(gone, runs.group.namespace)
        eventually(lambda: gone not in runs.proxies() and len(runs.proxies()) == 2, "another one is there", 90)
        writer.goes_on()
    eventually(lambda: runs.findings() == [], "it leads to the primary", 30)


@pytest.mark.slow
def test_what_proxies_are_started_with_is_changed_one_after_the_other(runs):
    before = runs.proxies()
    with runs.writing(clients=2) as writer:
        text = runs.run("install", haproxy_check_interval="500").ok().text
        assert "+     default-server inter 500ms" in text
        writer.goes_on(60)
    assert not set(before) & set(runs.proxies())
    runs.run("install").ok()


def test_servers_that_are_led_to_otherwise_are_not_rerouted(runs):
    told = "refused: routing-differs service/keydb-write: leads to proxies, and to a server it is to lead"
    runs.run("install", environment={"KEYDB_KUBERNETES_ROUTING": "service"}).refused(told)


def test_without_a_proxy_nobody_reaches_the_primary_and_that_is_told(runs):
    apps, space = runs.group.apps, runs.group.namespace
    apps.delete_namespaced_deployment("keydb-proxy", space)
    eventually(lambda: runs.proxies() == [], "none is left", 90)
    assert "no-proxy keydb" in runs.findings()
    runs.run("install").ok()
    assert runs.findings() == []
    runs.run("uninstall", whole_group="keydb", remove_data="yes").ok()
    assert runs.there() == []

"""Two nodes: pods that are spread over them, and a node, or its kubelet alone, that goes with the primary on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubernetes.group import PODS, eventually, made
from tests.kubernetes.installed import Installed, InstalledRuns
from tests.kubernetes.lab.nodes import FIRST, SECOND
from tests.kubernetes.lab.second import Second


class Spread(Installed):
    """Its clients are on a node that is named."""

    clients_on = FIRST.name

    def writer(self, name: str, clients: int, per_second: int, patience_seconds: int) -> dict[str, Any]:
        made = super().writer(name, clients, per_second, patience_seconds)
        made["spec"]["nodeName"] = self.clients_on
        return made


class Nodes(InstalledRuns):
    group: Spread

    def node_of(self, pod: str) -> str:
        return str(self.group.core.read_namespaced_pod(pod, self.group.namespace).spec.node_name)

    def phase(self, pod: str) -> str:
        return str(self.group.core.read_namespaced_pod(pod, self.group.namespace).status.phase)

    def on_second(self) -> list[str]:
        return [pod for pod in PODS if self.node_of(pod) == SECOND.name]

    def cordon(self, is_closed: bool = True, node: str = SECOND.name) -> None:
        self.group.core.patch_node(node, {"spec": {"unschedulable": is_closed}})

    def send_elsewhere(self, pod: str) -> None:
        """Delete a pod, so that the next one is on another node."""
        node = self.node_of(pod)
        self.cordon(node=node)
        self.delete(pod)
        eventually(lambda: self.node_of(pod) not in ("None", node), f"{pod} is elsewhere", 60)
        self.cordon(False, node)

    def one_on_second(self) -> str:
        """The only pod on the second node, as the primary."""
        while len(there := self.on_second()) > 1:
            self.send_elsewhere(there[-1])
        if not there:
            self.send_elsewhere(PODS[-1])
            there = self.on_second()
        self.group.wait()
        eventually(lambda: self.findings() == [], "the group is well", 60)
        (pod,) = there
        if self.primary() != pod:
            self.run("switchover", to=pod).ok()
        return pod

    def is_ready_node(self) -> bool:
        found = self.group.core.list_node(field_selector=f"metadata.name={SECOND.name}").items
        conditions = [one for node in found for one in node.status.conditions]
        return any(one.type == "Ready" and one.status == "True" for one in conditions)

    def taint(self, *taints: dict[str, str]) -> None:
        """Give the second node these taints, and no others."""
        self.group.core.patch_node(SECOND.name, {"spec": {"taints": list(taints)}})


@pytest.fixture(scope="module")
def second() -> Iterator[Second]:
    if not FIRST.home.exists():
        pytest.skip("the nodes of KUBECONFIG's cluster are left alone: this needs the lab's own")
    node = Second()
    try:
        yield node
    finally:
        node.end()


@pytest.fixture(scope="module")
def runs(second: Second, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with made(Spread(tmp_path_factory.mktemp("nodes"))) as group:
        runs = Nodes(group)
        runs.run("install").ok()
        group.wait()
        yield runs


def test_pods_are_spread_over_the_nodes_and_none_waits_for_a_third(runs):
    assert {runs.node_of(pod) for pod in PODS} == {FIRST.name, SECOND.name}
    assert runs.findings() == []


@pytest.mark.slow
def test_only_the_kubelet_of_the_primarys_node_is_gone(runs, second, tmp_path):
    away = runs.one_on_second()
    with runs.writing() as writer:
        second.stop_kubelet()
        told = " ".join(runs.run("status").text.split())
        assert f"mend the way from here to {away}" in told
        runs.run("failover").refused("refused: still-followed", f"mend the way from here to {away}")
        runs.run("switchover").refused(f"refused: node-unreachable-host {away}")
        assert runs.service_leads_to() == away
        writer.goes_on()
        second.start_kubelet()
        eventually(lambda: runs.is_ready_node() and runs.findings() == [], "the group is well", 90)
        assert writer.lost(tmp_path) == 0


@pytest.mark.slow
def test_the_node_of_the_primary_is_cut_off_and_comes_back(runs, second, tmp_path):
    away = runs.one_on_second()
    runs.group.clients_on = SECOND.name
    with runs.writing(clients=2, patience_seconds=300) as inside:
        runs.group.clients_on = FIRST.name
        with runs.writing(clients=2) as outside:
            eventually(lambda: outside.acknowledged() > 150, "there is something to lose", 60)
            cut = time.monotonic()
            second.cut()
            try:
                runs.run("failover").refused("refused: not-fenced", "switch its machine off, which can't be seen")
                eventually(lambda: not runs.is_ready_node(), "the node counts as lost", 90)
                print(f"NotReady after {time.monotonic() - cut:.0f} s")
                assert {runs.phase(pod) for pod in PODS} == {"Running"}, "and nobody is replaced"
                runs.run("failover").refused("refused: not-fenced", f"{away} may still take writes")
                promoting = time.monotonic()
                told = runs.run("failover", accept_split="yes").ok().text
                assert "predicted loss  unknown" in told
                outside.goes_on(60)
                new = runs.service_leads_to()
                assert new == runs.primary() != away
                mended = time.monotonic()
            finally:
                second.mend()
            eventually(runs.is_ready_node, "the node is ready", 60)
            print(f"Ready {time.monotonic() - mended:.1f} s after it was mended")
            alone = [at for at in (float(row[0]) for row in inside.journal() if row[3] == "ok") if cut < at < mended]
            print(f"the old primary acknowledged {len(alone)} writes until {max(alone) - cut:.1f} s after the cut")
            assert max(alone) < promoting, "its lease had run out: never two writers"
            runs.run("rejoin").refused(f"refused: diverged {away}")
            told = runs.run("rejoin", accept_loss=away).ok().text
            eventually(lambda: runs.findings() == [], "the group is well", 60)
            assert runs.primary() == runs.service_leads_to() == new
            outside.goes_on(60)
            lost = inside.lost(tmp_path)
            print(f"lost: {lost} of those of its own node's clients, {outside.lost(tmp_path)} of the others'")
            assert 0 < lost <= len(alone) + 10, "what it alone acknowledged, which rejoin saved first"
            assert f"{new} is the primary" in told


def delete_by_force(runs: Nodes, pod: str) -> None:
    runs.cordon()
    runs.group.core.delete_namespaced_pod(pod, runs.group.namespace, grace_period_seconds=0)


def delete_its_node(runs: Nodes, pod: str) -> None:
    runs.group.core.delete_node(SECOND.name)


def say_that_its_node_is_off(runs: Nodes, pod: str) -> None:
    """The pod is struck off the list, and its volume is given free."""
    eventually(lambda: not runs.is_ready_node(), "the node counts as lost", 90)
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
    runs.taint(taint)


@pytest.mark.slow
@pytest.mark.parametrize("strike_off", [delete_by_force, delete_its_node, say_that_its_node_is_off])
def test_the_next_pod_of_a_lost_node_answers_and_proves_nothing_of_the_one_that_was_struck_off(
    runs, second, tmp_path, strike_off
):
    away = runs.one_on_second()
    before = runs.uid(away)
    runs.group.clients_on = FIRST.name
    with runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        second.cut()
        try:
            since = time.monotonic()
            strike_off(runs, away)
            eventually(lambda: runs.uid(away) not in (None, before), "it is another pod", 150)
            print(f"{strike_off.__name__}: another pod after {time.monotonic() - since:.0f} s")
            eventually(lambda: runs.is_guarded(away), f"it is guarded: {runs.log(away)}", 90)
            assert runs.node_of(away) == FIRST.name
            assert second.runs_a_server(), "the former one's process is still there"
            assert "run failover" in " ".join(runs.log(away).split())
            told = ("refused: not-fenced", f"the former {away} may still take writes", "was never ready since")
            runs.run("failover").refused(*told, f"the API server: {away} has a pod that was made at")
            assert f"and the former {away} may be" in " ".join(runs.run("status").text.split())
            for verb in ("switchover", "rejoin", "restart"):
                runs.run(verb).refused("refused: no-primary keydb")
            runs.run("failover", accept_split="yes").ok()
            writer.goes_on(60)
            new = runs.primary()
            assert new == runs.service_leads_to() != away
        finally:
            second.mend()
            second.is_there_again()
            runs.cordon(False)
            runs.taint()
        eventually(runs.is_ready_node, "the node is ready", 120)
        eventually(lambda: not second.runs_a_server(), "kubelet ends what the API server doesn't list", 120)
        runs.comes_back(away)
        eventually(lambda: runs.findings() == [], "the group is well", 60)
        assert runs.primary() == new
        writer.goes_on(60)


@pytest.mark.slow
def test_a_restore_beside_a_former_primary_that_may_still_run_is_refused_until_somebody_says_that_it_is_off(
    runs, second, tmp_path
):
    away = runs.one_on_second()
    before = runs.uid(away)
    with runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to save", 60)
    runs.run("backup", save_to=str(tmp_path)).ok()
    (backup,) = tmp_path.rglob("*.rdb")
    second.cut()
    try:
        delete_by_force(runs, away)
        eventually(lambda: runs.uid(away) not in (None, before), "it is another pod", 150)
        eventually(lambda: runs.is_guarded(away), f"it is guarded: {runs.log(away)}", 90)
        assert second.runs_a_server(), "the former one's process is still there"
        asked = {"backup": str(backup), "accept_replace": "yes"}
        told = ("refused: not-fenced", f"the former {away} may still take writes", "was never ready since")
        runs.run("restore", **asked).refused(*told, "say so by accept_split=yes")
        assert {node["role"] for node in runs.status()["nodes"]} == {"replica"}, "nothing was changed"
        shown = runs.run("restore", dry=True, accept_split="yes", **asked).ok().text
        assert f"accepted by accept_split: the former {away} may still take writes" in " ".join(shown.split())
        runs.run("restore", accept_split="yes", **asked).ok()
        new = runs.primary()
        assert new == runs.service_leads_to()
        with runs.writing(clients=2) as later:
            later.goes_on(60)
    finally:
        second.mend()
        second.is_there_again()
        runs.cordon(False)
    eventually(lambda: not second.runs_a_server(), "kubelet ends what the API server doesn't list", 120)
    runs.comes_back(away)
    eventually(lambda: runs.findings() == [], "the group is well", 60)
    assert runs.primary() == new


@pytest.mark.slow
def test_the_node_object_is_deleted_of_a_node_that_is_there(runs, second, tmp_path):
    """Its kubelet ends the server, and the next one leads again if its disk has all that the replicas hold."""
    away = runs.one_on_second()
    before = runs.uid(away)
    with runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        try:
            delete_its_node(runs, away)
            eventually(lambda: runs.uid(away) not in (None, before), "it is another pod", 150)
            since = time.monotonic()
            eventually(lambda: not second.runs_a_server(), "kubelet ends what the API server doesn't list", 60)
            print(f"ended {time.monotonic() - since:.1f} s after the next pod was made")
            eventually(lambda: "guarded start" in runs.log(away), "the next one runs", 90)
            eventually(lambda: runs.findings() == [] or runs.run("failover", accept_split="yes").code == 0, "well", 90)
            writer.goes_on(60)
            print(f"lost: {writer.lost(tmp_path)} of {writer.acknowledged():,}")
            assert runs.primary() == runs.service_leads_to()
        finally:
            second.is_there_again()
        eventually(runs.is_ready_node, "the node is ready", 120)
        eventually(lambda: runs.findings() == [], "the group is well", 60)


@pytest.mark.slow
def test_an_eviction_of_the_primary_takes_one_pod_and_moves_no_role(runs, second, tmp_path):
    from kubernetes.client import V1Eviction, V1ObjectMeta
    from kubernetes.client.exceptions import ApiException

    core, space, away = runs.group.core, runs.group.namespace, runs.one_on_second()
    evict = lambda pod: core.create_namespaced_pod_eviction(pod, space, V1Eviction(metadata=V1ObjectMeta(name=pod)))  # noqa: E731
    before = runs.uid(away)
    runs.cordon()
    try:
        with runs.writing(patience_seconds=60) as writer:
            eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
            evict(away)
            with pytest.raises(ApiException) as refused:
                evict(next(pod for pod in PODS if pod != away))
            assert refused.value.status == 429, "one pod at a time"
            eventually(lambda: runs.uid(away) not in (None, before), "it is another pod", 120)
            runs.comes_back(away)
            writer.goes_on(60)
            assert writer.lost(tmp_path) == 0
        assert runs.node_of(away) == FIRST.name
        assert runs.primary() == runs.service_leads_to() == away
    finally:
        runs.cordon(False)

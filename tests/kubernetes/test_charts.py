"""Pods that charts made, taken as they are: verbs work on them, and what the chart would undo is said before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kubernetes.charts import Chart, MasterAndReplicas, MultiMaster, Sentinels
from tests.kubernetes.group import eventually, made
from tests.kubernetes.images import ENGINE
from tests.kubernetes.runs import Runs
from tests.sandbox.printed import Result

INVENTORY = "tests/kubernetes/chart_inventory.py"


class ChartRuns(Runs):
    def pyinfra(self, *arguments: str, inventory: str = INVENTORY, **environment: str) -> Result:
        return super().pyinfra(*arguments, inventory=inventory, **environment)

    def service_leads_to(self) -> str | None:
        return self.primary()

    def codes(self) -> set[str]:
        return {one["code"] for one in self.status()["findings"]}

    def in_sync(self) -> bool:
        nodes = self.status()["nodes"]
        return len(nodes) == 3 and all(node["role"] == "primary" or node["links"][0]["up"] for node in nodes)


@contextmanager
def chart(of: Chart) -> Iterator[ChartRuns]:
    with made(of) as group:
        group.wait()
        yield ChartRuns(group)


def test_master_and_replicas_are_moved_and_the_role_that_the_chart_gives_back_is_told(tmp_path: Path):
    with chart(MasterAndReplicas(tmp_path)) as runs:
        eventually(runs.in_sync, "replicas are in sync", 60)
        assert runs.codes() == {"role-at-start", "role-not-kept"}
        with runs.writing(clients=2) as writer:
            eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
            text = runs.run("switchover", to="redis-replicas-0").ok().text
            writer.goes_on()
            assert writer.lost(tmp_path) == 0
        said = " ".join(text.split())
        assert "role-at-start" in said and "is told a role by REDIS_REPLICATION_MODE and REDIS_MASTER_HOST" in said
        assert "keeps its configuration in volume etc, which ends with the pod" in said
        assert runs.primary() == "redis-replicas-0"
        selector = runs.group.core.read_namespaced_service("redis-master", runs.group.namespace).spec.selector
        assert selector == {"app": "redis", "statefulset.kubernetes.io/pod-name": "redis-replicas-0"}

        # The chart's own start: the old master comes back as one, empty, and clients are not led there.
        runs.group.core.delete_namespaced_pod("redis-master-0", runs.group.namespace, grace_period_seconds=0)
        eventually(lambda: "several-primaries" in runs.codes(), "it has its role back", 60)
        runs.run("rejoin", accept_loss="redis-master-0").ok()
        assert runs.codes() == {"role-at-start", "role-not-kept"} and runs.primary() == "redis-replicas-0"

        # What install makes is one StatefulSet, so each of its verbs says in a line that these are not.
        for verb, data in VERBS_OF_INSTALL.items():
            runs.run(verb, **data).refused("are no pods of one StatefulSet")
        assert "nothing to do" in runs.run("upgrade").ok().text
        runs.run("restart", dry=True).ok()


VERBS_OF_INSTALL: dict[str, dict[str, str]] = {
    "install": {},
    "add_node": {"node": "redis-replicas-1"},
    "remove_node": {"node": "redis-replicas-1"},
    "rotate": {},
    "uninstall": {"whole_group": "keydb"},
}


@pytest.mark.skipif(ENGINE != "keydb", reason="only KeyDB has it")
def test_no_role_is_moved_where_every_pod_takes_writes(tmp_path: Path):
    with chart(MultiMaster(tmp_path)) as runs:
        eventually(lambda: "multi-master" in runs.codes(), "they replicate each other", 60)
        assert {"role-at-start", "role-not-kept"} <= runs.codes()
        runs.run("switchover", to="keydb-1").refused("refused: multi-master keydb-0: replicates 2 primaries")


@pytest.mark.slow
def test_pods_with_a_sentinel_are_refused_until_a_person_accepts_it(tmp_path: Path):
    with chart(Sentinels(tmp_path)) as runs:
        eventually(runs.in_sync, "replicas are in sync", 60)
        assert runs.codes() == {"sentinel-beside", "role-at-start", "role-not-kept"}
        primary = runs.primary()
        told = "has a Sentinel beside the server, container sentinel"
        runs.run("switchover").refused("refused: sentinel-beside", told, "or accept=sentinel-beside")
        assert runs.primary() == primary
        with runs.writing(clients=2) as writer:
            eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
            runs.run("switchover", accept="sentinel-beside").ok()
            writer.goes_on()
            assert writer.lost(tmp_path) == 0, "its HAProxy asks for the role by itself"
        assert runs.primary() != primary

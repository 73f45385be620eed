"""A pod that joins and one that leaves, where all is encrypted and behind proxies, and with servers of other engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from keydb_runbooks.connectors.programs import engines
from tests.kubernetes import images
from tests.kubernetes.group import PODS, eventually, made
from tests.kubernetes.images import ENGINE
from tests.kubernetes.installed import Installed, InstalledRuns
from tests.kubernetes.lab.nodes import FIRST
from tests.kubernetes.lab.processes import Processes
from tests.kubernetes.test_proxies import ProxiedRuns
from tests.kubernetes.test_tls import EncryptedBehindProxies, has_tls

pytestmark = pytest.mark.slow

FOUR = {"KEYDB_KUBERNETES_PODS": "4"}
NEXT = "keydb-3"


def join_and_leave(runs: InstalledRuns, folder: Path) -> None:
    """One joins, is the primary for a while, and leaves, while clients write."""
    with runs.nobody_restarts(), runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        runs.run("add_node", environment=FOUR, node=NEXT).ok()
        runs.comes_back(NEXT)
        assert runs.told("status", FOUR)["findings"] == []
        assert runs.run("add_node", environment=FOUR, node=NEXT).ok().total()[1:3] == (0, 0), "again changes nothing"
        runs.run("switchover", environment=FOUR, to=NEXT).ok()
        runs.run("remove_node", environment=FOUR, node=NEXT).refused(f"{NEXT}: is the primary")
        writer.goes_on()
        runs.run("switchover", environment=FOUR, to=PODS[0]).ok()
        runs.run("remove_node", environment=FOUR, node=NEXT).ok()
        assert NEXT not in runs.pods() and f"data-{NEXT}" in runs.claims()
        writer.goes_on()
        assert writer.lost(folder) == 0
    assert runs.findings() == []
    assert runs.run("install").ok().total()[1:3] == (0, 0), "it has nothing left to do"


@pytest.mark.skipif(not has_tls(), reason=f"{ENGINE} was built without TLS here")
def test_a_pod_joins_and_leaves_under_tls_behind_proxies(tmp_path):
    with made(EncryptedBehindProxies(tmp_path)) as group:
        runs = ProxiedRuns(group)
        runs.run("install").ok()
        group.wait()
        domain = f"{group.namespace}.svc.cluster.local"
        named = [*(f"{pod}.keydb.{domain}" for pod in PODS), f"keydb-write.{domain}", f"keydb-read.{domain}"]
        three = {"KEYDB_KUBERNETES_TLS": str(group.certificate("three", *named))}
        told = f"{NEXT}: keydb_tls_certificate: is refused by who calls {NEXT}.keydb.{domain}: Hostname mismatch"
        runs.run("add_node", environment={**FOUR, **three}, node=NEXT).refused(told, "nothing was changed")
        assert NEXT not in runs.pods()
        join_and_leave(runs, tmp_path)


class Other(Installed):
    """With servers of another engine than the other tests have."""

    engine = ""

    @property
    def image(self) -> str:
        return f"docker.io/local/{self.engine}:lab"

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "KEYDB_KUBERNETES_ENGINE": self.engine,
            "KEYDB_KUBERNETES_IMAGE": self.image,
        }


@pytest.mark.parametrize("engine", ["keydb", "valkey", "redis"])
def test_a_pod_of_another_engine_joins_and_leaves(tmp_path, engine):
    if engine == ENGINE:
        pytest.skip("test_install.py has this one")
    if engine not in engines() or not FIRST.home.exists():
        pytest.skip(f"there is no {engine} here, or no lab to bring it to")
    group = Other(tmp_path)
    group.engine = engine
    archive = images.server(tmp_path / "other.tar", group.image, engine, engines()[engine])
    Processes(FIRST.home).load(archive, FIRST.socket)
    with made(group):
        runs = InstalledRuns(group)
        runs.run("install").ok()
        group.wait()
        join_and_leave(runs, tmp_path)

"""Who can connect to servers and proxies, in a network that keeps to the NetworkPolicies that install makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from keydb_runbooks.connectors.pods import Pod
from tests.kubernetes.group import PODS, Group, _plain, eventually, made
from tests.kubernetes.images import WRITER_IMAGE
from tests.kubernetes.installed import InstalledRuns
from tests.kubernetes.test_proxies import Proxied, ProxiedRuns

INVENTORY = "tests/kubernetes/policy_inventory.py"


class Somebody(Group):
    """A pod that tries to connect, in a namespace of its own or in the servers'."""

    def make(self) -> None:
        self.create(_plain("Namespace", self.namespace))
        self.add()

    def add(self) -> None:
        container = {"name": "somebody", "image": WRITER_IMAGE, "imagePullPolicy": "IfNotPresent"}
        spec = {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
        pod = {**spec, "containers": [{**container, "command": ["sleep", "1000000"]}]}
        self.create({**_plain("Pod", "somebody"), "spec": pod})

    def reaches(self, runs: InstalledRuns, address: str, port: int) -> bool:
        pod = Pod(runs.admin, self.namespace, "somebody", "somebody")
        words = ["socat", "-u", "OPEN:/dev/null", f"TCP:{address}:{port},connect-timeout=2"]
        return pod.run(words, seen=lambda at, text: None) == 0


@contextmanager
def installed(folder: Path) -> Iterator[ProxiedRuns]:
    with made(Proxied(folder)) as group:
        yield ProxiedRuns(group)


def test_only_proxies_lead_to_servers_and_only_named_namespaces_reach_proxies(tmp_path):
    (tmp_path / "group").mkdir()
    with installed(tmp_path / "group") as runs, made(Somebody(tmp_path)) as stranger:
        group, space = runs.group, runs.group.namespace
        runs.pyinfra("deploys/install.py", "-y", inventory=INVENTORY).ok()
        group.wait()
        neighbour = Somebody(tmp_path, space)
        neighbour.add()
        for who in (neighbour, stranger):
            eventually(partial(who.is_ready, "somebody"), "it can try", 60)
        servers = [(f"{pod}.keydb.{space}.svc.cluster.local", 6379) for pod in PODS]
        writes = (f"keydb-write.{space}.svc.cluster.local", 6379)

        assert neighbour.reaches(runs, *writes)
        assert not any(neighbour.reaches(runs, *server) for server in servers)
        assert not any(stranger.reaches(runs, *way) for way in (*servers, writes))

        named = {"KEYDB_CLIENT_NAMESPACES": stranger.namespace}
        told = runs.pyinfra("deploys/install.py", "-y", inventory=INVENTORY, **named).ok().text
        assert stranger.namespace in told, "what changes is shown"
        eventually(lambda: stranger.reaches(runs, *writes), "a namespace that is named reaches the proxies", 20)
        assert not any(stranger.reaches(runs, *server) for server in servers)

        # Replication, checks, probes and what the verbs say to servers pass.
        runs.pyinfra("deploys/switchover.py", "-y", inventory=INVENTORY, **named).ok()
        eventually(lambda: runs.findings() == [], "the group is well", 30)

"""What is read of the pod that had a name before, from an API server and a volume that a program plays."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from test_pods_install import entry

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.pods import Pod
from keydb_runbooks.facts import anew
from keydb_runbooks.runbooks.replication import (
    GUARD_ADDRESS,
    NO_REPLICATION_ID,
    Address,
    Anew,
    Link,
    Node,
    Role,
    Unread,
    node_from_info,
)
from keydb_runbooks.runbooks.values import changed

MADE = "2026-11-30T12:00:00Z"
NEVER = Anew(MADE, "was never ready since")
INFO = f"run_id:a\nrole:slave\nmaster_replid:{NO_REPLICATION_ID}\nmaster_host:{GUARD_ADDRESS}\nmaster_port:1\n"


class Cluster:
    def __init__(self, pod: dict | None) -> None:
        self.pod, self.asked = pod, 0

    def get_dated(self, path: str, *, timeout: float) -> tuple[dict, datetime]:
        assert path == "/api/v1/namespaces/shop/pods/cache-0"
        self.asked += 1
        if self.pod is None:
            raise ClusterError("no-answer", "context c does not answer")
        return self.pod, datetime(2026, 11, 30, 12, 1, tzinfo=timezone.utc)


def node(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, found: list[str] | None) -> NodeEntry:
    connector = KubernetesConnector.__new__(KubernetesConnector)
    connector.pod = Pod(cluster, "shop", "cache-0", "server")
    made = entry(0)
    made.host.connector = connector
    monkeypatch.setattr(anew, "run_quietly", lambda _, command: found if "forerunner" in str(command) else None)
    return made


def server(**changes) -> Node:
    return changed(node_from_info("cache-0", Address("cache-0", 6379), INFO), **changes)


NEW = {"metadata": {"creationTimestamp": MADE, "uid": "second"}}
STOPPED = Unread("cache-0", Address("cache-0", 6379), "refused", "nothing listens", stopped=True)
ALIVE = Link(Address("cache-1", 6379), up=True, last_io_seconds=1, syncing=False)

# (what was seen, the pod, what it found of the one before, what is left open)
CASES = [
    (server(), NEW, ["second unknown"], NEVER),
    (server(), NEW, ["second runs"], NEVER),
    (server(), NEW, None, NEVER),
    (server(), NEW, ["second ended"], None),
    (server(), NEW, ["second ended first unknown"], None),
    (server(), NEW, ["second runs first ended"], NEVER),
    # What the pod before found: this one hasn't come so far as to say anything.
    (server(), NEW, ["first ended"], NEVER),
    (server(), {"metadata": {"creationTimestamp": MADE}}, [" ended"], NEVER),
    (STOPPED, NEW, ["second runs"], NEVER),
    (server(), None, ["second runs"], Anew("", "is of an unknown age (context c does not answer)")),
]


@pytest.mark.parametrize("seen, pod, found, left", CASES)
def test_what_a_pod_leaves_open_of_the_one_before_it(monkeypatch, seen, pod, found, left):
    assert anew.with_anew(node(Cluster(pod), monkeypatch, found), seen).anew == left


@pytest.mark.parametrize(
    "seen", [server(role=Role.PRIMARY, links=()), server(links=(ALIVE,)), changed(STOPPED, stopped=False)]
)
def test_where_no_proof_rests_on_it_nobody_is_asked(monkeypatch, seen):
    cluster = Cluster(NEW)
    assert anew.with_anew(node(cluster, monkeypatch, None), seen) is seen
    assert cluster.asked == 0


def test_a_machine_leaves_nothing_open():
    machine = entry(0)
    machine.host.connector = SimpleNamespace()
    assert anew.with_anew(machine, server()).anew is None

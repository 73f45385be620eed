"""What ``start`` leaves on a pod that it has made anew, before an API server that a program plays."""

from __future__ import annotations

import pytest

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.operations import pods_start
from keydb_runbooks.runbooks.anew import WORD

LABELS = {"app.kubernetes.io/managed-by": "keydb-runbooks"}
ENDED = {"reason": "OOMKilled"}


def pod(uid: str, node: str = "node1", *, taken: bool = True) -> dict:
    status = {"startTime": "2026-11-30T12:00:00Z"} if taken else {}
    return {"metadata": {"name": "cache-0", "uid": uid}, "spec": {"nodeName": node}, "status": status}


def deleted(state: str = "waiting") -> dict:
    made = pod("first")
    made["metadata"]["labels"] = LABELS
    container = {"state": {state: {}}, "lastState": {"terminated": ENDED}}
    return {**made, "status": {"containerStatuses": [container]}}


class Host:
    def __init__(self) -> None:
        self.logged: list[str] = []

    def log(self, line: str) -> None:
        self.logged.append(line)


class Objects:
    """What is read, one after the other, the last of it again and again; and what was annotated."""

    def __init__(self, *seen: dict | None) -> None:
        self.seen, self.annotated, self.refused = list(seen), [], False

    def read(self, kind: str, name: str) -> dict | None:
        assert (kind, name) == ("Pod", "cache-0")
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]

    def annotate(self, kind: str, name: str, uid: str, annotations: dict) -> None:
        if self.refused:
            raise ClusterError("not-permitted", "context c lacks a right (RBAC)")
        self.annotated.append((name, uid, annotations))


@pytest.mark.parametrize("seen, told", [
    ((deleted(), None, pod("second", taken=False), pod("second")), True),
    # Another kubelet knows nothing of it.
    ((None, pod("second", node="node2")), False),
    # It stays where its node is cut off, and nobody takes the next one.
    ((deleted(),), False),
    ((None,), False),
    ((pod("second", taken=False),), False),
])  # fmt: skip
def test_the_next_pod_is_told_of_an_end_where_the_same_kubelet_runs_it(monkeypatch, seen, told):
    monkeypatch.setattr(pods_start, "TAKEN_SECONDS", 0.1)
    monkeypatch.setattr(pods_start, "POLL_SECONDS", 0.01)
    objects = Objects(*seen)
    pods_start._leave_word(Host(), deleted(), objects)
    assert objects.annotated == ([("cache-0", "second", {WORD: "first ended"})] if told else [])


def test_of_a_pod_that_runs_by_now_nothing_is_told():
    objects = Objects(pod("second"))
    pods_start._leave_word(Host(), deleted("running"), objects)
    assert objects.annotated == []


def test_who_may_tell_nothing_says_so_and_goes_on():
    objects, host = Objects(pod("second")), Host()
    objects.refused = True
    pods_start._leave_word(host, deleted(), objects)
    told = "cache-0 could not be told that the one before it has ended: context c lacks a right (RBAC)"
    assert host.logged == [told]

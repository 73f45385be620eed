"""What a run leaves in the cluster, before an API server that a program plays."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import gevent
import pytest

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.operations import traces
from keydb_runbooks.operations.holders import Task
from keydb_runbooks.runbooks.before import Before
from keydb_runbooks.runbooks.plan import Loss, Plan
from keydb_runbooks.runbooks.steps import Promote

GROUP = SimpleNamespace(name="cache", nodes=(SimpleNamespace(name="keydb-0"),))
TASK = Task("rejoin", "keydb-1", "ada", "desk")


class Objects:
    """Keeps what is applied and created; ``code`` is how it refuses everything."""

    namespace = "shop"

    def __init__(self) -> None:
        self.leases: list[dict] = []
        self.events: list[dict] = []
        self.annotations: dict | None = None
        self.code = ""

    def apply(self, document: dict, *, force: bool) -> None:
        self._refuse()
        assert force and document["metadata"]["name"] == "keydb-runbooks-cache"
        self.leases.append(document["spec"])
        self.annotations = document["metadata"].get("annotations")

    def read(self, kind: str, name: str) -> dict | None:
        if kind == "Lease":
            self._refuse()
            made = {"name": name, "creationTimestamp": "2026-11-30T12:00:00Z", "annotations": self.annotations}
            return {"spec": self.leases[-1], "metadata": made} if self.leases else None
        return {"metadata": {"uid": f"uid of {name}", "name": name, "creationTimestamp": "2026-12-01T00:00:00Z"}}

    def create(self, document: dict) -> None:
        self._refuse()
        name = document["metadata"].get("name")
        if name is not None and name in [one["metadata"].get("name") for one in self.events]:
            raise ClusterError("conflict", "there is one")
        self.events.append(document)

    def _refuse(self) -> None:
        if self.code:
            raise ClusterError(self.code, "no")


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Objects:
    made = Objects()
    monkeypatch.setattr(traces, "are_pods", lambda _: True)
    monkeypatch.setattr(traces, "objects_of", lambda _: made)
    monkeypatch.setattr(traces, "RENEW_SECONDS", 0.01)
    return made


def test_a_lease_is_renewed_as_long_as_the_servers_know_the_run(objects):
    lives = True
    shown = traces.AtWork(GROUP, TASK, lambda: lives)
    gevent.sleep(0.2)
    first, *_, last = objects.leases
    assert first["holderIdentity"] == last["holderIdentity"] == "ada@desk: rejoin (for keydb-1)"
    assert first["acquireTime"] == last["acquireTime"]
    times = [datetime.fromisoformat(one["renewTime"].replace("Z", "+00:00")) for one in objects.leases]
    assert len(times) > 2 and times == sorted(times) and times[0] < times[-1]
    lives = False
    gevent.sleep(0.05)
    count = len(objects.leases)
    gevent.sleep(0.1)
    assert len(objects.leases) == count, "it runs out"
    shown.done()
    assert "holderIdentity" not in objects.leases[-1]
    gevent.sleep(0.1)
    assert len(objects.leases) == count + 1, "and nobody renews it any more"


def test_another_runs_lease_is_left_alone(objects):
    shown = traces.AtWork(GROUP, TASK, lambda: False)
    objects.leases.append({"holderIdentity": "bob@shelf: failover (for keydb-2)"})
    shown.done()
    assert objects.leases[-1]["holderIdentity"].startswith("bob")


def test_one_that_may_not_be_made_is_not_renewed_and_stops_nothing(objects):
    objects.code = "not-permitted"
    shown = traces.AtWork(GROUP, TASK, lambda: True)
    objects.code = ""
    gevent.sleep(0.1)
    assert objects.leases == []
    objects.leases.append({})
    shown.done()


def test_an_api_server_that_is_silent_for_a_while_ends_no_renewal(objects):
    shown = traces.AtWork(GROUP, TASK, lambda: True)
    objects.code = "no-answer"
    gevent.sleep(0.05)
    objects.code, count = "", len(objects.leases)
    gevent.sleep(0.1)
    assert len(objects.leases) > count
    shown.done()


def plan(primary: str | None, former: str | None, **more) -> Plan:
    return Plan("rejoin", "cache", primary, former, more.pop("steps", ()), Loss(0, ""), "", "", **more)


def told(objects: Objects) -> dict[str, str]:
    return {one["involvedObject"]["name"]: one["message"] for one in objects.events}


def test_a_role_that_moved_is_told_on_both_pods(objects):
    traces.moved(GROUP, plan("keydb-1", "keydb-0", steps=(Promote("keydb-1", 7, 1),)), TASK)
    assert told(objects) == {
        "keydb-1": "is the primary of cache instead of keydb-0 (rejoin by ada@desk)",
        "keydb-0": "is no longer the primary of cache: keydb-1 is (rejoin by ada@desk)",
    }
    assert [one["metadata"]["name"] for one in objects.events] == ["keydb-1.role-7-keydb-1", "keydb-0.role-7-keydb-1"]
    # Whoever finishes the rest of it tells nothing twice.
    traces.moved(GROUP, plan("keydb-1", "keydb-1", moved_from="keydb-0", moved_epoch=7), TASK)
    assert len(objects.events) == 2


def test_who_finishes_the_move_of_a_run_that_died_tells_of_it(objects):
    traces.moved(GROUP, plan("keydb-1", "keydb-1", moved_from="keydb-0", moved_epoch=7), TASK)
    assert told(objects) == {
        "keydb-1": "is the primary of cache instead of keydb-0 (finished by rejoin by ada@desk)",
        "keydb-0": "is no longer the primary of cache: keydb-1 is (finished by rejoin by ada@desk)",
    }


def test_an_old_primary_that_is_back_as_nobodys_is_told_as_well(objects):
    traces.moved(GROUP, plan("keydb-1", None, moved_from="keydb-0"), TASK)
    assert told(objects) == {
        "keydb-1": "is the primary of cache instead of keydb-0 (rejoin by ada@desk)",
        "keydb-0": "is no longer the primary of cache: keydb-1 is (rejoin by ada@desk)",
    }


def test_a_move_that_has_no_number_is_told_all_the_same(objects):
    traces.moved(GROUP, plan("keydb-1", None), TASK)
    assert told(objects) == {"keydb-1": "is the primary of cache (rejoin by ada@desk)"}
    assert objects.events[0]["metadata"] == {"generateName": "keydb-1.role-"}


@pytest.mark.parametrize("primary, former", [("keydb-1", "keydb-1"), (None, None), (None, "keydb-0")])
def test_where_no_role_moved_nothing_is_told(objects, primary, former):
    traces.moved(GROUP, plan(primary, former), TASK)
    assert objects.events == []


def test_what_may_not_be_told_stops_nothing(objects):
    objects.code = "not-permitted"
    traces.moved(GROUP, plan("keydb-1", "keydb-0"), TASK)
    assert objects.events == []


def test_a_pod_that_is_younger_than_the_first_run_had_somebody_before_it_until_all_were_seen_to_end(objects):
    assert traces.before(GROUP).runs == ""
    traces.all_ended(GROUP)
    assert objects.leases == [], "nobody worked on it"
    traces.AtWork(GROUP, TASK, lambda: True).done()
    assert "a run on the group at 2026-11-30T12:00:00Z already, and keydb-0 was made" in traces.before(GROUP).runs
    traces.all_ended(GROUP)
    assert "holderIdentity" not in objects.leases[-1] and traces.before(GROUP).runs == ""
    # The word goes with the next run.
    traces.AtWork(GROUP, TASK, lambda: True).done()
    assert "keydb-0 was made later" in traces.before(GROUP).runs


def test_what_may_not_be_read_of_the_time_before_is_unknown(objects):
    objects.code = "not-permitted"
    assert traces.before(GROUP).unread == "no" and traces.before(GROUP).runs == ""
    traces.all_ended(GROUP)


def test_machines_have_no_lease_and_are_not_asked_for_one(objects, monkeypatch):
    traces.AtWork(GROUP, TASK, lambda: True).done()
    monkeypatch.setattr(traces, "are_pods", lambda _: False)
    assert traces.before(GROUP) == Before()

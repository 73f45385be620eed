"""A Service of Kubernetes in front of a group: when it moves, whose clients are ended, and what it proves (nothing)."""

from dataclasses import replace

import pytest
from worlds import (
    group,
    guarded,
    lines,
    orphan,
    primary,
    promoted,
    replica,
    service,
    silent,
    silent_service,
)

from keydb_runbooks.runbooks import abort, failover, promote, rejoin, switchover
from keydb_runbooks.runbooks.clients import Connection, connections, older_than
from keydb_runbooks.runbooks.condition import Machine
from keydb_runbooks.runbooks.cost import predict_gap
from keydb_runbooks.runbooks.drift import drift
from keydb_runbooks.runbooks.drift_values import Verdict
from keydb_runbooks.runbooks.leading import label
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.steps_clients import EndLatecomers, EndStragglers
from keydb_runbooks.runbooks.steps_service import LabelPods, ServiceLeads
from keydb_runbooks.runbooks.verified import truths, verify

TO_2, ANY = Request(to="keydb-2"), Request()
GONE = silent(1, "refused", stopped=True)
OURS = {"operator", "check"}


def test_a_switchover_moves_it_right_behind_the_promotion_and_ends_who_stays_at_the_old_primary():
    plan = switchover.plan(group(primary(1), replica(2), replica(3), service(1)), TO_2, 1)
    told = lines(plan)
    assert told[told.index("Promote keydb-2") + 1] == "MoveService keydb-write"
    # Held back until then, so that nobody gets an error for a write that was only late.
    assert told[told.index("EndStragglers keydb-1") - 1 :][:3] == [
        "Follow keydb-1",
        "EndStragglers keydb-1",
        "Unpause keydb-1",
    ]
    assert told[-4:] == [
        "InSync keydb-3",
        "ServiceLeads keydb-write",
        "EndLatecomers keydb-1",
        "LabelPods keydb-write",
    ]


def test_a_failover_moves_it_and_leaves_alone_whom_it_cannot_reach():
    told = lines(failover.plan(group(GONE, orphan(2), orphan(3), service(1)), ANY, 1))
    assert told[:2] == ["Promote keydb-2", "MoveService keydb-write"]
    assert not [line for line in told if line.startswith("End")]


def test_a_failover_from_a_primary_that_lost_its_data_ends_its_clients():
    empty = primary(1, keys=0, epoch=None, replication_id="e" * 40, offset=0)
    told = lines(failover.plan(group(empty, orphan(2), orphan(3), service(1)), ANY, 1))
    assert told.index("EndStragglers keydb-1") == told.index("Unpause keydb-1") - 1
    assert "MoveService keydb-write" in told and told[-1] == "EndLatecomers keydb-1"


def test_promote_moves_it_since_nobody_else_would_find_the_new_primary():
    plan = promote.plan(group(GONE, orphan(2), orphan(3), service(1)), TO_2, 0)
    assert "MoveService keydb-write" in lines(plan)
    assert plan.gap == "since the primary went; it ends when the Service has moved"


def test_clients_of_a_server_that_was_killed_and_is_back_as_no_primary_are_ended():
    """They connected again before anybody moved the Service, and would get -READONLY for ever."""
    told = lines(failover.plan(group(guarded(1), orphan(2), orphan(3), service(1)), TO_2, 1))
    assert (
        told.index("MoveService keydb-write")
        < told.index("EndStragglers keydb-1")
        < told.index("EndLatecomers keydb-1")
    )


@pytest.mark.parametrize("front", [service(1), silent_service()])
def test_it_proves_nothing_of_a_primary_that_is_silent(front):
    seen = group(silent(1), orphan(2), orphan(3), front, clients_only_through_proxies=True)
    answer = failover.plan(seen, Request(allow_unread=frozenset({"keydb-write"})), 1)
    assert isinstance(answer, Refusal) and answer.code == "not-fenced"
    told = "keydb-1 may still take writes: moving the Service leaves connections that are open where they are"
    assert answer.sentence == told
    assert "switch its machine off, which can't be seen from here" in answer.hint


def test_a_frozen_server_whose_pod_can_be_asked_is_to_be_stopped_and_seen_to_be():
    frozen = replace(silent(1), machine=Machine())
    answer = failover.plan(group(frozen, orphan(2), orphan(3), service(1)), ANY, 1)
    assert isinstance(answer, Refusal) and answer.hint.startswith("stop its server or its machine, then this again")


def test_who_accepts_a_split_reads_the_same_in_the_plan():
    plan = failover.plan(group(silent(1), orphan(2), orphan(3), service(1)), Request(accept_split=True), 1)
    assert isinstance(plan, Plan)
    assert plan.proof.endswith("moving the Service leaves connections that are open where they are")


def test_rejoin_moves_it_when_a_run_died_before():
    plan = rejoin.plan(group(primary(1), replica(2), service(2)), ANY, 1)
    assert lines(plan) == [
        "MoveService keydb-write",
        "EndStragglers keydb-2",
        "ServiceLeads keydb-write",
        "EndLatecomers keydb-2",
        "LabelPods keydb-write",
    ]
    assert plan.steps[-1] == LabelPods("keydb-write", "keydb-1", ("keydb-2",))
    assert plan.gap == "not every writer reaches the primary now; all do from step 1 on"


def test_rejoin_ends_the_clients_that_a_run_left_at_the_old_primary():
    plan = rejoin.plan(group(primary(1), replica(2), service(1, stragglers=("keydb-2",))), ANY, 1)
    assert lines(plan) == [
        "EndStragglers keydb-2",
        "ServiceLeads keydb-write",
        "EndLatecomers keydb-2",
        "LabelPods keydb-write",
    ]


def test_a_run_that_died_behind_the_move_is_finished_with_its_clients():
    """The old primary still holds writes back, and its clients wait for it."""
    seen = group(primary(1, paused=True, epoch=1), promoted(2, epoch=2), replica(3), service(2))
    told = lines(rejoin.plan(seen, ANY, 1))
    assert told.index("Guard keydb-1") < told.index("EndStragglers keydb-1") < told.index("Unpause keydb-1")


def test_a_selector_that_not_every_pod_meets_is_cleaned_when_it_moves():
    seen = group(primary(1), replica(2), service(None, unmet=("role",)))
    (step, *_) = rejoin.plan(seen, ANY, 1).steps
    assert step.patch == {
        "metadata": {"annotations": {"keydb-runbooks/moved-from": None}},
        "spec": {"selector": {"role": None, "statefulset.kubernetes.io/pod-name": "keydb-1"}},
    }
    by_label = group(primary(1), replica(2), service(1, unmet=("role",)))
    assert isinstance(rejoin.plan(by_label, ANY, 1), NothingToDo), "it leads to the primary, by whatever"


def test_the_patch_says_whose_clients_may_be_left():
    plan = switchover.plan(group(primary(1), replica(2), service(1)), TO_2, 1)
    (move,) = [step for step in plan.steps if step.code == "MoveService"]
    assert move.patch["metadata"] == {"annotations": {"keydb-runbooks/moved-from": "keydb-1"}}


def test_nothing_to_do_names_it():
    answer = switchover.plan(group(primary(1), replica(2), service(1)), Request(to="keydb-1"), 1)
    assert isinstance(answer, NothingToDo)
    assert answer.sentence.endswith("every Service that answers sends writes to it")


def test_abort_looks_at_one_that_leads_to_the_primary_and_leaves_others_to_rejoin():
    paused = primary(1, paused=True)
    assert "ServiceLeads keydb-write" in lines(abort.plan(group(paused, replica(2), service(1)), ANY, 1))
    assert "ServiceLeads keydb-write" not in lines(abort.plan(group(paused, replica(2), service(2)), ANY, 1))


def test_each_step_names_the_service_and_the_primary_that_is_meant():
    steps = switchover.plan(group(primary(1), replica(2), service(1)), TO_2, 1).steps
    assert EndStragglers("keydb-1", "keydb-write", "keydb-2") in steps
    assert EndLatecomers("keydb-1", "keydb-write", "keydb-2") in steps
    assert ServiceLeads("keydb-write", "keydb-2", 60.0) in steps


def test_pods_are_labelled_once_however_many_services_there_are():
    seen = group(primary(1), replica(2), service(1), service(1, name="another"))
    assert label(seen, seen.nodes[0], ("keydb-2",)) == (LabelPods("keydb-write", "keydb-1", ("keydb-2",)),)


def test_the_gap_counts_its_round_trip_and_what_the_rules_of_the_machines_take():
    seen = group(primary(1), replica(2), replica(3), service(1))
    plan = switchover.plan(seen, TO_2, 1)
    slower = replace(seen, services=(service(1, round_trip_seconds=0.02),))
    before, after = (predict_gap(plan.steps, one).seconds for one in (seen, slower))
    assert round(after - before, 6) == 0.01
    (rules,) = (step for step in plan.steps if step.code == "EndStragglers")
    assert round(predict_gap((rules,), seen).seconds, 6) == 0.051
    assert predict_gap(plan.steps, replace(seen, services=(service(1, round_trip_seconds=None),))).seconds is None


def test_what_became_of_it_is_told_and_that_no_write_went_through_it():
    seen = group(primary(1), replica(2), replica(3), service(1))
    plan = switchover.plan(seen, TO_2, 1)
    after = group(replica(1, 2), primary(2), replica(3, 2), service(2))
    found = verify(plan, after)
    assert "keydb-write sends writes to keydb-2" in list(truths(after))
    assert ("route", "keydb-write") in [(check.what, check.where) for check in found.verified]
    assert ("a write", "keydb-write") in [(check.what, check.where) for check in found.not_verified]
    assert found.wrong == ()


@pytest.mark.parametrize("to, name", [(1, "keydb-1"), (None, "nobody")])
def test_one_that_stayed_is_wrong_behind_a_plan_that_moved_it(to, name):
    plan = switchover.plan(group(primary(1), replica(2), service(1)), TO_2, 1)
    after = group(replica(1, 2), primary(2), service(to))
    assert f"keydb-write sends writes to {name} now" in verify(plan, after).wrong
    assert f"keydb-write sends writes to {name}" in list(truths(after))


def test_one_that_cannot_be_read_is_told_everywhere():
    seen = group(primary(1), replica(2), silent_service())
    plan = rejoin.plan(group(primary(1), replica(2), service(2)), ANY, 1)
    assert any(line.startswith("keydb-write can't be read") for line in truths(seen))
    assert "keydb-write" in [check.where for check in verify(plan, seen).not_verified]
    assert [one.verdict for one in drift(seen, (), ()) if one.code == "service-unread"] == [Verdict.UNKNOWN]


ROWS = """
id=6 addr=10.1.1.3:5 name= age=99 idle=0 flags=S user=replication
id=7 addr=10.1.1.1:5 name= age=90 idle=0 flags=N user=application
id=8 addr=10.1.1.2:5 name= age=10 idle=0 flags=b user=default
id=9 addr=10.1.1.3:5 name= age=90 idle=0 flags=S user=replication
id=10 addr=10.1.1.3:5 name= age=90 idle=0 flags=M user=application
id=11 addr=10.1.1.4:5 name=x age=90 idle=0 flags=N user=operator

"""


def test_clients_are_all_but_replicas_and_our_own_users():
    assert [*connections(ROWS, OURS)] == [Connection("7", 90), Connection("8", 10)]
    assert [*connections("id=3 user=a", OURS)] == [Connection("3", 0)]
    assert [*connections("id=3 user=a=b", {"a=b"})] == []


@pytest.mark.parametrize("seconds, older", [(91, True), (92, True), (93, False)])
def test_who_is_there_since_before_the_move_is_found_in_whole_seconds(seconds, older):
    assert older_than(ROWS, OURS, seconds) is older

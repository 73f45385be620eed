"""Restore: who loads the backup, what is saved before it is replaced, and what a run that died left to do."""

from dataclasses import replace

import pytest
from worlds import (
    codes,
    fenced,
    group,
    guarded,
    lines,
    orphan,
    primary,
    proxy,
    replica,
    service,
    silent,
    silent_proxy,
    stream,
    virgin,
)

from keydb_runbooks.runbooks import restore
from keydb_runbooks.runbooks.plan import Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.restore import Held, Source, one_at_a_time
from keydb_runbooks.runbooks.steps import Follow, InSync, Pause, Promote, RecordLineage, Unpause, VerifyWrite
from keydb_runbooks.runbooks.steps_restore import RESTORED_KEY, LoadBackup, PutBackup
from keydb_runbooks.runbooks.steps_save import SaveData, SaveInstead
from keydb_runbooks.runbooks.steps_service import LabelPods

SHA = "5" * 64
SOURCE = Source("b.rdb", SHA, 1000, 50, "keydb", "6.3.4", "2026-01-02T03:04:05Z")
HEALTHY = group(primary(1), replica(2), replica(3), proxy(1))
YES = Request(accept_replace=True)


def plan(topology, request=YES, source=SOURCE, held=None, first="keydb-1"):
    held = {node.name: Held(node.keys, None, 10**6) for node in topology.nodes} | (held or {})
    return restore.plan(topology, request, 1, source, held, first)


def test_a_replica_loads_it_while_the_primary_goes_on_and_the_primary_comes_last():
    made = plan(HEALTHY)
    assert lines(made) == [
        "PutBackup keydb-2",
        "OfferBackup keydb-2",
        "LoadBackup keydb-2",
        "Pause keydb-1",
        "PromoteRestored keydb-2",
        "RecordLineage keydb-2",
        "SaveConfiguration keydb-2",
        "Route proxy-1",
        "EndSessions keydb-1",
        "EndOffer keydb-2",
        "SaveData keydb-1",
        "SaveInstead keydb-3",
        "Follow keydb-3",
        "InSync keydb-3",
        "Guard keydb-1",
        "Unpause keydb-1",
        "Follow keydb-1",
        "InSync keydb-1",
        "VerifyWrite proxy-1",
    ]
    assert (made.primary, made.former) == ("keydb-2", "keydb-1")
    assert [f"{step.code} {step.where}" for step in made.undo] == ["Unpause keydb-1", "Follow keydb-2"]
    assert made.undo[1].primary == "keydb-1"
    assert "5 keys are replaced by the 50 of the backup" in made.warnings[0]
    assert "reads through a proxy" in made.warnings[1]
    assert "until the first replica has all of it" in made.gap
    assert "keydb-1 holds writes back from before the promotion" in made.proof


def test_the_data_that_are_replaced_are_in_a_file_before_the_last_other_node_gives_them_up():
    made = plan(HEALTHY)
    (instead,) = (step for step in made.steps if isinstance(step, SaveInstead))
    assert (instead.where, instead.other, instead.to) == ("keydb-3", "keydb-1", "node")
    assert instead.sentence.endswith("beside its dump file, unless those of keydb-1 are saved")
    assert "which begins when keydb-1's data are saved, if min-replicas-to-write asks for one" in made.gap
    assert "SaveInstead keydb-3" not in lines(plan(HEALTHY, held={"keydb-3": Held(0)}))


def test_what_the_primary_alone_would_have_is_saved_before_its_replica_loads():
    """The primary may die before its own save, and then a file on another machine has what was there."""
    made = plan(group(primary(1), replica(2)))
    assert lines(made)[:6] == [
        "PutBackup keydb-2",
        "OfferBackup keydb-2",
        "SaveData keydb-2",
        "LoadBackup keydb-2",
        "Pause keydb-1",
        "PromoteRestored keydb-2",
    ]
    assert made.loss.reason.endswith("; saved first on keydb-1, and before it loads on keydb-2")
    assert plan(HEALTHY).loss.reason.endswith("; saved first on keydb-1")
    assert plan(group(primary(1))).loss.reason.endswith("; saved first on keydb-1")
    # Who isn't in sync may lack something.
    assert "SaveData keydb-2" in lines(plan(group(primary(1), replica(2), orphan(3))))
    assert "SaveData keydb-2" not in lines(plan(group(primary(1), replica(2)), held={"keydb-2": Held(0)}))


def test_the_promotion_counts_and_names_the_backup_in_one_segment():
    (promote,) = (
        step for step in plan(group(primary(1, epoch=4), replica(2, epoch=4))).steps if isinstance(step, Promote)
    )
    assert promote.commits
    assert promote.epoch == 5
    assert promote.commands[2:4] == (("SET", "runbook:epoch", "5"), ("SET", RESTORED_KEY, SHA))
    assert promote.commands[-1] == ("CONFIG", "SET", "min-replicas-to-write", "1")


@pytest.mark.parametrize(
    "topology, request_, target",
    [
        (HEALTHY, YES, "keydb-2"),
        (HEALTHY, replace(YES, to="keydb-3"), "keydb-3"),
        (group(primary(1), replica(2, priority=0), replica(3)), YES, "keydb-3"),
        (group(primary(1), replica(2), replica(3, priority=50)), YES, "keydb-3"),
        (group(primary(1), orphan(2), fenced(replica(3))), YES, "keydb-1"),
        (group(primary(1)), YES, "keydb-1"),
        (group(guarded(1), guarded(2)), YES, "keydb-1"),
        (group(guarded(3), guarded(2)), YES, "keydb-2"),
        (group(primary(1), replica(2), silent(3)), replace(YES, allow_unread=frozenset({"keydb-3"})), "keydb-2"),
    ],
)
def test_who_loads_it(topology, request_, target):
    assert plan(topology, request_).primary == target


def test_who_follows_a_primary_that_loads_it_itself_leaves_first_with_its_data():
    made = plan(HEALTHY, replace(YES, to="keydb-1"))
    acts = lines(made)
    assert acts[2:7] == ["Guard keydb-2", "Guard keydb-3", "Guard keydb-1", "SaveData keydb-1", "LoadBackup keydb-1"]
    for node in ("keydb-2", "keydb-3"):
        assert acts.index(f"SaveData {node}") < acts.index(f"Follow {node}")
    assert "keydb-1 itself loads it, and takes no writes meanwhile" in made.warnings
    assert "in sync" not in " ".join(made.warnings)
    never = plan(group(primary(1), replica(2, priority=0)))
    assert lines(never)[2:4] == ["Guard keydb-2", "Guard keydb-1"]


def test_a_primary_without_a_replica_in_sync_takes_no_writes_from_before_its_save():
    made = plan(group(primary(1), orphan(2), proxy(1)))
    assert lines(made) == [
        "PutBackup keydb-1",
        "OfferBackup keydb-1",
        "Guard keydb-2",
        "Guard keydb-1",
        "SaveData keydb-1",
        "LoadBackup keydb-1",
        "PromoteRestored keydb-1",
        "RecordLineage keydb-1",
        "SaveConfiguration keydb-1",
        "Route proxy-1",
        "EndOffer keydb-1",
        "SaveData keydb-2",
        "Follow keydb-2",
        "InSync keydb-2",
        "VerifyWrite proxy-1",
    ]
    assert [step.code for step in made.undo] == ["NoWayBack"]
    assert "keydb-1 itself loads it, and takes no writes meanwhile" in " ".join(made.warnings)
    assert made.gap.startswith("while it saves and loads and until the first replica")
    assert made.proof.startswith("keydb-1 is the only primary")


def test_a_group_of_one_needs_no_replica_afterwards():
    made = plan(group(primary(1)))
    (promote,) = (step for step in made.steps if isinstance(step, Promote))
    assert promote.min_replicas == 0
    assert made.gap == "while it saves and loads"


def test_an_empty_group_needs_no_leave_and_nothing_is_saved():
    made = plan(group(virgin(1), virgin(2), virgin(3), proxy()), Request(), first="keydb-2")
    assert made.primary == "keydb-2"
    assert made.former is None
    assert [one for one in lines(made) if "Save" in one] == ["SaveConfiguration keydb-2"]
    assert lines(made)[2] == "LoadBackup keydb-2"
    assert not [step for step in made.steps if isinstance(step, Pause)]
    assert made.gap == "no node that answers takes writes now"
    assert not [one for one in made.warnings if "replaced" in one]


def test_a_founded_group_with_nothing_of_clients_is_empty_as_well():
    assert isinstance(plan(HEALTHY, Request(), held={node.name: Held(0) for node in HEALTHY.nodes}), Plan)


def test_without_a_primary_whatever_any_node_holds_is_saved():
    made = plan(
        group(guarded(1), guarded(2, keys=0), guarded(3, read_only=False, paused=True)), replace(YES, to="keydb-3")
    )
    acts = lines(made)
    assert acts[2:5] == ["Guard keydb-3", "SaveData keydb-3", "LoadBackup keydb-3"]
    assert "Unpause keydb-3" in acts
    assert [one for one in acts if "SaveData" in one] == ["SaveData keydb-3", "SaveData keydb-1"]


def test_a_node_that_is_not_in_sync_is_saved_for_itself():
    made = plan(group(primary(1), replica(2), orphan(3, replication_id=stream("d"))))
    acts = lines(made)
    assert acts.index("SaveData keydb-3") < acts.index("Follow keydb-3")


LEFT_OUT = replace(YES, allow_unread=frozenset({"keydb-1"}))
REFUSED = {
    "no-backup-named": {"topology": HEALTHY, "source": None},
    "bad-backup": {"topology": HEALTHY, "source": Source("b.rdb", trouble="is cut short")},
    "node-no-answer": {"topology": group(primary(1), replica(2), silent(3))},
    "proxy-no-socket": {"topology": group(primary(1), replica(2), silent_proxy())},
    "target-unread": {
        "topology": group(primary(1), replica(2), silent(3)),
        "request": replace(YES, to="keydb-3", allow_unread=frozenset({"keydb-3"})),
    },
    "unknown-target": {"topology": HEALTHY, "request": replace(YES, to="keydb-9")},
    "several-primaries": {"topology": group(primary(1, epoch=1), primary(2, epoch=2), replica(3, 2))},
    "two-primaries": {"topology": group(primary(1), primary(2))},
    "loading": {"topology": group(primary(1), replica(2, loading=True))},
    "no-node-answers": {"topology": group(silent(1))},
    "other-engine": {"topology": HEALTHY, "source": replace(SOURCE, engine="redis")},
    "older-server": {"topology": HEALTHY, "source": replace(SOURCE, version="6.3.5")},
    "target-never-primary": {
        "topology": group(primary(1), replica(2, priority=0)),
        "request": replace(YES, to="keydb-2"),
    },
    "holds-data": {"topology": HEALTHY, "request": Request()},
    "no-room": {"topology": HEALTHY, "held": {"keydb-2": Held(5, None, 2999)}},
    "cluster-mode": {"topology": group(primary(1, cluster=True))},
    "still-followed": {"topology": group(silent(1), replica(2), replica(3)), "request": LEFT_OUT},
    "not-fenced": {"topology": group(silent(1), orphan(2), orphan(3)), "request": LEFT_OUT},
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_not_proved_to_be_safe_is_refused(code):
    answer = plan(**REFUSED[code])
    assert isinstance(answer, Refusal), answer
    assert answer.code == code


def test_every_refusal_has_a_case():
    computed = {"node-*"}
    assert codes("Refusal", "restore") - computed <= set(REFUSED)


def test_a_silent_node_that_may_be_the_primary_is_named_when_it_is_accepted():
    made = plan(group(silent(1), orphan(2), orphan(3)), replace(LEFT_OUT, accept_split=True))
    assert made.proof == "keydb-1 may still take writes"
    assert made.warnings[0] == "accepted by accept_split: keydb-1 may still take writes"


def test_a_silent_node_whose_server_is_stopped_needs_no_more_than_its_leave():
    made = plan(group(silent(1, "refused", stopped=True), orphan(2), orphan(3)), LEFT_OUT)
    assert made.proof == "no server process runs on keydb-1"


def test_a_silent_node_beside_a_primary_that_answers_needs_no_more_than_its_leave():
    without_3 = replace(YES, allow_unread=frozenset({"keydb-3"}))
    assert isinstance(plan(group(primary(1), replica(2), silent(3)), without_3), Plan)


def test_the_number_of_keys_that_would_be_lost_is_told():
    answer = plan(HEALTHY, Request(), held={"keydb-3": Held(1234)})
    assert "keydb-3 holds 1,234 keys, which would be replaced by the 50 of 2026-01-02T03:04:05Z" in answer.sentence
    assert "accept_replace=yes" in answer.hint


@pytest.mark.parametrize(
    "mine, its, fits",
    [("6.3.4", "6.3.4", True), ("6.10.0", "6.9.9", True), ("7.0", "6.3.4", True), ("6.3.3", "6.3.4", False),
     ("", "6.3.4", False), ("6.3.4", "", False), ("6.3.4-rc1", "6.3.4", False), ("6.3.4", "unstable", False)],
)  # fmt: skip
def test_a_version_that_is_older_or_can_not_be_compared_is_refused(mine, its, fits):
    answer = plan(group(primary(1), replica(2, version=mine)), source=replace(SOURCE, version=its))
    assert isinstance(answer, Plan) is fits


def test_unknown_room_is_tried_and_enough_room_is_three_files():
    assert isinstance(plan(HEALTHY, held={"keydb-2": Held(5, None, None)}), Plan)
    assert isinstance(plan(HEALTHY, held={"keydb-2": Held(5, None, 3000)}), Plan)


# A run died behind its promotion


def restored(number, **changes):
    fields = {"replication_id": stream("c"), "epoch": 2, "previous_replication_id": stream("e"), "second_offset": 90}
    return primary(number, **{**fields, **changes})


DIED = group(primary(1, paused=True), restored(2), replica(3, 1), proxy(1))
MARKED = {"keydb-2": Held(50, SHA, 10**6)}
SETTLED = group(
    restored(2, previous_replication_id="0" * 40, second_offset=-1),
    replica(1, 2, replication_id=stream("c")),
    replica(3, 2, replication_id=stream("c")),
    proxy(2),
)


def test_the_same_restore_again_finishes_and_restores_nothing_twice():
    made = plan(DIED, held=MARKED)
    acts = lines(made)
    assert (made.verb, made.primary) == ("restore", "keydb-2")
    assert acts[0] == "EndOffer keydb-2"
    assert not [one for one in acts if one.startswith(("PutBackup", "LoadBackup", "Promote", "Compare"))]
    assert acts.index("Guard keydb-1") < acts.index("SaveData keydb-1") < acts.index("Follow keydb-1")
    for node in ("keydb-1", "keydb-3"):
        assert acts.index(f"InSync {node}") == acts.index(f"Follow {node}") + 1
    assert [step for step in made.steps if isinstance(step, Unpause)]
    assert RecordLineage("keydb-2", 1) in made.steps
    assert plan(DIED, replace(YES, to="keydb-2", save="fetch", compare="listed"), held=MARKED) == made


def test_who_is_named_to_load_it_is_not_said_to_have_the_right_data():
    emptied = group(restored(2, epoch=None), guarded(1), guarded(3))
    answer = plan(emptied, replace(YES, to="keydb-2"), held=MARKED)
    assert (answer.code, answer.where) == ("lost-history", "keydb-2")


def test_the_steps_have_what_they_need():
    made, beside = plan(HEALTHY), replica(2).address
    assert LoadBackup("keydb-2", 60.0) in made.steps
    assert PutBackup("keydb-2", "b.rdb", SHA, 1000) in made.steps
    assert SaveData("keydb-1", "node", "") in made.steps
    for node in ("keydb-1", "keydb-3"):
        assert InSync(node, "keydb-2", beside, 60.0) in made.steps


def test_what_a_node_holds_is_saved_on_it_before_it_is_replaced():
    assert SaveData("keydb-1", "node", "") in plan(group(primary(1))).steps
    nobody = plan(group(guarded(1), guarded(2), guarded(3))).steps
    for node in ("keydb-1", "keydb-2", "keydb-3"):
        assert SaveData(node, "node", "") in nobody


LEFT = Held(50, None, 10**6, offer=True)


def test_what_a_run_that_died_left_on_another_node_is_ended_first():
    left = {"keydb-2": LEFT, "keydb-3": LEFT}
    assert lines(plan(HEALTHY, held=left))[:2] == ["EndOffer keydb-3", "PutBackup keydb-2"]
    assert lines(plan(DIED, held=MARKED | {"keydb-3": LEFT}))[:2] == ["EndOffer keydb-2", "EndOffer keydb-3"]


def test_it_is_ended_even_if_nothing_else_is_left():
    for left in ({"keydb-3": LEFT}, {"keydb-2": replace(MARKED["keydb-2"], offer=True)}):
        made = plan(SETTLED, held=MARKED | left)
        ended = [line for line in lines(made) if line.startswith("EndOffer ")]
        assert f"EndOffer {next(iter(left))}" in ended
        assert lines(made) == [*ended, "VerifyWrite proxy-1"]
        assert (made.verb, made.group, made.primary, made.former) == ("restore", "demo", "keydb-2", "keydb-2")
        assert made.loss == Loss(0, "no role moves, and no data are replaced")
        assert (made.proof, made.gap) == ("keydb-2 is the only primary", "nobody waits")


def test_to_finish_needs_the_same_leave():
    answer = plan(DIED, Request(), held=MARKED)
    assert (answer.code, answer.where) == ("unrelated", "keydb-3")


def test_once_all_follow_nothing_is_left_and_again_must_be_asked_for():
    answer = plan(SETTLED, held=MARKED)
    assert isinstance(answer, NothingToDo)
    assert (answer.code, answer.where) == ("already-restored", "demo")
    assert answer.sentence.startswith("the data descend from the backup of 2026-01-02T03:04:05Z, and everybody follows")
    assert "accept_again=yes" in answer.sentence
    again = plan(SETTLED, replace(YES, accept_again=True), held=MARKED)
    assert lines(again)[0] == "PutBackup keydb-1"
    other = plan(SETTLED, held={"keydb-2": Held(50, "6" * 64, 10**6)})
    assert lines(other)[0] == "PutBackup keydb-1"


def test_each_replica_is_waited_for_before_the_next_begins():
    address = primary(1).address
    follow = [Follow(f"keydb-{number}", "keydb-1", address) for number in (2, 3)]
    wait = [InSync(f"keydb-{number}", "keydb-1", address, 60.0) for number in (2, 3, 4)]
    write = VerifyWrite("proxy-1", "keydb-1", "run-1", 5.0)
    assert one_at_a_time((*follow, *wait, write)) == (follow[0], wait[0], follow[1], wait[1], wait[2], write)
    assert one_at_a_time((follow[0], write)) == (follow[0], write)


def test_a_service_is_moved_right_behind_the_promotion_and_clients_left_at_the_old_primary_are_ended():
    made = plan(group(primary(1), replica(2), replica(3), service(1)))
    told = lines(made)
    assert told[told.index("PromoteRestored keydb-2") + 1] == "MoveService keydb-write"
    assert told.index("EndStragglers keydb-1") < told.index("Follow keydb-1")
    assert told[-3:-1] == ["ServiceLeads keydb-write", "EndLatecomers keydb-1"]
    assert made.steps[-1] == LabelPods("keydb-write", "keydb-2", ("keydb-1", "keydb-3"))
    assert "service-not-movable" in str(plan(group(primary(1), replica(2), service(1, movable=False))))

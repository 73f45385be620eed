"""Failover: its proof, its candidate, its refusals word for word, and what a re-run does after a death anywhere."""

from dataclasses import replace

import pytest
from worlds import (
    GOOD,
    World,
    address,
    codes,
    fenced,
    group,
    guarded,
    lines,
    link,
    orphan,
    primary,
    promoted,
    proxy,
    replica,
    service,
    silent,
    silent_proxy,
    stream,
)

from keydb_runbooks.runbooks import failover, rejoin
from keydb_runbooks.runbooks.findings import find
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.proxy import UnreadProxy
from keydb_runbooks.runbooks.replication import Role
from keydb_runbooks.runbooks.silence import Proof, prove_silence, when_it_wakes
from keydb_runbooks.runbooks.steps import Follow, InSync, Promote, RecordLineage, Route, SaveConfiguration, VerifyWrite

ANY = Request()
SPLIT = Request(accept_split=True)
DEAD = silent(1, "refused", stopped=True)
GONE = (DEAD, orphan(2), orphan(3), proxy())


def decide(*members, request=ANY, **changes):
    return failover.plan(group(*members, **changes), request, 1)


def test_the_order_of_a_failover():
    assert lines(decide(*GONE)) == [
        "Promote keydb-2",
        "RecordLineage keydb-2",
        "SaveConfiguration keydb-2",
        "Follow keydb-3",
        "Route proxy-1",
        "InSync keydb-3",
        "VerifyWrite proxy-1",
    ]


def test_each_step_of_a_failover_names_all_that_it_needs():
    assert decide(*GONE).steps == (
        Promote("keydb-2", 2, 1),
        RecordLineage("keydb-2", 1),
        SaveConfiguration("keydb-2"),
        Follow("keydb-3", "keydb-2", address(2)),
        Route("proxy-1", "demo-write", "keydb-2", ("keydb-1", "keydb-3")),
        InSync("keydb-3", "keydb-2", address(2), 60.0),
        VerifyWrite("proxy-1", "keydb-2", "run-2", 5.0),
    )


def test_the_others_are_attached_by_name():
    steps = lines(decide(orphan(4), orphan(3), orphan(2), DEAD))
    assert [step for step in steps if step.startswith("Follow")] == ["Follow keydb-3", "Follow keydb-4"]


def test_what_a_failover_says_of_itself():
    plan = decide(*GONE)
    assert (plan.verb, plan.group) == ("failover", "demo")
    assert (plan.primary, plan.former, plan.undo, plan.warnings) == ("keydb-2", "keydb-1", (), ())
    assert str(plan.loss) == "unknown (keydb-1 can't be read, so what it acknowledged last can't be counted)"
    assert plan.proof == "no server process runs on keydb-1"
    made_of = "8 round trips and 2 configuration files to save, by the round trips measured just now"
    assert plan.gap == f"since the primary went; it ends when the routes have moved: about 17 ms ({made_of})"


# (members, request, the predicted loss)
LOSSES = [
    (GONE, ANY, "unknown (keydb-1 can't be read, so what it acknowledged last can't be counted)"),
    ((DEAD, guarded(2)), ANY, "unknown (keydb-1 can't be read, so what was acknowledged last can't be counted)"),
    ((guarded(2), guarded(3)), ANY, "unknown (no primary answers, so what was acknowledged last can't be counted)"),
    (
        (guarded(2, keys=4, condition=replace(GOOD, uptime_seconds=1057)), guarded(3)),
        ANY,
        "unknown (no primary answers, so what was acknowledged last can't be counted; keydb-2 holds 4 keys, "
        "runbook:* among them: its server was started 1,057 s ago, with what it had saved)",
    ),
]


@pytest.mark.parametrize("members, request_, loss", LOSSES)
def test_what_nobody_can_count_is_unknown_and_never_nothing(members, request_, loss):
    assert str(decide(*members, request=request_).loss) == loss


def test_a_proxy_that_need_not_answer_is_left_to_its_own_checks():
    plan = decide(*GONE[:3], silent_proxy(), request=Request(allow_unread=frozenset({"proxy-1"})))
    assert not [line for line in lines(plan) if "proxy-1" in line]


def test_the_epoch_grows_by_one_over_all_that_answer():
    plan = decide(DEAD, orphan(2, epoch=None), orphan(3, epoch=6))
    assert Promote("keydb-3", 7, 1) in plan.steps


def test_nodes_that_a_dead_run_left_paused_are_released_before_anything_else():
    plan = decide(DEAD, orphan(2, paused=True), orphan(3, paused=True))
    assert lines(plan)[:3] == ["Unpause keydb-2", "Unpause keydb-3", "Promote keydb-2"]


def test_a_node_that_is_loading_is_left_for_rejoin():
    plan = decide(DEAD, orphan(2), orphan(3, loading=True), request=Request(accept_loss=frozenset({"keydb-3"})))
    assert not [line for line in lines(plan) if "keydb-3" in line]


def test_the_last_node_is_promoted_so_that_it_takes_writes_and_says_so():
    plan = decide(DEAD, orphan(2))
    assert [step.min_replicas for step in plan.steps if isinstance(step, Promote)] == [0]
    assert [warning.partition(",")[0] for warning in plan.warnings] == ["nobody follows it at once"]


# (members, why the silent ones acknowledge nothing or why that is unknown)
SILENCE = [
    ((guarded(2), guarded(3)), {}, True, "every node answers and none is a primary"),
    # keydb-1 was taken out of the inventory: nobody looked whether it takes writes.
    ((orphan(2), orphan(3)), {}, False, "keydb-2 follows 10.0.0.1:6379 and keydb-3 follows 10.0.0.1:6379, which is no node of demo and may still take writes"),
    ((DEAD, orphan(2), orphan(3, 9)), {}, False, "keydb-3 follows 10.0.0.9:6379, which is no node of demo and may still take writes"),
    ((DEAD, orphan(2)), {}, True, "no server process runs on keydb-1"),
    ((silent(1), orphan(2)), {}, False, "keydb-1 may still take writes"),
    ((silent(1), silent(3), orphan(2)), {}, False, "keydb-1 and keydb-3 may still take writes"),
    ((silent(1), orphan(2), proxy()), {"clients_only_through_proxies": True}, True, "clients can't go around the proxies, and none of these leads to keydb-1"),
    ((silent(1), orphan(2), proxy()), {}, False, "keydb-1 may still take writes"),
    ((silent(1), orphan(2), proxy(1)), {"clients_only_through_proxies": True}, False, "keydb-1 may still take writes"),
    ((silent(1), orphan(2), proxy(), proxy(1, number=2)), {"clients_only_through_proxies": True}, False, "keydb-1 may still take writes"),
    ((silent(1), orphan(2), proxy(), silent_proxy(2)), {"clients_only_through_proxies": True}, False, "keydb-1 may still take writes"),
    ((silent(1), orphan(2)), {"clients_only_through_proxies": True}, False, "keydb-1 may still take writes"),
    ((DEAD, silent(3), orphan(2)), {}, False, "keydb-3 may still take writes"),
]  # fmt: skip


@pytest.mark.parametrize("members, changes, sufficient, sentence", SILENCE)
def test_a_proof_that_the_silent_nodes_acknowledge_nothing(members, changes, sufficient, sentence):
    proof = prove_silence(group(*members, **changes))
    assert (proof.sufficient, proof.sentence) == (sufficient, sentence)


def test_a_route_that_is_down_but_still_has_sessions_proves_nothing():
    """Idle connections survive maint, drain and down (keydb-facts, "HAProxy in front")."""
    seen = group(silent(1), orphan(2), proxy(sessions=3), clients_only_through_proxies=True)
    assert prove_silence(seen) == Proof(
        False, "the proxies still hold 3 sessions to keydb-1, which may take writes", passing=True
    )


def test_a_service_that_is_moved_proves_nothing():
    told = "keydb-1 may still take writes: moving the Service leaves connections that are open where they are"
    assert prove_silence(group(silent(1), orphan(2), service(1))) == Proof(False, told, blind=True)


def test_going_on_without_a_proof_is_said_in_the_plan():
    plan = decide(silent(1), orphan(2), orphan(3), request=SPLIT)
    assert plan.warnings == ("accepted by accept_split: keydb-1 may still take writes",)


# (members, request, the node that is chosen)
CHOICES = [
    ((DEAD, orphan(2), orphan(3)), ANY, "keydb-2"),
    ((DEAD, orphan(2, offset=990), orphan(3)), ANY, "keydb-3"),
    ((DEAD, orphan(2), orphan(3, priority=50)), ANY, "keydb-3"),
    ((DEAD, orphan(2, priority=0), orphan(3)), ANY, "keydb-3"),
    ((DEAD, orphan(2, keys=0), orphan(3)), ANY, "keydb-3"),
    ((DEAD, orphan(2, links=(link(1, up=False, syncing=True),), keys=0), orphan(3)), ANY, "keydb-3"),
    ((DEAD, orphan(2), orphan(3)), Request(to="keydb-3"), "keydb-3"),
    ((DEAD, orphan(2), orphan(3, keys=0, offset=1100)), ANY, "keydb-2"),
    ((DEAD, orphan(2, epoch=None), orphan(3)), ANY, "keydb-3"),
    ((DEAD, orphan(2, offset=990), orphan(3)), Request(to="keydb-2", accept_loss=frozenset({"keydb-3"})), "keydb-2"),
    ((DEAD, guarded(2), guarded(3, offset=1100)), ANY, "keydb-3"),
    (
        (DEAD, orphan(2, offset=990, priority=50), orphan(3)),
        Request(accept_loss=frozenset({"keydb-3"})),
        "keydb-3",
    ),
    # keydb-3 followed a promotion that keydb-2 never heard of: it has more, though its offset is lower.
    ((DEAD, orphan(2, offset=900), orphan(3, replication_id=stream("b"), previous_replication_id=stream("a"), second_offset=901, offset=950)), ANY, "keydb-3"),
]  # fmt: skip


@pytest.mark.parametrize("members, request_, chosen", CHOICES)
def test_the_node_with_the_most_data_of_one_lineage_is_chosen(members, request_, chosen):
    assert decide(*members, request=request_).primary == chosen


def to(number, *accepted):
    return Request(to=f"keydb-{number}", accept_loss=frozenset(accepted))


WAIT = "wait until status says that it is done"
FENCE = "stop its server or its machine, then this again (last resort: accept_split=yes, and its writes from now on are lost)"
REFUSALS = [
    ((DEAD, orphan(2, cluster=True)), ANY, "refused: cluster-mode keydb-2: runs in cluster mode; use CLUSTER FAILOVER there"),
    ((silent(1, "refused", stopped=True),), ANY, "refused: no-node-answers demo: keydb-1: does not answer within 2 s; run start, which starts all of them, guarded; then this again"),
    ((DEAD, orphan(2), UnreadProxy("proxy-1", "refused", "is not there")), ANY, "refused: proxy-refused proxy-1: is not there; run start, or allow_unread=proxy-1 to leave it to its own checks"),
    ((silent(1), silent(2)), ANY, "refused: no-node-answers demo: keydb-1: does not answer within 2 s; keydb-2: does not answer within 2 s; run start, which starts guarded what doesn't run, or mend the way to them; then this again"),
    (GONE, to(9), "refused: unknown-target keydb-9: is no node of demo; allowed are keydb-1, keydb-2, keydb-3"),
    ((DEAD, orphan(2), silent_proxy()), ANY, "refused: proxy-no-socket proxy-1: has no runtime socket; mend that, or allow_unread=proxy-1 to leave it to its own checks"),
    ((fenced(primary(1)), replica(2)), ANY, "refused: primary-fenced keydb-1: is the primary and answers, but is fenced: it takes no writes; run switchover, or unfence node=keydb-1"),
    ((DEAD, fenced(orphan(2))), ANY, "refused: target-fenced keydb-2: is fenced: as the primary it would refuse every write; run unfence node=keydb-2, or choose another target"),
    ((silent(1, "wrong-password"), orphan(2)), SPLIT, "refused: node-wrong-password keydb-1: does not answer within 2 s; set the password that the server has; a server that answers is not gone"),
    ((primary(1), primary(2)), ANY, "refused: two-primaries demo: keydb-1 and keydb-2 are primaries, and neither lineage nor epoch tells which is the rightful one; stop the one whose writes you can spare, then rejoin"),
    ((primary(1), replica(2)), to(2), "refused: primary-answers keydb-1: is the primary and answers; run switchover to=keydb-2"),
    ((promoted(2), orphan(3, 1), silent(1)), ANY, f"refused: not-fenced old primary: keydb-1 may still take writes; {FENCE}"),
    ((silent(1), replica(2), orphan(3)), SPLIT, "refused: still-followed keydb-2: still follows keydb-1 (link up, heard 1 s ago): it is not gone; mend the way from here to keydb-1 (a pod's: the kubelet of its node), or wait 3 s and look again"),
    ((replica(2, 9), orphan(3)), ANY, "refused: still-followed keydb-2: still follows 10.0.0.9:6379 (link up, heard 1 s ago): it is not gone; mend the way from here to 10.0.0.9:6379 (a pod's: the kubelet of its node), or wait 3 s and look again"),
    ((silent(1), replica(2, 3), replica(3)), SPLIT, "refused: still-followed keydb-3: still follows keydb-1 (link up, heard 1 s ago): it is not gone; mend the way from here to keydb-1 (a pod's: the kubelet of its node), or wait 3 s and look again"),
    ((silent(1), orphan(2), orphan(3)), ANY, f"refused: not-fenced old primary: keydb-1 may still take writes; {FENCE}"),
    (GONE, to(1), "refused: target-unread keydb-1: does not answer; choose another target"),
    ((DEAD, orphan(2, loading=True)), ANY, f"refused: loading keydb-2: is loading its data; {WAIT}"),
    ((DEAD, orphan(2, priority=0)), ANY, "refused: target-never-primary keydb-2: has replica-priority 0: it must never be the primary; choose another target, or change its priority"),
    ((DEAD, orphan(2, links=(link(1, up=False, syncing=True),))), ANY, "refused: target-not-whole keydb-2: was cut off in the middle of a full resync: its data are not whole; choose another target"),
    ((DEAD, orphan(2), orphan(3, loading=True)), to(2), f"refused: loading keydb-2: nobody can tell whether keydb-3 has more, since it is loading its data; {WAIT}"),
    ((DEAD, orphan(2, keys=0), orphan(3)), to(2), "refused: target-empty keydb-2: holds no keys, but keydb-3 does; use to=keydb-3"),
    ((DEAD, orphan(2, keys=0), orphan(3)), to(2, "keydb-3"), "refused: target-empty keydb-2: holds no keys, but keydb-3 does; use to=keydb-3"),
    ((DEAD, orphan(2), orphan(3, replication_id=stream("f"))), to(2), "refused: unrelated keydb-2: shares no known history with keydb-3, so nobody can tell who has more; accept_loss=keydb-3 if you can spare what it holds"),
    ((DEAD, orphan(2, offset=990), orphan(3)), to(2), "refused: target-behind keydb-2: keydb-3 holds writes that it lacks; use to=keydb-3, or accept_loss=keydb-3 if you can spare them"),
    ((DEAD, orphan(2), orphan(3, replication_id=stream("b"), previous_replication_id=stream("a"), second_offset=1001)), to(2), "refused: target-behind keydb-2: the data of keydb-3 come from a later stream, and may hold more; use to=keydb-3, or accept_loss=keydb-3 if you can spare them"),
    ((DEAD, orphan(2, memory_used=9, memory_limit=9)), ANY, "refused: memory-full keydb-2: uses 9 bytes of 9: as the primary it would refuse every write; raise keydb_maxmemory, or choose another target"),
    ((silent(1), guarded(2)), SPLIT, "refused: target-returned keydb-2: was restarted, and keydb-1, which can't be read, may follow its address and hold more; reach or stop keydb-1, or accept_loss=keydb-1"),
    ((silent(1), guarded(2, keys=0)), SPLIT, "refused: target-empty keydb-2: was restarted and holds no keys, and keydb-1, which can't be read, may follow its address; reach or stop keydb-1; if it is lost for good, take it out of the inventory"),
    ((silent(1), orphan(2, keys=0)), SPLIT, "refused: target-returned keydb-2: holds no keys, and keydb-1, which can't be read, may follow its address and hold more; reach or stop keydb-1, or accept_loss=keydb-1"),
    ((DEAD, orphan(2, role=Role.ACTIVE_REPLICA)), ANY, "refused: active-replica keydb-2: runs in active-replica mode, where every node takes writes; set active-replica no and restart it first"),
]  # fmt: skip


@pytest.mark.parametrize("members, request_, sentence", REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(members, request_, sentence):
    answer = decide(*members, request=request_)
    assert isinstance(answer, Refusal) and str(answer) == sentence


def test_every_refusal_of_a_failover_has_a_case():
    cases = {sentence.split()[1] for _, _, sentence in REFUSALS}
    told = codes("Refusal", "failover")
    assert {code for code in told if not any(case.startswith(code.rstrip("*")) for case in cases)} == set()


def test_a_primary_that_answers_and_is_followed_is_nothing_to_do():
    answer = decide(primary(1), replica(2), proxy(1, nodes=2))
    assert isinstance(answer, NothingToDo) and answer.code == "already-primary"


def test_the_primary_of_a_group_that_holds_nothing_is_nothing_to_replace():
    answer = decide(primary(1, keys=0), replica(2, keys=0))
    assert isinstance(answer, NothingToDo) and answer.code == "already-primary"


LEFT_OUT = (
    "keydb-1 is left out, and takes no writes: it holds some that only it has; "
    "rejoin accept_loss=keydb-1 saves and attaches it"
)


def test_what_only_a_returned_node_holds_stands_in_nobody_s_way_and_is_left_to_rejoin():
    answer = decide(promoted(2), guarded(1, offset=1234), request=Request(accept_loss=frozenset({"keydb-1"})))
    assert isinstance(answer, NothingToDo)
    told = "is the primary, and every proxy that answers sends writes to it"
    assert str(answer) == f"nothing to do: already-primary keydb-2: {told}; {LEFT_OUT}"


def test_a_second_primary_that_holds_something_alone_stops_to_write_and_is_not_attached():
    members = (promoted(2), primary(1, offset=1234), replica(3, offset=1234), proxy(2))
    plan = decide(*members, request=Request(accept_loss=frozenset({"keydb-1", "keydb-3"})))
    assert lines(plan) == [
        "Guard keydb-3",
        "Guard keydb-1",
        "Route proxy-1",
        "EndSessions keydb-1",
        "VerifyWrite proxy-1",
    ]
    assert plan.warnings == (LEFT_OUT, LEFT_OUT.replace("keydb-1", "keydb-3"))[::-1]
    assert str(plan.loss) == "0 bytes (nobody who is attached holds anything that the primary lacks)"


def test_who_holds_more_than_the_candidate_is_left_out_and_the_others_are_attached():
    more = orphan(3, offset=1100)
    plan = decide(DEAD, orphan(2), more, orphan(4), request=to(2, "keydb-3"))
    steps = lines(plan)
    assert steps[3:5] == ["Guard keydb-3", "Follow keydb-4"]
    assert "InSync keydb-3" not in steps
    assert plan.warnings == (LEFT_OUT.replace("keydb-1", "keydb-3"),)
    assert Promote("keydb-2", 2, 1) in plan.steps


def test_if_nobody_is_left_to_follow_the_candidate_takes_writes_alone():
    plan = decide(DEAD, orphan(2), orphan(3, offset=1100), request=to(2, "keydb-3"))
    assert Promote("keydb-2", 2, 0) in plan.steps
    assert any("nobody follows it at once" in warning for warning in plan.warnings)


def test_a_frozen_primary_is_not_called_gone_while_a_replica_still_hears_it():
    assert decide(silent(1), replica(2), orphan(3), request=SPLIT).code == "still-followed"


def test_a_frozen_primary_is_gone_once_every_replica_heard_nothing_for_three_seconds():
    quiet = link(1, last_io_seconds=3)
    answer = decide(silent(1), replica(2, links=(quiet,)), replica(3, links=(quiet,)), request=SPLIT)
    assert isinstance(answer, Plan)


def test_replicas_that_follow_each_other_are_no_sign_of_a_living_primary():
    assert isinstance(decide(DEAD, orphan(2), replica(3, 2)), Plan)


STEPS = lines(decide(*GONE))
DEATHS = [pytest.param(done, id=f"{done}-then-dead-before-{step}") for done, step in enumerate([*STEPS, "the end"])]


def dead_run(done):
    world = World(primary(1), replica(2), replica(3))
    world.kill("keydb-1")
    world.perform(failover.plan(world.topology(), ANY, 1).steps[:done])
    world.pass_time()
    return world


def finish(world):
    for _ in range(3):
        answer = failover.plan(world.topology(), ANY, 1)
        if not isinstance(answer, Plan):
            assert isinstance(answer, NothingToDo), answer
            return world
        world.perform(answer.steps)
    raise AssertionError("three runs were not enough")


@pytest.mark.parametrize("done", DEATHS)
def test_run_again_after_any_death_a_failover_ends_with_one_writer(done):
    world = finish(dead_run(done))
    assert (world.writers, world.route) == (["keydb-2"], {"keydb-2"})
    assert list(world.servers["keydb-2"].log) == world.acknowledged


@pytest.mark.parametrize("done", DEATHS)
def test_run_again_after_any_death_every_role_is_saved_on_disk(done):
    world = finish(dead_run(done))
    assert [world.servers[name].disk for name in ("keydb-2", "keydb-3")] == ["", "10.0.0.2 6379"]


def test_the_old_primary_that_returns_guarded_is_attached_by_rejoin():
    world = finish(dead_run(0))
    old = world.servers["keydb-1"]
    old.alive, old.node = True, replace(guarded(1), offset=1000)
    world.perform(rejoin.plan(world.topology(), ANY, 1).steps)
    assert find(world.topology()) == ()


FORKED = {"replication_id": stream("b"), "previous_replication_id": stream("a"), "second_offset": 901, "epoch": 2}


@pytest.mark.parametrize("old_offset", [940, 1000])
@pytest.mark.parametrize("target", [1, 3])
def test_of_two_lines_that_both_hold_writes_of_their_own_a_person_chooses(old_offset, target):
    """keydb-1 woke up and went on after keydb-2 was promoted at 900; keydb-3 followed keydb-2, which is dead."""
    members = (guarded(1, offset=old_offset), silent(2, "refused", stopped=True), orphan(3, of=2, offset=950, **FORKED))
    assert isinstance(decide(*members), Refusal)
    other = {1: "keydb-3", 3: "keydb-1"}[target]
    plan = decide(*members, request=to(target, other))
    assert isinstance(plan, Plan) and plan.primary == f"keydb-{target}"


def test_the_line_of_the_newest_promotion_is_asked_for_first():
    members = (guarded(1, offset=1000), silent(2, "refused", stopped=True), orphan(3, of=2, offset=950, **FORKED))
    assert "accept_loss=keydb-1" in str(decide(*members))


def test_who_points_to_the_candidate_and_holds_more_is_sent_nowhere_before_the_promotion():
    more = replica(3, 2, offset=1100, links=(link(2, up=False),))
    plan = decide(DEAD, orphan(2), more, orphan(4), request=to(2, "keydb-3"))
    assert lines(plan)[:4] == ["Guard keydb-3", "Promote keydb-2", "RecordLineage keydb-2", "SaveConfiguration keydb-2"]
    assert lines(plan).count("Guard keydb-3") == 1


def test_who_is_given_up_without_a_look_is_told_in_the_plan():
    given_up = Request(accept_split=True, accept_loss=frozenset({"keydb-1"}))
    told = (
        "keydb-1 may follow keydb-2 already: when it wakes it is made a copy of it, and what keydb-1 alone holds is "
        "gone, saved by nobody (accepted by accept_loss)"
    )
    assert told in decide(silent(1), guarded(2), request=given_up).warnings
    assert told not in decide(silent(1), orphan(2), request=given_up).warnings
    empty = decide(silent(1), guarded(2, keys=0), request=given_up)
    assert isinstance(empty, Refusal) and empty.code == "target-empty"


STOP = "stop server or machine there, now or soon"
LEASE = "writes that get there are acknowledged, and lost, until its replicas have left it, which takes milliseconds"
LEASE_OF_KEYDB = f"{LEASE} (a script's on KeyDB: until it is demoted)"
FOLLOWED = (
    "writes that get there are acknowledged, and lost, until one of them is demoted, if the others still follow it"
)
NO_LEASE = (
    "writes that get there are acknowledged, and lost, until it is demoted, since keydb_min_replicas_to_write is 0"
)


@pytest.mark.parametrize(
    "members, min_replicas, told",
    [
        ((silent(1), orphan(2)), 1, (f"keydb-1 is not stopped: when it wakes, {LEASE_OF_KEYDB}",)),
        ((silent(1), orphan(2, engine="valkey")), 1, (f"keydb-1 is not stopped: when it wakes, {LEASE}",)),
        ((silent(1), orphan(2)), 0, (f"keydb-1 is not stopped: when it wakes, {NO_LEASE}",)),
        ((silent(1), orphan(2), silent(3)), 1, (f"keydb-1 and keydb-3 are not stopped: when they wake, {FOLLOWED}",)),
        (
            (silent(1), orphan(2), silent(3)),
            2,
            (f"keydb-1 and keydb-3 are not stopped: when they wake, {LEASE_OF_KEYDB}",),
        ),
        ((DEAD, orphan(2), silent(3)), 1, (f"keydb-3 is not stopped: when it wakes, {LEASE_OF_KEYDB}",)),
        ((DEAD, orphan(2)), 0, ()),
    ],
)
def test_what_nobody_can_prove_of_who_is_not_stopped_is_told(members, min_replicas, told):
    assert when_it_wakes(group(*members), min_replicas) == tuple(f"{one}; {STOP}" for one in told)


def test_a_failover_over_a_frozen_primary_tells_what_that_does_when_it_wakes():
    plan = decide(silent(1), orphan(2), orphan(3), proxy(), clients_only_through_proxies=True)
    assert plan.warnings == (f"keydb-1 is not stopped: when it wakes, {LEASE_OF_KEYDB}; {STOP}",)

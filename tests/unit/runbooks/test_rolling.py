"""Restart: who is restarted in which order, what is refused before anybody is, and that the rest is the same plan."""

from dataclasses import replace

import pytest
from worlds import (
    GOOD,
    ROOMY,
    address,
    broken,
    codes,
    fenced,
    group,
    guarded,
    lines,
    orphan,
    primary,
    promoted,
    proxy,
    replica,
    silent,
    stream,
    virgin,
)

from keydb_runbooks.runbooks import restart
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request, Since
from keydb_runbooks.runbooks.steps import RecordLineage, Unpause
from keydb_runbooks.runbooks.steps_restart import BackInSync, Restart, RestartAlone

NOW = Since(1000.0, "2026-01-02T03:04:05Z")
ALL = Request(since=NOW)
OLD, YOUNG = replace(GOOD, began_seconds=10.0, uptime_seconds=990), replace(GOOD, began_seconds=1001.0)
AOF = replace(OLD, aof=True)


def asked(*members, request=ALL, min_replicas=1):
    return restart.plan(group(*members), request, min_replicas)


def old(node):
    return replace(node, condition=OLD)


def young(node):
    return replace(node, condition=YOUNG, run_id=f"new-{node.name[-1]}")


THREE = (old(primary(1)), old(replica(2)), old(replica(3)), proxy(1))
SWITCH = [
    "ComeClose keydb-2",
    "Pause keydb-1",
    "CatchUp keydb-2",
    "Pause keydb-1",
    "CatchUp keydb-2",
    "Promote keydb-2",
    "RecordLineage keydb-2",
    "SaveConfiguration keydb-2",
    "Follow keydb-3",
    "Follow keydb-1",
    "Route proxy-1",
    "EndSessions keydb-1",
    "Unpause keydb-1",
    "InSync keydb-1",
    "InSync keydb-3",
    "VerifyWrite proxy-1",
]


def turn(node):
    return [f"LookAgain keydb-{node}", f"Restart keydb-{node}", f"BackInSync keydb-{node}"]


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(lambda node: replace(node, machine=replace(ROOMY, descriptor="closed")), id="closed"),
        pytest.param(lambda node: replace(node, condition=replace(OLD, client_descriptor=True)), id="a-clients"),
        pytest.param(
            lambda node: replace(node, machine=None, condition=replace(OLD, client_descriptor=True)), id="no-machine"
        ),
    ],
)
def test_a_replica_whose_descriptor_0_is_gone_has_it_again_when_it_takes_the_role(member):
    worn = member(old(replica(2)))
    plan = asked(old(primary(1)), worn, member(old(replica(3))), proxy(1))
    assert (plan.primary, lines(plan)) == ("keydb-2", [*turn(2), *turn(3), "LookAgain keydb-1", *SWITCH, *turn(1)])
    assert not any("descriptor 0" in warning for warning in plan.warnings)
    # Who is left alone goes on without it.
    left = replace(worn, condition=replace(worn.condition, began_seconds=1001.0))
    refused = asked(old(primary(1)), left, proxy(1))
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.where) == ("descriptor-target", "keydb-2")


def test_replicas_come_first_and_the_primary_last_behind_a_switchover():
    plan = asked(*THREE)
    assert lines(plan) == [*turn(2), *turn(3), "LookAgain keydb-1", *SWITCH, *turn(1)]
    assert (plan.former, plan.primary, plan.undo[0].where) == ("keydb-1", "keydb-2", "keydb-1")
    restarts = {step.where: (step.run_id, step.primary) for step in plan.steps if isinstance(step, Restart)}
    assert restarts == {
        "keydb-2": ("run-2", "keydb-1"),
        "keydb-3": ("run-3", "keydb-1"),
        "keydb-1": ("run-1", "keydb-2"),
    }
    assert [step for step in plan.steps if isinstance(step, BackInSync)] == [
        BackInSync("keydb-2", "keydb-1", address(1)),
        BackInSync("keydb-3", "keydb-1", address(1)),
        BackInSync("keydb-1", "keydb-2", address(2)),
    ]
    assert plan.loss.bytes == 0
    assert plan.again == (("since", "2026-01-02T03:04:05Z"),)
    assert plan.gap.startswith("writers wait while the role moves: ")
    assert next(str(item) for item in plan.evidence) == "the operator: keydb-1 runs KeyDB 6.3.4 for 990 s"


def test_the_new_primary_is_another_process_by_then():
    assert [step.primary_run_id for step in asked(*THREE).steps if step.code == "VerifyWrite"] == [None]


def test_a_named_target_takes_over():
    assert asked(*THREE, request=replace(ALL, to="keydb-3")).primary == "keydb-3"


# What is left is the same plan

LATER = [
    (0, THREE),
    (3, (THREE[0], young(replica(2)), *THREE[2:])),
    (6, (THREE[0], young(replica(2)), young(replica(3)), proxy(1))),
    (23, (old(replica(1, 2)), young(primary(2, epoch=2)), young(replica(3, 2)), proxy(2))),
    (26, (young(replica(1, 2)), young(primary(2, epoch=2)), young(replica(3, 2)), proxy(2))),
]


@pytest.mark.parametrize(("done", "members"), LATER)
def test_what_is_left_to_do_is_the_rest_of_the_same_plan(done, members):
    plan, now = asked(*THREE), asked(*members, request=replace(ALL, to="keydb-2" if done < 23 else None))
    if done == len(plan.steps):
        told = "every node was started since 2026-01-02T03:04:05Z; keydb-2 is the primary"
        assert now == NothingToDo("already-done", "demo", told)
    else:
        assert now.steps == plan.steps[done:]


def test_within_a_run_its_own_processes_are_meant_whatever_their_age():
    request = replace(ALL, processes=frozenset({"run-3"}), to="keydb-1")
    plan = asked(*THREE, request=request)
    assert lines(plan) == turn(3)
    assert plan.primary == plan.former == "keydb-1"
    assert plan.gap == "none for clients of the primary; who reads from a replica is sent to another one"


@pytest.mark.parametrize("began", [None, 1000.5])
def test_who_may_have_begun_before_is_restarted(began):
    unsure = replace(replica(3), condition=replace(YOUNG, began_seconds=began))
    plan = asked(young(primary(1)), young(replica(2)), unsure, proxy(1))
    assert lines(plan) == turn(3)
    told = [str(item) for item in plan.evidence]
    assert told[2] == "the operator: keydb-3 runs KeyDB 6.3.4 for an unknown time"
    assert told[0].endswith(", is left alone: it was started since 2026-01-02T03:04:05Z")


def test_what_a_run_that_died_left_is_finished_first():
    plan = asked(old(primary(1, paused=True)), young(guarded(2)), old(replica(3)), proxy(1))
    head = ["Unpause keydb-1", "Follow keydb-2", "InSync keydb-2", "VerifyWrite proxy-1"]
    assert lines(plan)[:7] == [*head, *turn(3)]


def test_half_a_switchover_is_finished_and_the_old_primary_restarted():
    members = (old(primary(1, paused=True)), young(promoted(2, ancestors=())), young(replica(3)), proxy(1))
    plan = asked(*members)
    assert lines(plan)[-3:] == turn(1)
    assert "Follow keydb-1" in lines(plan)
    assert RecordLineage("keydb-2", 1) in plan.steps


def test_pings_behind_half_a_switchover_are_in_nobodys_way_and_anything_else_is():
    def members(more):
        old_primary = old(primary(1, paused=True, offset=1000 + more))
        return old_primary, young(promoted(2)), young(replica(3, offset=1000 + more)), proxy(1)

    plan = asked(*members(28))
    assert lines(plan)[-3:] == turn(1)
    assert [line for line in lines(plan) if line.startswith("SaveIfMore")] == ["SaveIfMore keydb-1"]
    assert plan.loss.bytes == 28
    assert asked(*members(29)).code == "diverged"


def test_whoever_was_the_primary_before_that_may_be_the_next_one():
    plan = asked(young(primary(1, paused=True)), old(promoted(2)), young(replica(3)), proxy(1))
    assert (plan.former, plan.primary) == ("keydb-2", "keydb-1")
    assert lines(plan)[-3:] == turn(2)


def test_what_it_costs_to_finish_that_is_told_as_well():
    new = replace(virgin(4), condition=OLD)
    told = asked(old(primary(1)), old(replica(2)), old(replica(3)), new, proxy(1))
    assert [need.partition(":")[0] for need in told.needs] == [
        "full resync of keydb-4 from keydb-1",
        "full resync of keydb-4 from keydb-2",
    ]
    assert told.warnings[:2] == ("keydb-4 needs a full resync: it holds nothing", *asked(*THREE).warnings[:1])
    assert told.loss.bytes == 0 and "takes no writes until" in told.loss.reason


def test_what_a_silent_node_may_hold_that_was_promoted_is_no_loss_of_nothing():
    halved = (old(primary(1, paused=True)), old(replica(2)), old(replica(3)), silent(4), proxy(1))
    told = asked(*halved, request=replace(ALL, allow_unread=frozenset({"keydb-4"})))
    assert str(told.loss) == "unknown (accepted by you: what keydb-4 may have acknowledged)"


def test_what_was_left_is_finished_though_nobody_is_restarted():
    plan = asked(young(primary(1)), young(guarded(2)), young(replica(3)), proxy(1))
    assert lines(plan) == ["Follow keydb-2", "InSync keydb-2", "VerifyWrite proxy-1"]
    assert (plan.verb, plan.again) == ("restart", (("since", "2026-01-02T03:04:05Z"),))


def test_who_is_out_of_sync_comes_first():
    assert lines(asked(THREE[0], THREE[1], old(orphan(3)), proxy(1), request=replace(ALL, to="keydb-2")))[:3] == turn(3)


# What it costs


def test_a_server_without_save_points_is_saved_first():
    bare = replace(replica(2), condition=replace(OLD, saves=False))
    assert lines(asked(THREE[0], bare, THREE[2], proxy(1)))[:3] == [
        "LookAgain keydb-2",
        "SaveToDisk keydb-2",
        "Restart keydb-2",
    ]


def test_a_start_from_an_aof_needs_a_full_resync_and_that_is_told():
    plan = asked(*(replace(node, condition=AOF) for node in THREE[:3]), proxy(1))
    assert [need.split(",")[0] for need in plan.needs] == [
        "full resync of keydb-2 from keydb-1",
        "full resync of keydb-3 from keydb-1",
        "full resync of keydb-1 from keydb-2",
    ]


def test_two_nodes_say_that_nobody_can_write_meanwhile():
    plan = asked(*THREE[:2], proxy(1, nodes=2))
    told = "nobody can write while a node restarts: who is primary takes writes only with 1 replica; writers wait"
    assert plan.gap.startswith(told)
    assert "only with 2 replicas" in asked(*THREE, min_replicas=2, request=replace(ALL, accept=frozenset({"x"}))).gap


def test_the_only_node_holds_writes_back_restarts_and_is_promoted_again():
    plan = asked(old(primary(1)), proxy(1, nodes=1), min_replicas=0)
    assert lines(plan) == [
        "LookAgain keydb-1",
        "Pause keydb-1",
        "RestartAlone keydb-1",
        "Promote keydb-1",
        "RecordLineage keydb-1",
        "SaveConfiguration keydb-1",
        "Route proxy-1",
        "VerifyWrite proxy-1",
    ]
    assert plan.steps[2] == RestartAlone("keydb-1", "run-1", "KeyDB 6.3.4", None, keys=True)
    assert (plan.primary, plan.former, plan.undo) == ("keydb-1", "keydb-1", (Unpause("keydb-1"),))
    told = "nobody can read or write while keydb-1 restarts and loads its data: no other node can take its role"
    assert (plan.gap, plan.loss.bytes, plan.steps[-1].primary_run_id) == (told, 0, None)
    assert plan.again == (("since", "2026-01-02T03:04:05Z"),)


def test_the_only_node_is_saved_behind_its_last_write_where_it_does_not_save_by_itself():
    bare = replace(primary(1, keys=0), condition=replace(OLD, saves=False))
    plan = asked(bare, proxy(1, nodes=1))
    assert lines(plan)[1:4] == ["Pause keydb-1", "SaveToDisk keydb-1", "RestartAlone keydb-1"]
    assert not plan.steps[3].keys


def test_a_short_backlog_is_told():
    def of(size):
        busy = replace(THREE[0], backlog_size=size, condition=replace(OLD, input_bytes_per_second=100))
        return [warning for warning in asked(busy, *THREE[1:]).warnings if warning.startswith("the backlog")]

    told = "the backlog of keydb-1 holds 59 s of writes at 100 bytes/s: who restarts for longer needs a full resync"
    assert of(5_999) == [told]
    assert of(6_000) == []


# What is refused

FULL = replace(THREE[1], machine=replace(ROOMY, disk_free=10))
FAILING = replace(THREE[1], condition=replace(OLD, saved=False, dumped=False))
REFUSALS = [
    ((silent(1), old(replica(2))), ALL, "node-no-answer keydb-1: does not answer within 2 s; mend that, or allow_unread=keydb-1 if you know that it is no primary"),
    ((*THREE[:2], silent(3, "refused", stopped=True), proxy(1)), ALL, "node-refused keydb-3: does not answer within 2 s; run start, then this again, which lets it follow; or allow_unread=keydb-3 to leave it out"),
    ((*THREE[:2], silent(3, "refused", stopped=True), proxy(1)), replace(ALL, allow_unread=frozenset({"keydb-3"})), "no-majority demo: 2 of 3 nodes answer: without one more no majority keeps the lock; start or reach keydb-3 first"),
    ((old(primary(1)), silent(2, stopped=True)), replace(ALL, allow_unread=frozenset({"keydb-2"})), "no-majority demo: 1 of 2 nodes answer: without one more no majority keeps the lock; start or reach keydb-2 first"),
    ((old(primary(1)), old(primary(2))), ALL, "two-primaries demo: keydb-1 and keydb-2 are primaries, and neither lineage nor epoch tells which is the rightful one; stop the one whose writes you can spare, then rejoin"),
    (THREE, replace(ALL, to="keydb-4"), "unknown-target keydb-4: is no node of demo; allowed are keydb-1, keydb-2, keydb-3"),
    ((old(primary(1, epoch=None, replication_id=stream("e"))), *THREE[1:]), replace(ALL, to="keydb-1"), "lost-history keydb-1: lacks the epoch 1 and the history that keydb-2 has, so it may have lost its data; stop keydb-1, then run failover; or rejoin to=keydb-1 if its data are the right ones"),
    ((guarded(1), guarded(2)), ALL, "no-primary demo: nobody is primary; run failover"),
    ((old(primary(1, loading=True)), *THREE[1:]), ALL, "loading keydb-1: is loading its data; wait until status says that it is done"),
    ((old(primary(1, keys=0)), *THREE[1:]), ALL, "empty-primary keydb-1: holds no keys, but keydb-2 holds 5; following would wipe them; run failover, which promotes who holds the most"),
    ((*THREE[:2], old(guarded(3, offset=2000)), proxy(1)), replace(ALL, accept_loss=frozenset({"keydb-3"})), "sole-holder keydb-3: does not follow keydb-1, and holds what only it has; rejoin accept_loss=keydb-3 saves and attaches it"),
    ((*THREE[:2], replace(young(replica(3)), links=(broken(1),)), proxy(1)), ALL, "not-in-sync keydb-3: is not in sync with keydb-1, and one node at a time is away; wait until status says that it is"),
    ((THREE[0], FAILING, *THREE[2:]), ALL, "cannot-save keydb-2: could not save its data last time, and would come back with old ones; look at its log and its disk, or accept=cannot-save for a full resync"),
    ((THREE[0], FULL, *THREE[2:]), ALL, "cannot-save keydb-2: saves 1,000,000 bytes of data when it ends, and its disk has 10 free; look at its log and its disk, or accept=cannot-save for a full resync"),
    (THREE, replace(ALL, to="keydb-1"), "target-restarts keydb-1: is the primary now, and must be a replica while it restarts; leave to= out, and run switchover afterwards"),
    ((young(primary(1)), *THREE[1:]), replace(ALL, to="keydb-2"), "role-stays keydb-1: was started since 2026-01-02T03:04:05Z, so the role stays there; leave to= out, and run switchover afterwards"),
    ((THREE[0], fenced(THREE[1]), THREE[3]), replace(ALL, to="keydb-2"), "target-fenced keydb-2: is fenced: as the primary it would refuse every write; run unfence node=keydb-2, or choose another target"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "request_", "sentence"), REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(members, request_, sentence):
    answer = asked(*members, request=request_)
    assert isinstance(answer, Refusal) and str(answer) == f"refused: {sentence}"


def test_what_a_run_that_died_may_have_left_is_looked_at_again():
    answers = {(answer := asked(*members, request=given)).code: answer.passing for members, given, _ in REFUSALS}
    assert {code for code, passing in answers.items() if passing} == {
        "node-refused",
        "node-no-answer",
        "loading",
        "not-in-sync",
    }


def test_every_refusal_has_a_case():
    cases = {sentence.split()[0] for *_, sentence in REFUSALS}
    told = codes("Refusal", "rolling", "restart")
    assert {code for code in told if not any(case.startswith(code.rstrip("*")) for case in cases)} == set()


def test_who_is_out_of_sync_is_no_reason_where_nobody_is_restarted():
    assert isinstance(asked(*(young(node) for node in THREE[:3]), proxy(1)), NothingToDo)
    alone = young(primary(1))
    assert isinstance(asked(alone), NothingToDo)


def test_what_a_refusal_offers_is_enough_to_go_on():
    accepted = replace(ALL, accept=frozenset({"cannot-save"}), to="keydb-3")
    assert isinstance(asked(THREE[0], FULL, *THREE[2:], request=accepted), Plan)
    just_enough = replace(FULL, machine=replace(ROOMY, disk_free=OLD.dataset_bytes))
    assert isinstance(asked(THREE[0], just_enough, *THREE[2:]), Plan)
    silent_proxy_too = replace(ALL, allow_unread=frozenset({"keydb-4"}))
    four = (*THREE[:3], silent(4), proxy(1, nodes=4))
    assert isinstance(asked(*four, request=silent_proxy_too), Plan)


def test_who_is_not_restarted_need_not_save_anything():
    assert lines(asked(young(primary(1, machine=FULL.machine)), *THREE[1:])) == [*turn(2), *turn(3)]


def test_of_a_machine_that_tells_nothing_nothing_is_known():
    blind = replace(THREE[1], machine=None)
    assert isinstance(asked(THREE[0], blind, *THREE[2:]), Plan)
    unrelated = (*THREE[:2], old(guarded(3, replication_id=stream("d"))), proxy(1))
    assert isinstance(asked(*unrelated), Refusal)

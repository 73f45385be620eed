"""Switchover: the order of its steps, its refusals word for word, and what a re-run does after a death anywhere."""

import pytest
from worlds import (
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
    silent_service,
    stream,
)

from keydb_runbooks.runbooks import rejoin, switchover
from keydb_runbooks.runbooks.findings import find
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.steps import (
    CatchUp,
    ComeClose,
    Follow,
    InSync,
    Pause,
    Promote,
    RecordLineage,
    Route,
    SaveConfiguration,
    Unpause,
    VerifyWrite,
)
from keydb_runbooks.runbooks.steps_clients import EndSessions

HEALTHY = (primary(1), replica(2), replica(3), proxy(1))
TO_2 = Request(to="keydb-2")
ANY = Request()


def decide(*members, request=TO_2):
    return switchover.plan(group(*members), request, 1)


def test_the_order_of_a_switchover():
    assert lines(decide(*HEALTHY)) == [
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


def test_each_step_of_a_switchover_names_all_that_it_needs():
    assert decide(primary(1), replica(2), replica(3), proxy(1)).steps == (
        ComeClose("keydb-2", "keydb-1", "run-1", 30.0),
        Pause("keydb-1", 1500),
        CatchUp("keydb-2", "keydb-1", "run-1", 1.0),
        Pause("keydb-1", 10**12),
        CatchUp("keydb-2", "keydb-1", "run-1", 1.0),
        Promote("keydb-2", 2, 1),
        RecordLineage("keydb-2", 1),
        SaveConfiguration("keydb-2"),
        Follow("keydb-3", "keydb-2", address(2)),
        Follow("keydb-1", "keydb-2", address(2)),
        Route("proxy-1", "demo-write", "keydb-2", ("keydb-1", "keydb-3")),
        EndSessions("keydb-1"),
        Unpause("keydb-1"),
        InSync("keydb-1", "keydb-2", address(2), 60.0),
        InSync("keydb-3", "keydb-2", address(2), 60.0),
        VerifyWrite("proxy-1", "keydb-2", "run-2", 5.0),
    )


def test_siblings_are_attached_by_name_and_the_old_primary_last():
    steps = lines(decide(replica(4), primary(1), replica(3), replica(2)))
    assert [step for step in steps if step.startswith("Follow")] == [
        "Follow keydb-3",
        "Follow keydb-4",
        "Follow keydb-1",
    ]


def test_the_first_pause_ends_by_itself_and_the_second_never():
    pauses = [step.milliseconds for step in decide(*HEALTHY).steps if step.code == "Pause"]
    assert pauses == [1500, 10**12]


def test_what_a_switchover_says_of_itself():
    plan = decide(*HEALTHY)
    assert (plan.verb, plan.group) == ("switchover", "demo")
    assert (plan.primary, plan.former, plan.undo) == ("keydb-2", "keydb-1", (Unpause("keydb-1"),))
    assert str(plan.loss) == "0 bytes (keydb-1 takes no writes until keydb-2 has them all)"
    assert plan.proof == "keydb-1 holds writes back until it is a replica"
    made_of = "15 round trips and 3 configuration files to save, by the round trips measured just now"
    assert plan.gap == f"writers wait while the role moves: about 28 ms ({made_of})"
    assert plan.warnings == ()


def test_the_epoch_grows_by_one_and_min_replicas_is_the_groups():
    plan = decide(primary(1, epoch=7), replica(2, epoch=6))
    assert [step for step in plan.steps if step.commits] == [Promote("keydb-2", 8, 1)]


def test_one_segment_promotes_counts_and_restores_the_setting():
    assert Promote("keydb-2", 8, 1).commands == (
        ("CONFIG", "SET", "min-replicas-to-write", "0"),
        ("REPLICAOF", "NO", "ONE"),
        ("SET", "runbook:epoch", "8"),
        ("CONFIG", "SET", "min-replicas-to-write", "1"),
    )


def test_a_node_that_does_not_follow_is_attached_with_a_warning():
    plan = decide(primary(1), replica(2), orphan(3, 9))
    assert plan.warnings == ("keydb-3 does not follow keydb-1 now",)


def test_a_primary_that_a_dead_run_left_paused_is_switched_and_released():
    plan = decide(primary(1, paused=True), replica(2), replica(3), proxy(1))
    assert lines(plan).count("Unpause keydb-1") == 1
    assert lines(plan).index("Unpause keydb-1") > lines(plan).index("Follow keydb-1")


def test_a_paused_target_is_released_before_anybody_waits_for_it():
    plan = decide(primary(1), replica(2, paused=True))
    assert "Unpause keydb-2" in lines(plan)[: lines(plan).index("ComeClose keydb-2")]


def test_a_sibling_read_later_than_its_busy_primary_is_no_reason_to_refuse():
    """Nodes are read at the same time, not at one moment: under writes a live replica may show more than its primary."""
    assert isinstance(decide(primary(1), replica(2), replica(3, offset=1040)), Plan)


# (members, the node that is chosen)
CHOICES = [
    ((primary(1), replica(2), replica(3)), "keydb-2"),
    ((primary(1), replica(2, offset=990), replica(3)), "keydb-3"),
    ((primary(1), replica(2), replica(3, offset=990, priority=50)), "keydb-3"),
    ((primary(1), replica(2, priority=0), replica(3)), "keydb-3"),
    ((primary(1), replica(2, links=(link(1, last_io_seconds=3),)), replica(3)), "keydb-3"),
    ((primary(1), orphan(2), replica(3)), "keydb-3"),
]


@pytest.mark.parametrize("members, chosen", CHOICES)
def test_without_a_name_the_replica_with_the_best_priority_then_most_data_is_chosen(members, chosen):
    assert decide(*members, request=ANY).primary == chosen


def accept(*names):
    return Request(to="keydb-2", accept_loss=frozenset(names))


WHO_HAS = "stop the one whose writes you can spare, then rejoin"
REFUSALS = [
    ((silent(1), silent(2)), TO_2, "refused: no-node-answers demo: keydb-1: does not answer within 2 s; keydb-2: does not answer within 2 s; run start, which starts guarded what doesn't run, or mend the way to them; then this again"),
    ((primary(1), replica(2), silent(3)), TO_2, "refused: node-no-answer keydb-3: does not answer within 2 s; mend that, or allow_unread=keydb-3 if you know that it is no primary"),
    ((primary(1), replica(2), silent_proxy()), TO_2, "refused: proxy-no-socket proxy-1: has no runtime socket; mend that, or allow_unread=proxy-1 to leave it to its own checks"),
    (HEALTHY, Request(to="keydb-9"), "refused: unknown-target keydb-9: is no node of demo; allowed are keydb-1, keydb-2, keydb-3"),
    ((primary(1), primary(2)), TO_2, f"refused: two-primaries demo: keydb-1 and keydb-2 are primaries, and neither lineage nor epoch tells which is the rightful one; {WHO_HAS}"),
    ((orphan(1, 2), orphan(2)), TO_2, "refused: no-primary demo: nobody is primary; run failover"),
    ((primary(1, loading=True), replica(2)), TO_2, "refused: loading keydb-1: is loading its data; wait until status says that it is done"),
    ((promoted(1), primary(2), replica(3)), Request(to="keydb-3"), "refused: several-primaries demo: keydb-1 and keydb-2 are primaries; run rejoin first"),
    ((primary(1), silent(2, stopped=True)), TO_2, "refused: target-unread keydb-2: does not answer; choose another target"),
    ((primary(1), orphan(2)), ANY, "refused: no-target demo: no replica is in sync with keydb-1; run status"),
    ((primary(1), replica(2, loading=True)), TO_2, "refused: loading keydb-2: is loading its data; wait until status says that it is done"),
    ((primary(1), guarded(2)), TO_2, "refused: target-guarded keydb-2: was started guarded and follows nobody; run rejoin first"),
    ((primary(1), replica(2, 9)), TO_2, "refused: target-stray keydb-2: does not follow keydb-1; run rejoin first"),
    ((primary(1), replica(2, links=(link(1, last_io_seconds=3),))), TO_2, "refused: target-not-in-sync keydb-2: has no live link to keydb-1; wait for it, or choose another target"),
    ((primary(1), replica(2, priority=0)), TO_2, "refused: target-never-primary keydb-2: has replica-priority 0: it must never be the primary; choose another target, or change its priority"),
    ((primary(1), replica(2, memory_used=9, memory_limit=9)), TO_2, "refused: memory-full keydb-2: uses 9 bytes of 9: as the primary it would refuse every write; raise keydb_maxmemory, or choose another target"),
    ((primary(1), replica(2, memory_used=1, memory_limit=1)), TO_2, "refused: memory-full keydb-2: uses 1 bytes of 1: as the primary it would refuse every write; raise keydb_maxmemory, or choose another target"),
    ((primary(1), fenced(replica(2))), TO_2, "refused: target-fenced keydb-2: is fenced: as the primary it would refuse every write; run unfence node=keydb-2, or choose another target"),
    ((primary(1, paused=True), replica(2), silent(3, "refused", stopped=True)), TO_2, "refused: perhaps-superseded keydb-1: holds writes back for a switchover that died, and keydb-3 may have been promoted by it; start or reach keydb-3, or first rejoin allow_unread=keydb-3 if you can spare what it acknowledged"),
    ((primary(1, epoch=1), orphan(2, 3, epoch=2)), Request(to="keydb-1"), "refused: superseded keydb-1: is the primary of epoch 1, but keydb-2 holds data of epoch 2; stop keydb-1, then run failover"),
    ((primary(1), replica(2), orphan(3, loading=True)), TO_2, "refused: loading keydb-3: is loading its data; wait until status says that it is done"),
    ((primary(1, keys=0), replica(2, keys=0), orphan(3)), TO_2, "refused: empty-primary keydb-1: holds no keys, but keydb-3 holds 5; following would wipe them; run failover, which promotes who holds the most"),
    ((primary(1), replica(2), orphan(3, offset=3345)), TO_2, "refused: diverged keydb-3: holds 2,345 bytes that keydb-1 never had; rejoin accept_loss=keydb-3 saves them, tells what differs, and attaches it"),
    ((primary(1), replica(2), orphan(3, replication_id=stream("f"))), TO_2, "refused: unrelated keydb-3: shares no known history with keydb-1, so what it alone holds is unknown; rejoin accept_loss=keydb-3 saves them, tells what differs, and attaches it"),
    ((primary(1), replica(2), replica(3), orphan(4, offset=3345)), TO_2, "refused: diverged keydb-4: holds 2,345 bytes that keydb-1 never had; rejoin accept_loss=keydb-4 saves them, tells what differs, and attaches it"),
    ((primary(1), replica(2), orphan(3, offset=3345), orphan(4, offset=1001)), accept("keydb-3"), "refused: diverged keydb-4: holds 1 bytes that keydb-1 never had; rejoin accept_loss=keydb-4 saves them, tells what differs, and attaches it"),
    ((primary(1, epoch=None, replication_id=stream("f")), replica(2, epoch=None, replication_id=stream("f")), guarded(3)), accept("keydb-3"), "refused: lost-history keydb-1: lacks the epoch 1 and the history that keydb-3 has, so it may have lost its data; stop keydb-1, then run failover; or rejoin to=keydb-1 if its data are the right ones"),
    ((primary(1), promoted(2), orphan(3, replication_id=stream("f"))), accept("keydb-1"), "refused: unrelated keydb-3: shares no known history with keydb-2, so what it alone holds is unknown; rejoin accept_loss=keydb-3 saves them, tells what differs, and attaches it"),
]  # fmt: skip

REFUSALS += [
    ((*HEALTHY[:3], silent_service()), TO_2, "refused: service-unread keydb-write: context c of k lacks a right (RBAC): services is forbidden; mend that, or allow_unread=keydb-write and move it yourself, right behind the promotion"),
    ((*HEALTHY[:3], service(1, movable=False)), TO_2, "refused: service-not-movable keydb-write: can't be moved: there is no right to patch it (RBAC); get the right, or allow_unread=keydb-write and move it yourself, right behind the promotion"),
]  # fmt: skip


@pytest.mark.parametrize("members, request_, sentence", REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(members, request_, sentence):
    answer = decide(*members, request=request_)
    assert isinstance(answer, Refusal) and str(answer) == sentence


def test_every_refusal_of_a_switchover_has_a_case():
    cases = {sentence.split()[1] for _, _, sentence in REFUSALS}
    told = codes("Refusal", "switchover", "refusals")
    assert {code for code in told if not any(case.startswith(code.rstrip("*")) for case in cases)} == set()


@pytest.mark.parametrize(
    "members, request_",
    [
        ((*HEALTHY[:2], silent(3)), Request(to="keydb-2", allow_unread=frozenset({"keydb-3"}))),
        ((*HEALTHY[:2], silent(3, stopped=True)), TO_2),
        ((*HEALTHY[:3], silent_proxy()), Request(to="keydb-2", allow_unread=frozenset({"proxy-1"}))),
        ((*HEALTHY[:3], silent_service()), Request(to="keydb-2", allow_unread=frozenset({"keydb-write"}))),
        ((*HEALTHY[:2], orphan(3, offset=3345)), accept("keydb-3")),
        ((*HEALTHY[:2], orphan(3, replication_id=stream("f"))), accept("keydb-3")),
    ],
)
def test_what_a_refusal_offers_is_enough_to_go_on(members, request_):
    assert isinstance(decide(*members, request=request_), Plan)


def test_the_primary_itself_as_the_target_is_nothing_to_do():
    answer = decide(*HEALTHY, request=Request(to="keydb-1"))
    sentence = "is the primary, everybody who answers follows it, and every proxy that answers sends writes to it"
    assert answer == NothingToDo("already-primary", "keydb-1", sentence)


# A run that died: how many of its steps were done, from none to all.
STEPS = lines(decide(*HEALTHY))
DEATHS = [pytest.param(done, id=f"{done}-then-dead-before-{step}") for done, step in enumerate([*STEPS, "the end"])]


def dead_run(done):
    """Three nodes, a switchover to keydb-2 that died after some steps, and clients that went on writing."""
    world = World(primary(1), replica(2), replica(3), route="keydb-1")
    world.perform(switchover.plan(world.topology(), TO_2, 1).steps[:done])
    world.pass_time()
    return world


def finish(world, verb=switchover, request=TO_2):
    """Run the verb again until it has nothing to do; a person would try three times at most."""
    for _ in range(3):
        answer = verb.plan(world.topology(), request, 1)
        assert not isinstance(answer, Refusal), answer
        if isinstance(answer, NothingToDo):
            return world
        world.perform(answer.steps)
    raise AssertionError("three runs were not enough")


@pytest.mark.parametrize("done", DEATHS)
def test_a_death_never_leaves_two_writers(done):
    assert len(dead_run(done).writers) <= 1


@pytest.mark.parametrize("done", DEATHS)
def test_run_again_after_any_death_a_switchover_ends_with_keydb_2_as_the_one_writer(done):
    world = finish(dead_run(done))
    assert (world.writers, world.route) == (["keydb-2"], {"keydb-2"})


@pytest.mark.parametrize("done", DEATHS)
def test_run_again_after_any_death_nobody_is_left_paused(done):
    world = finish(dead_run(done))
    assert [name for name, server in world.servers.items() if server.pause] == []


@pytest.mark.parametrize("done", DEATHS)
def test_run_again_after_any_death_no_acknowledged_write_is_lost(done):
    world = finish(dead_run(done))
    assert list(world.servers["keydb-2"].log) == world.acknowledged


@pytest.mark.parametrize("done", DEATHS)
def test_run_again_after_any_death_every_role_is_saved_on_disk(done):
    world = finish(dead_run(done))
    assert {name: server.disk for name, server in world.servers.items()} == {
        "keydb-1": "10.0.0.2 6379",
        "keydb-2": "",
        "keydb-3": "10.0.0.2 6379",
    }


@pytest.mark.parametrize("done", DEATHS)
def test_run_again_after_any_death_nothing_is_found_wrong(done):
    assert find(finish(dead_run(done)).topology()) == ()


@pytest.mark.parametrize("done", DEATHS)
def test_rejoin_too_finishes_whatever_a_dead_switchover_left(done):
    world = finish(dead_run(done), rejoin, ANY)
    assert (len(world.writers), find(world.topology())) == (1, ())


def test_two_switchovers_there_and_back_lose_nothing():
    world = finish(dead_run(0))
    world.perform(switchover.plan(world.topology(), Request(to="keydb-1"), 1).steps)
    assert (world.writers, list(world.servers["keydb-1"].log)) == (["keydb-1"], world.acknowledged)

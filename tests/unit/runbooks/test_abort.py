"""Abort: before a promotion it undoes, behind it it refuses and names the verb that finishes."""

import pytest
from worlds import World, codes, group, guarded, lines, orphan, primary, promoted, proxy, replica, silent

from keydb_runbooks.runbooks import abort, switchover
from keydb_runbooks.runbooks.findings import find
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.steps import Reinstate

ANY = Request()
BOTH = Request(allow_unread=frozenset({"keydb-2", "keydb-3"}))
TO_2 = Request(to="keydb-2")
STEPS = lines(switchover.plan(group(primary(1), replica(2), replica(3), proxy(1)), TO_2, 1))
PROMOTED = STEPS.index("Promote keydb-2")


def decide(*members, request=ANY):
    return abort.plan(group(*members), request, 1)


def dead_run(done):
    world = World(primary(1), replica(2), replica(3), route="keydb-1")
    world.perform(switchover.plan(world.topology(), TO_2, 1).steps[:done])
    world.pass_time()
    return world


@pytest.mark.parametrize("done", range(PROMOTED + 1))
def test_until_the_promotion_all_is_as_it_was(done):
    world = dead_run(done)
    answer = abort.plan(world.topology(), ANY, 1)
    if isinstance(answer, Plan):
        world.perform(answer.steps)
    assert (world.writers, world.route, find(world.topology())) == (["keydb-1"], {"keydb-1"}, ())
    assert isinstance(abort.plan(world.topology(), ANY, 1), NothingToDo)
    assert list(world.servers["keydb-1"].log) == world.acknowledged


@pytest.mark.parametrize("done", range(PROMOTED + 1, STEPS.index("Follow keydb-1") + 1))
def test_behind_the_promotion_it_is_refused_and_the_verb_that_finishes_is_named(done):
    answer = abort.plan(dead_run(done).topology(), ANY, 1)
    told = "was promoted after keydb-1, and may have taken writes: the way back is closed"
    hint = "run rejoin to finish; then switchover to=keydb-1 if you want it back"
    assert answer == Refusal("promoted", "keydb-2", told, hint)


@pytest.mark.parametrize("done", range(STEPS.index("Follow keydb-1") + 1, len(STEPS) + 1))
def test_a_pause_that_is_left_of_a_finished_one_is_ended(done):
    world = dead_run(done)
    answer = abort.plan(world.topology(), ANY, 1)
    if isinstance(answer, Plan):
        world.perform(answer.steps)
    assert not [name for name, server in world.servers.items() if server.pause]


def test_what_an_abort_does_and_says():
    plan = decide(primary(1, paused=True), replica(2, paused=True), replica(3), proxy(1), proxy(2, number=2))
    assert lines(plan) == ["Unpause keydb-1", "Unpause keydb-2", "VerifyWrite proxy-1"]
    assert (plan.verb, plan.primary, plan.former, plan.undo) == ("abort", "keydb-1", "keydb-1", ())
    assert (plan.gap, plan.proof) == ("it ends with the first step", "keydb-1 is the only primary")
    assert str(plan.loss) == "0 bytes (no role moves; what waits is executed now)"


def test_a_pause_that_could_not_be_proved_is_ended_too():
    assert lines(decide(primary(1, paused=None), replica(2, paused=None))) == ["Unpause keydb-1"]


def test_a_paused_replica_is_released_though_somebody_is_silent():
    assert lines(decide(primary(1), replica(2, paused=True), silent(3))) == ["Unpause keydb-2"]


def test_who_does_not_follow_is_named_and_left_for_rejoin():
    plan = decide(primary(1, paused=True), replica(2), guarded(3))
    assert plan.warnings == ("keydb-3 does not follow keydb-1: run rejoin",)
    assert lines(plan) == ["Unpause keydb-1"]


def test_without_a_pause_there_is_nothing_to_undo():
    told = "nobody holds writes back, and everybody who answers follows keydb-1"
    assert decide(primary(1), replica(2), silent(3)) == NothingToDo("nothing-to-undo", "demo", told)


REFUSALS = [
    ((silent(1), silent(2)), ANY, "refused: no-node-answers demo: keydb-1: does not answer within 2 s; keydb-2: does not answer within 2 s; run start, which starts guarded what doesn't run, or mend the way to them; then this again"),
    ((primary(1, cluster=True),), ANY, "refused: cluster-mode keydb-1: runs in cluster mode; use CLUSTER FAILOVER there"),
    ((primary(1), primary(2)), ANY, "refused: two-primaries demo: keydb-1 and keydb-2 are primaries, and neither lineage nor epoch tells which is the rightful one; stop the one whose writes you can spare, then rejoin"),
    ((orphan(2), silent(1)), ANY, "refused: no-primary demo: there is no primary to go back to; run failover"),
    ((primary(1, loading=True),), ANY, "refused: loading keydb-1: is loading its data; wait until status says that it is done"),
    ((promoted(2), primary(1)), ANY, "refused: promoted keydb-2: was promoted after keydb-1, and may have taken writes: the way back is closed; run rejoin to finish; then switchover to=keydb-1 if you want it back"),
    ((primary(1), guarded(2), guarded(3)), ANY, "refused: nothing-to-undo demo: nobody holds writes back, but keydb-2 and keydb-3 does not follow keydb-1: there is nothing to undo; run rejoin"),
    ((primary(1, paused=True), silent(2)), ANY, "refused: perhaps-superseded keydb-1: holds writes back for a switchover that died, and keydb-2 may have been promoted by it; start or reach keydb-2, or allow_unread=keydb-2 if you can spare what it acknowledged"),
    ((primary(1, paused=None), silent(2)), ANY, "refused: perhaps-superseded keydb-1: perhaps holds writes back for a switchover that died, and keydb-2 may have been promoted by it; start or reach keydb-2, or allow_unread=keydb-2 if you can spare what it acknowledged"),
    ((primary(1, paused=True, keys=0), guarded(2)), ANY, "refused: empty-primary keydb-1: holds no keys, but keydb-2 holds 5; following would wipe them; run failover, which promotes who holds the most"),
    ((primary(1, paused=True), orphan(2, 3, epoch=2)), ANY, "refused: superseded keydb-1: is the primary of epoch 1, but keydb-2 holds data of epoch 2; stop keydb-1, then run failover"),
]  # fmt: skip


@pytest.mark.parametrize("members, request_, sentence", REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(members, request_, sentence):
    answer = decide(*members, request=request_)
    assert isinstance(answer, Refusal) and str(answer) == sentence


def test_a_silent_node_that_was_not_promoted_may_be_left_out():
    """Its promotion would be of the next epoch, which is no longer the highest then."""
    request = Request(allow_unread=frozenset({"keydb-2"}))
    plan = decide(primary(1, epoch=6, paused=True), silent(2), request=request)
    assert plan.steps == (Reinstate("keydb-1", ("keydb-2",), 8, 1),)
    assert str(plan.loss) == "unknown (accepted by you: what keydb-2 may have acknowledged)"
    unproved = decide(primary(1, epoch=6, paused=None), silent(2), silent(3), request=BOTH)
    assert unproved.steps == (Reinstate("keydb-1", ("keydb-2", "keydb-3"), 8, 1),)


def test_a_primary_that_holds_nothing_back_is_not_touched_whoever_may_have_been_promoted():
    members = (primary(1), orphan(3, of=2, paused=True), silent(2))
    assert lines(decide(*members)) == ["Unpause keydb-3"]


def test_every_refusal_has_a_case():
    assert codes("Refusal", "abort") - {sentence.split()[1] for *_, sentence in REFUSALS} == set()

"""Promote: failover's first half alone, with its questions, and what is left of a promotion that died."""

import pytest
from worlds import codes, fenced, group, guarded, lines, orphan, primary, promoted, proxy, replica, silent, stream

from keydb_runbooks.runbooks import failover, promote
from keydb_runbooks.runbooks.plan import NothingToDo, Refusal, Request
from keydb_runbooks.runbooks.promote import LEFT
from keydb_runbooks.runbooks.steps import RecordLineage, SaveConfiguration

TO_2 = Request(to="keydb-2")
HALF = ["Promote keydb-2", "RecordLineage keydb-2", "SaveConfiguration keydb-2"]
DARK = (guarded(1), guarded(2), guarded(3), proxy())


def decide(*members, request=TO_2, min_replicas=1):
    return promote.plan(group(*members), request, min_replicas)


def test_promote_is_the_first_half_of_a_failover():
    whole = failover.plan(group(*DARK), TO_2, 1)
    half = decide(*DARK)
    assert lines(half) == HALF
    assert half.steps == whole.steps[:3]
    assert (half.verb, half.primary, half.proof, half.loss) == ("promote", "keydb-2", whole.proof, whole.loss)
    assert half.warnings == (LEFT,)


def test_pauses_that_are_known_end_first():
    steps = lines(decide(guarded(1, paused=True), guarded(2, paused=True)))
    assert steps == ["Unpause keydb-2", "Unpause keydb-1", *lines(decide(*DARK))]


def test_the_last_node_takes_writes_all_the_same_and_says_so():
    plan = decide(guarded(2), silent(1, "refused", stopped=True))
    assert plan.steps[0].min_replicas == 0
    assert len(plan.warnings) == 2 and plan.warnings[-1] == LEFT


def test_a_promotion_that_died_is_recorded_and_saved():
    dead = promoted(2, ancestors=(), config_replicaof="255.255.255.255 1")
    plan = decide(guarded(1), dead, guarded(3))
    assert plan.steps == (RecordLineage("keydb-2", 1), SaveConfiguration("keydb-2"))
    assert (plan.verb, plan.primary, plan.former, plan.warnings) == ("promote", "keydb-2", "keydb-2", (LEFT,))
    assert decide(dead).steps[0] == RecordLineage("keydb-2", 0)
    assert decide(guarded(1), promoted(2, config_replicaof=None)).steps == (SaveConfiguration("keydb-2"),)
    assert decide(guarded(1), promoted(2, ancestors=())).steps == (RecordLineage("keydb-2", 1),)


def test_the_primary_is_nothing_to_do():
    told = "is the primary, its promotion is recorded and saved; run rejoin if somebody doesn't follow"
    assert decide(guarded(1), promoted(2)) == NothingToDo("already-primary", "keydb-2", told)
    assert decide(promoted(2, keys=0), guarded(1, keys=0)) == NothingToDo("already-primary", "keydb-2", told)


# What failover takes for gone: no proxy leads to keydb-1, and its replicas no longer hear it.
WAKING = (silent(1), orphan(2), orphan(3), proxy())


def test_a_silent_node_is_stopped_first_or_its_writes_are_spared():
    waking = group(*WAKING, clients_only_through_proxies=True)
    split = Request(to="keydb-2", accept_split=True)
    assert not isinstance(failover.plan(waking, TO_2, 1), Refusal)
    assert str(promote.plan(waking, TO_2, 1)) == (
        "refused: not-fenced keydb-1: is silent, but not stopped: when it wakes its replicas still follow it, so it takes "
        "writes; use failover; or stop its server or its machine, then this again (last resort: accept_split=yes, "
        "and these writes are lost)"
    )
    assert lines(promote.plan(waking, split, 1)) == HALF
    stopped = silent(1, "refused", stopped=True)
    assert lines(decide(stopped, *WAKING[1:])) == HALF
    other = group(stopped, orphan(2), silent(3), proxy(), clients_only_through_proxies=True)
    assert lines(promote.plan(other, TO_2, 1)) == HALF


REFUSALS = [
    (DARK, Request(), "refused: no-target-named demo: which node shall be the primary is not said; add to=NAME, one of keydb-1, keydb-2, keydb-3; failover chooses by itself"),
    (DARK, Request(to="keydb-9"), "refused: unknown-target keydb-9: is no node of demo; allowed are keydb-1, keydb-2, keydb-3"),
    ((primary(1), replica(2)), Request(to="keydb-9"), "refused: unknown-target keydb-9: is no node of demo; allowed are keydb-1, keydb-2"),
    ((primary(1, cluster=True), replica(2)), TO_2, "refused: cluster-mode keydb-1: runs in cluster mode; use CLUSTER FAILOVER there"),
    ((primary(1), primary(2)), TO_2, "refused: two-primaries demo: keydb-1 and keydb-2 are primaries, and neither lineage nor epoch tells which is the rightful one; stop the one whose writes you can spare, then rejoin"),
    ((primary(1), replica(2)), TO_2, "refused: primary-answers keydb-1: is the primary and answers; run switchover to=keydb-2"),
    ((primary(2, paused=True), replica(1, 2)), TO_2, "refused: paused keydb-2: holds writes back for a run that died; run abort"),
    ((primary(2, keys=0), guarded(1)), TO_2, "refused: empty-primary keydb-2: is the primary and holds no keys, but others do; run failover, which promotes who holds the most"),
    ((silent(1), orphan(2)), TO_2, "refused: not-fenced old primary: keydb-1 may still take writes; stop its server or its machine, then this again (last resort: accept_split=yes, and its writes from now on are lost)"),
    ((guarded(1), guarded(2, offset=900)), TO_2, "refused: target-behind keydb-2: keydb-1 holds writes that it lacks; use to=keydb-1, or accept_loss=keydb-1 if you can spare them"),
    ((guarded(1), guarded(2, replication_id=stream("f"))), TO_2, "refused: unrelated keydb-2: shares no known history with keydb-1, so nobody can tell who has more; accept_loss=keydb-1 if you can spare what it holds"),
    ((guarded(1), fenced(guarded(2))), TO_2, "refused: target-fenced keydb-2: is fenced: as the primary it would refuse every write; run unfence node=keydb-2, or choose another target"),
]  # fmt: skip


@pytest.mark.parametrize("members, request_, sentence", REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(members, request_, sentence):
    answer = decide(*members, request=request_)
    assert isinstance(answer, Refusal) and str(answer) == sentence


def test_every_refusal_has_a_case():
    assert codes("Refusal", "promote") - {sentence.split()[1] for *_, sentence in REFUSALS} == set()

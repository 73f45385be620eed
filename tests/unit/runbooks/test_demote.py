"""Demote: who may stop being a primary, what becomes of it, and every refusal word for word."""

from dataclasses import replace

import pytest
from worlds import address, codes, group, guarded, lines, link, orphan, primary, promoted, replica, silent, stream

from keydb_runbooks.runbooks import demote
from keydb_runbooks.runbooks.plan import NothingToDo, Refusal, Request
from keydb_runbooks.runbooks.replication import GUARD_ADDRESS, Address, Replica
from keydb_runbooks.runbooks.steps import Follow, Guard, InSync, SaveConfiguration, Unpause
from keydb_runbooks.runbooks.steps_save import SaveIfMore

NODE_1 = Request(node="keydb-1")


def decide(*members, request=NODE_1):
    return demote.plan(group(*members), request, 1)


def attached(*numbers):
    return tuple(Replica(address(number), online=True, offset=1000, lag_seconds=0) for number in numbers)


def test_the_only_primary_is_guarded_if_nobody_follows_it():
    plan = decide(primary(1), guarded(2), silent(3))
    assert plan.steps == (Guard("keydb-1"),)
    assert Guard("keydb-1").commands[1] == ("REPLICAOF", GUARD_ADDRESS, "1")
    assert (plan.verb, plan.primary, plan.former, plan.node) == ("demote", None, "keydb-1", "keydb-1")
    assert plan.afterwards == "keydb-1 is nobody's replica, read-only; nobody is a primary then"
    assert plan.gap == "until failover or promote makes a node the primary"
    assert str(plan.loss) == "0 bytes (it keeps its data)"


def test_one_of_two_primaries_that_nobody_can_tell_apart_is_guarded_and_keeps_its_data():
    plan = decide(primary(1), primary(2))
    assert plan.steps == (Guard("keydb-1"),)
    assert (plan.primary, plan.former) == (None, None)
    assert plan.afterwards == "keydb-1 is nobody's replica, read-only; keydb-2 stays a primary"
    assert plan.gap == "for clients of keydb-1, until they find keydb-2"
    three = decide(primary(1), primary(2), primary(3))
    assert three.afterwards == "keydb-1 is nobody's replica, read-only; keydb-2 and keydb-3 stay primaries"
    assert three.gap == "for clients of keydb-1, until they find keydb-2 or keydb-3"


def test_a_superseded_primary_follows_the_rightful_one():
    plan = decide(primary(1), promoted(2))
    assert plan.steps == (
        Guard("keydb-1"),
        SaveIfMore("keydb-1", "node", "saved", 1000),
        Follow("keydb-1", "keydb-2", address(2)),
        InSync("keydb-1", "keydb-2", address(2), 60.0),
    )
    assert (plan.primary, plan.former) == ("keydb-2", "keydb-2")
    assert plan.afterwards == "keydb-1 follows keydb-2"
    assert (plan.about, replace(plan, node=None).about) == ("keydb-1", "keydb-2")
    assert plan.gap == "none for clients of keydb-2"
    assert str(plan.loss) == "0 bytes (it keeps its data)"


@pytest.mark.parametrize("changes", [{"offset": 1500}, {"replication_id": stream("f"), "epoch": 0}])
def test_one_that_holds_writes_of_its_own_keeps_them_until_rejoin(changes):
    plan = decide(primary(1, **changes), promoted(2))
    assert plan.steps == (Guard("keydb-1"),)
    assert plan.warnings == (
        "keydb-1 is left out, and takes no writes: it holds some that only it has; "
        "rejoin accept_loss=keydb-1 saves and attaches it",
    )
    assert str(plan.loss) == "0 bytes (it keeps its data)"


@pytest.mark.parametrize(
    "members, steps",
    [
        ((primary(1, paused=True),), ["Guard keydb-1", "Unpause keydb-1"]),
        (
            (primary(1, paused=True), promoted(2)),
            ["Guard keydb-1", "SaveIfMore keydb-1", "Follow keydb-1", "Unpause keydb-1", "InSync keydb-1"],
        ),
    ],
)
def test_a_pause_ends_when_nothing_can_be_written_any_more(members, steps):
    assert lines(decide(*members)) == steps
    assert Unpause("keydb-1") in decide(*members).steps


@pytest.mark.parametrize("node", [replica(1, 2), guarded(1)])
def test_a_node_that_is_no_primary_is_nothing_to_do(node):
    told = "is no primary, and its file says the same"
    assert decide(node, primary(2)) == NothingToDo("no-primary", "keydb-1", told)


def test_what_was_not_saved_is_saved():
    plan = decide(guarded(1, config_replicaof=""), primary(2))
    assert plan.steps == (SaveConfiguration("keydb-1"),)
    assert (plan.gap, plan.afterwards, plan.primary) == (
        "none: it takes no writes now",
        "keydb-1 is no primary",
        "keydb-2",
    )


KILLS = "would lose the primary that it follows, and KeyDB does not stand that"
HINT = "run switchover, or fence node=keydb-1 if it shall take no writes"
STRANGER = Replica(Address("192.0.2.9", 6379), online=True, offset=1, lag_seconds=0)

REFUSALS = [
    ((primary(1),), Request(), "refused: no-node-named demo: which node is not said; add node=NAME, one of keydb-1"),
    ((primary(1), replica(2)), NODE_1, f"refused: replicas-attached keydb-1: keydb-2 {KILLS}; {HINT}"),
    ((primary(1, replicas=attached(2)), replica(2), orphan(3)), NODE_1, f"refused: replicas-attached keydb-1: keydb-2 and keydb-3 {KILLS}; {HINT}"),
    ((primary(1, replicas=attached(2)), silent(2)), NODE_1, f"refused: replicas-attached keydb-1: keydb-2 {KILLS}; {HINT}"),
    ((primary(1, replicas=(STRANGER,)),), NODE_1, f"refused: replicas-attached keydb-1: 192.0.2.9:6379 {KILLS}; {HINT}"),
    ((primary(1), promoted(2), replica(3, links=(link(1),))), NODE_1, f"refused: replicas-attached keydb-1: keydb-3 {KILLS}; run rejoin, which repoints the replicas first"),
    ((primary(1), promoted(2, loading=True)), NODE_1, "refused: loading keydb-2: is loading its data; wait until status says that it is done"),
    ((primary(1), promoted(2, keys=0)), NODE_1, "refused: empty-primary keydb-2: holds no keys, but keydb-1 holds 5; following would wipe them; run failover, which promotes who holds the most"),
    ((primary(1, loading=True), promoted(2)), NODE_1, "refused: loading keydb-1: is loading its data; wait until status says that it is done"),
]  # fmt: skip


@pytest.mark.parametrize("members, request_, sentence", REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(members, request_, sentence):
    answer = decide(*members, request=request_)
    assert isinstance(answer, Refusal) and str(answer) == sentence


def test_every_refusal_has_a_case():
    assert codes("Refusal", "demote") - {sentence.split()[1] for *_, sentence in REFUSALS} == set()

"""Fence and unfence: the users, the steps, the refusals word for word, and who is found to be fenced."""

from dataclasses import replace

import pytest
from worlds import FENCE, HELD, WRITES, codes, fenced, group, guarded, primary, promoted, proxy, replica, silent

from keydb_runbooks.runbooks import failover, fence, switchover, unfence
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.replication import ClientUser
from keydb_runbooks.runbooks.steps_fence import Fence, TryWrites, Unfence

HEALTHY = (primary(1), replica(2), replica(3), proxy(1))
NODE_1 = Request(node="keydb-1")
NODE_2 = Request(node="keydb-2")
WEB = ClientUser("web", may_write=True, known=False, kept=False, fence=("-@all",))
KEPT = ClientUser("web", may_write=False, known=False, kept=True, fence=("-@all",))


def asked(verb, *members, request=NODE_1, **changes):
    return verb.plan(group(*members, **changes), request, 1)


def test_a_fence_takes_writes_from_every_client_of_one_node_and_tries_it():
    plan = asked(fence, *HEALTHY)
    assert plan.steps == (Fence("keydb-1", WRITES, acl_file=False), TryWrites("keydb-1", permitted=False))
    assert (plan.verb, plan.primary, plan.former, plan.node) == ("fence", "keydb-1", "keydb-1", "keydb-1")
    assert plan.afterwards == "keydb-1 takes no writes of clients until unfence"
    assert plan.gap == "no client can write until unfence or a switchover"
    assert plan.warnings == ("keydb-1 is the primary: nobody takes writes until unfence or a switchover",)
    assert str(plan.loss) == "0 bytes (what it acknowledged stays)"


def test_a_fenced_replica_costs_nobody_anything():
    plan = asked(fence, *HEALTHY, request=NODE_2)
    assert (plan.gap, plan.warnings, plan.primary) == ("none: it takes no writes now", (), "keydb-1")


def test_a_fence_needs_no_primary_and_nobody_else():
    plan = asked(fence, guarded(1), silent(2), silent(3))
    assert (plan.primary, plan.former, plan.node) == (None, None, "keydb-1")
    assert [step.where for step in plan.steps] == ["keydb-1", "keydb-1"]


def test_one_of_two_primaries_can_be_fenced_whoever_is_the_rightful_one():
    assert isinstance(asked(fence, primary(1), primary(2)), Plan)
    assert asked(fence, primary(1), promoted(2)).warnings == ()


def test_only_who_may_write_is_fenced_and_who_can_do_nothing_then_is_named():
    plan = asked(fence, primary(1, clients=(*HELD, WEB), config_clients=None, acl_file=True))
    assert plan.steps[0] == Fence("keydb-1", (WEB,), acl_file=True)
    told = "web can do nothing there, not even read, until unfence: their rules aren't understood"
    assert told in plan.warnings
    wide = replace(WEB, fence=FENCE)
    assert not [one for one in asked(fence, replica(1, clients=(wide,))).warnings if "nothing" in one]


def test_a_fence_that_was_not_saved_is_saved():
    for disk in (WRITES, None):
        plan = asked(fence, replace(fenced(primary(1)), config_clients=disk))
        assert plan.steps[0] == Fence("keydb-1", (), acl_file=False)


def test_a_fence_that_is_there_is_nothing_to_do():
    answer = asked(fence, fenced(primary(1)), replica(2))
    told = "no client can write there, and its file says the same"
    assert answer == NothingToDo("already-fenced", "keydb-1", told)


def test_unfence_gives_back_what_a_fence_took():
    plan = asked(unfence, fenced(primary(1)), replica(2), proxy(1))
    assert plan.steps == (Unfence("keydb-1", HELD, acl_file=False), TryWrites("keydb-1", permitted=True))
    assert plan.proof == "keydb-1 is the only rightful primary"
    assert plan.afterwards == "clients of keydb-1 have their rights again"
    assert (plan.verb, plan.primary, plan.former, plan.node) == ("unfence", "keydb-1", "keydb-1", "keydb-1")


def test_unfence_of_a_replica_asks_nobody_else():
    plan = asked(unfence, fenced(guarded(1)), silent(2))
    assert (plan.primary, plan.former, plan.proof) == (None, None, "keydb-1 is a replica, which is read-only")


def test_unfence_gives_kept_rules_back_and_saves_what_was_not_saved():
    half = primary(1, clients=(*WRITES, KEPT), acl_file=True)
    assert asked(unfence, half).steps[0] == Unfence("keydb-1", (KEPT,), acl_file=True)
    assert asked(unfence, primary(1, config_clients=HELD)).steps[0] == Unfence("keydb-1", (), acl_file=False)
    assert asked(unfence, primary(1, config_clients=None)).steps[0] == Unfence("keydb-1", (), acl_file=False)


@pytest.mark.parametrize("paused", [True, None])
def test_nobody_tries_to_write_where_writes_may_be_held_back(paused):
    assert len(asked(unfence, fenced(primary(1, paused=paused))).steps) == 1


def test_a_node_that_is_not_fenced_is_nothing_to_do():
    told = "its clients have their rights, and its file says the same"
    assert asked(unfence, *HEALTHY) == NothingToDo("not-fenced", "keydb-1", told)


LOOK = "run this again, and look at the server if that stays"
REFUSALS = [
    (fence, HEALTHY, Request(), "refused: no-node-named demo: which node is not said; add node=NAME, one of keydb-1, keydb-2, keydb-3"),
    (fence, HEALTHY, Request(node="keydb-9"), "refused: unknown-node keydb-9: is no node of demo; allowed are keydb-1, keydb-2, keydb-3"),
    (fence, (silent(1), replica(2)), NODE_1, "refused: node-unread keydb-1: does not answer within 2 s; mend that, or stop its server or its machine, so that it takes no writes"),
    (fence, (primary(1, loading=True),), NODE_1, "refused: loading keydb-1: is loading its data; wait until status says that it is done"),
    (fence, (primary(1, cluster=True),), NODE_1, "refused: cluster-mode keydb-1: runs in cluster mode; use CLUSTER FAILOVER there"),
    (fence, (primary(1, clients=None),), NODE_1, f"refused: users-unknown keydb-1: did not tell which users it has; {LOOK}"),
    (fence, (primary(1, acl_file=None),), NODE_1, f"refused: users-unknown keydb-1: did not tell which users it has; {LOOK}"),
    (unfence, HEALTHY, Request(), "refused: no-node-named demo: which node is not said; add node=NAME, one of keydb-1, keydb-2, keydb-3"),
    (unfence, (primary(1, clients=None),), NODE_1, f"refused: users-unknown keydb-1: did not tell which users it has; {LOOK}"),
    (unfence, (primary(1, acl_file=None),), NODE_1, f"refused: users-unknown keydb-1: did not tell which users it has; {LOOK}"),
    (unfence, (fenced(primary(1)), promoted(2)), NODE_1, "refused: second-writer keydb-1: is a primary, but keydb-2 is the rightful one; run rejoin first, which makes it a replica"),
    (unfence, (fenced(primary(1)), primary(2)), NODE_1, "refused: second-writer keydb-1: is a primary, keydb-2 is too, and neither lineage nor epoch tells which is the rightful one; run demote for the one whose writes you can spare"),
    *((unfence, (primary(2), fenced(replica(1, 2, read_only=unsafe))), NODE_1, "refused: second-writer keydb-1: is a replica, and not known to be read-only: clients could write on it beside the primary; CONFIG SET replica-read-only yes there, then this again") for unsafe in (False, None)),
    (unfence, (fenced(primary(1)), silent(2)), NODE_1, "refused: node-no-answer keydb-2: does not answer within 2 s; mend that, or allow_unread=keydb-2 if you know that it is no primary"),
    (unfence, (fenced(primary(1, paused=True)), silent(2, "refused", stopped=True)), NODE_1, "refused: perhaps-superseded keydb-1: holds writes back for a switchover that died, and keydb-2 may have been promoted by it; start or reach keydb-2, or first rejoin allow_unread=keydb-2 if you can spare what it acknowledged"),
    (unfence, (fenced(primary(1)), replica(2, epoch=2)), NODE_1, "refused: superseded keydb-1: is the primary of epoch 1, but keydb-2 holds data of epoch 2; stop keydb-1, then run failover"),
    (unfence, (fenced(primary(1, keys=0)), replica(2)), NODE_1, "refused: empty-primary keydb-1: holds no keys, but keydb-2 holds 5; following would wipe them; run failover, which promotes who holds the most"),
    (switchover, (primary(1), fenced(replica(2))), Request(to="keydb-2"), "refused: target-fenced keydb-2: is fenced: as the primary it would refuse every write; run unfence node=keydb-2, or choose another target"),
    (failover, (fenced(primary(1)), replica(2)), Request(), "refused: primary-fenced keydb-1: is the primary and answers, but is fenced: it takes no writes; run switchover, or unfence node=keydb-1"),
]  # fmt: skip


@pytest.mark.parametrize("verb, members, request_, sentence", REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(verb, members, request_, sentence):
    answer = asked(verb, *members, request=request_)
    assert isinstance(answer, Refusal) and str(answer) == sentence


def test_every_refusal_has_a_case():
    cases = {sentence.split()[1] for *_, sentence in REFUSALS}
    told = codes("Refusal", "fence", "unfence", "named")
    assert {code for code in told if not any(case.startswith(code.rstrip("*")) for case in cases)} == set()


@pytest.mark.parametrize(
    "members, request_",
    [
        ((fenced(primary(1)), silent(2)), Request(node="keydb-1", allow_unread=frozenset({"keydb-2"}))),
        ((fenced(primary(1)), silent(2, "refused", stopped=True)), NODE_1),
        ((fenced(promoted(2)), primary(1)), NODE_2),
    ],
)
def test_what_a_refusal_offers_is_enough_to_go_on(members, request_):
    assert isinstance(asked(unfence, *members, request=request_), Plan)


def test_a_switchover_away_from_a_fenced_primary_leaves_the_fence_and_says_so():
    plan = asked(switchover, fenced(primary(1)), *HEALTHY[1:], request=Request(to="keydb-2"))
    assert plan.warnings == ("keydb-1 is fenced and stays so: run unfence node=keydb-1 later",)
    assert not [step for step in plan.steps if isinstance(step, Fence | Unfence)]


def test_without_a_name_a_fenced_replica_is_not_chosen():
    plan = asked(switchover, primary(1), fenced(replica(2)), replica(3), request=Request())
    assert plan.primary == "keydb-3"

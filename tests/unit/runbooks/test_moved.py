"""Whose role a run that died moved, by what it left behind."""

import pytest
from worlds import group, guarded, orphan, primary, promoted, replica, service, silent

from keydb_runbooks.runbooks import failover, rejoin, switchover
from keydb_runbooks.runbooks.moved import moved_from
from keydb_runbooks.runbooks.plan import Plan, Request

NEW = promoted(2)

# (who else is in the group, whose role keydb-2 has)
MOVES = [
    ((primary(1, paused=True), replica(3)), "keydb-1"),
    ((silent(1), orphan(3)), "keydb-1"),
    ((guarded(1), orphan(3)), "keydb-1"),
    ((replica(1, 2, paused=True), replica(3, 2)), "keydb-1"),
    ((replica(1, 2), replica(3, 2), service(2, stragglers=("keydb-1",))), "keydb-1"),
    ((replica(1, 2), replica(3, 2), service(2)), None),
    ((replica(1, 2), replica(3, 2)), None),
    # What a person did: a replica of a replica, a Service that was moved by hand, an address of nobody's.
    ((replica(1, 2), replica(3, 1)), None),
    ((replica(1, 2), replica(3, 2), service(3)), None),
    ((replica(1, 2), replica(3, 9)), None),
    ((guarded(1), guarded(3)), None),
]


@pytest.mark.parametrize("members, former", MOVES)
def test_whose_role_it_was(members, former):
    assert moved_from(group(NEW, *members), NEW) == former


@pytest.mark.parametrize("verb, request_", [(switchover.plan, Request(to="keydb-2")), (rejoin.plan, Request())])
def test_a_plan_that_finishes_a_move_says_whose_role_it_was(verb, request_):
    plan = verb(group(primary(1, paused=True), NEW, replica(3), service(1)), request_, 1)
    assert isinstance(plan, Plan)
    assert (plan.primary, plan.former, plan.moved_from, plan.epoch) == ("keydb-2", "keydb-2", "keydb-1", 2)


# (who is in the group, who takes the role, whose it was)
BACK = [
    ((guarded(1), orphan(2), orphan(3)), "keydb-2", "keydb-1"),
    ((guarded(1), orphan(2), orphan(3)), "keydb-1", None),
    ((guarded(1), guarded(2), guarded(3)), "keydb-2", None),
]


@pytest.mark.parametrize("members, to, former", BACK)
def test_an_old_primary_that_is_back_as_nobodys_is_named_by_who_takes_its_role(members, to, former):
    plan = failover.plan(group(*members), Request(to=to), 1)
    assert isinstance(plan, Plan), plan
    assert (plan.primary, plan.former, plan.moved_from) == (to, None, former)


def test_a_plan_that_moves_the_role_itself_finishes_nothing():
    plan = failover.plan(group(silent(1, "refused", stopped=True), orphan(2), orphan(3)), Request(), 1)
    assert isinstance(plan, Plan)
    assert (plan.former, plan.moved_from, plan.epoch) == ("keydb-1", None, 2)

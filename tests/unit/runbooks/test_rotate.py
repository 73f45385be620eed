"""Rotate: nobody is left who knows the old passwords alone, and who is done is not begun anew."""

import pytest
from worlds import codes, fenced, group, guarded, primary, replica, silent, silent_proxy

from keydb_runbooks.runbooks.plan import Refusal, Request
from keydb_runbooks.runbooks.rotate import Rotation, Stage, Taken, decide

GROUP = (primary(1), replica(2))
ROLES = ("application", "check")
OLD, BOTH, NEW = Taken(new=False, old=True), Taken(new=True, old=True), Taken(new=True, old=False)


def asked(*members, roles=ROLES, taken=(OLD, OLD), finish=False, **changes):
    seen = {f"keydb-{number}": one for number, one in enumerate(taken, start=1)}
    return decide(group(*members), Request(**changes), roles, seen, finish=finish)


# (what the two nodes take, finish: both, over, when ours are moved, what is said)
STATES = [
    ((OLD, OLD), False, True, False, Stage.MOVED, "application and check get new passwords, and the old ones go on until finish=yes"),
    ((BOTH, OLD), False, True, False, Stage.MOVED, "application and check get new passwords, and the old ones go on until finish=yes"),
    ((BOTH, BOTH), True, False, False, Stage.MOVED, "application and check get new passwords, and the old ones are taken away at the end"),
    ((NEW, BOTH), True, False, False, Stage.MOVED, "application and check get new passwords, and the old ones are taken away at the end"),
    ((NEW, NEW), True, False, True, Stage.NEW, "the old passwords of application and check are gone; take previous out of the inventory"),
    ((NEW, NEW), False, False, True, Stage.NEW, "the old passwords of application and check are gone; take previous out of the inventory"),
]  # fmt: skip


@pytest.mark.parametrize("taken, finish, both, over, moved, told", STATES)
def test_what_is_left_to_do_is_seen_in_the_servers(taken, finish, both, over, moved, told):
    answer = asked(*GROUP, taken=taken, finish=finish)
    assert isinstance(answer, Rotation)
    assert (answer.both, answer.over, answer.moved, answer.finish) == (both, over, moved, finish)
    assert str(answer) == f"rotate of demo: {told}"
    assert answer.roles == ROLES


WARNED = "clients that still log in with the old password are refused from then on"


def test_clients_are_thought_of_before_their_password_goes():
    assert asked(*GROUP, taken=(BOTH, BOTH), finish=True).warnings == (WARNED,)
    assert asked(*GROUP, taken=(NEW, NEW), finish=True).warnings == ()
    assert asked(*GROUP, roles=("check",), finish=True).warnings == ()
    assert asked(*GROUP).warnings == ()


def test_whoever_does_not_answer_is_told_later():
    away = frozenset({"keydb-3", "proxy-1"})
    answer = asked(*GROUP, silent(3), silent_proxy(1), allow_unread=away)
    assert answer.warnings == (
        "keydb-3 is not told: run this again when it is back, before finish=yes",
        "proxy-1 is not told: run this again when it is back, before finish=yes",
    )


def test_the_old_passwords_stay_as_long_as_somebody_knows_no_other():
    for away in (silent(3), silent_proxy(1)):
        answer = asked(*GROUP, away, taken=(BOTH, BOTH), finish=True, allow_unread=frozenset({away.name}))
        assert isinstance(answer, Refusal)
        assert str(answer) == (
            f"refused: not-told {away.name}: knows the old passwords alone as long as it is silent; "
            "run this without finish=yes, and with it when everybody answers"
        )


def test_a_stopped_server_is_told_by_its_file():
    answer = asked(*GROUP, silent(3, "refused", stopped=True), taken=(BOTH, BOTH), finish=True)
    assert isinstance(answer, Rotation)
    assert answer.warnings == (WARNED,)


REFUSED = {
    "nothing-to-rotate": (GROUP, (), (OLD, OLD), "no user has a previous password; give a user of keydb_users its old password as previous"),
    "node-no-answer": ((*GROUP, silent(3)), ROLES, (OLD, OLD), "allow_unread=keydb-3"),
    "two-primaries": ((primary(1), primary(2)), ROLES, (OLD, OLD), "neither lineage nor epoch tells"),
    "no-primary": ((guarded(1), guarded(2)), ROLES, (OLD, OLD), "nobody is primary, so a node may come back that knows the old passwords alone; run failover first"),
    "fenced": ((primary(1), fenced(replica(2))), ROLES, (OLD, OLD), "keydb-2: is fenced: its users are held as they are; run unfence first"),
    "acl-file": ((primary(1), replica(2, acl_file=True)), ROLES, (OLD, OLD), "keydb-2: has its users in a file of their own"),
    "users-unknown": (GROUP, ROLES, (OLD, None), "keydb-2: did not tell which passwords it takes"),
    "not-in-sync": ((primary(1), guarded(2)), ROLES, (OLD, OLD), "keydb-2: does not follow keydb-1; run rejoin first"),
}  # fmt: skip


@pytest.mark.parametrize("code", REFUSED)
def test_a_refusal_names_the_fact_and_the_way_on(code):
    members, roles, taken, told = REFUSED[code]
    answer = asked(*members, roles=roles, taken=taken)
    assert isinstance(answer, Refusal)
    assert answer.code == code
    assert told in str(answer)


def test_every_refusal_has_a_case():
    assert codes("Refusal", "rotate") <= {*REFUSED, "not-told"}

"""Remove-node: no primary goes, who stays can go on, and clients are led elsewhere before a server ends."""

from dataclasses import replace

import pytest
from worlds import codes, group, guarded, lines, orphan, primary, promoted, proxy, replica, silent, silent_proxy, stream

from keydb_runbooks.runbooks.plan import NothingToDo, Refusal, Request
from keydb_runbooks.runbooks.proxy import ProxyServer
from keydb_runbooks.runbooks.remove_node import DRAIN_SECONDS, Leaving, farewell, plan, refuse_number
from keydb_runbooks.runbooks.steps_members import Leave, LeftByClients
from keydb_runbooks.runbooks.verified import ended, left, verify

ASKED = Request(node="keydb-3")
GROUP = (primary(1), replica(2), replica(3))
FORGOTTEN = proxy(1, nodes=2)
STOPPED = silent(3, "refused", stopped=True)
AFTERWARDS = "afterwards: take keydb-3 out of the inventory, or the next install brings it back"


def asked(*members, needed=1, **changes):
    return farewell(group(*members), replace(ASKED, **changes), needed)


def test_a_replica_leaves_and_the_others_are_told():
    answer = asked(*GROUP, replica(4), proxy(1))
    assert isinstance(answer, Leaving)
    assert str(answer) == (
        "remove-node of demo: proxies forget keydb-3, its server ends and its data stay; then "
        "keydb-1 and keydb-2 and keydb-4 ask it no more; keydb-1 stays the primary"
    )
    assert answer.warnings == (AFTERWARDS,)


def test_two_that_stay_need_each_other():
    assert asked(*GROUP).warnings == ("of 2 nodes a majority is 2: verbs need 2 that answer", AFTERWARDS)


def test_whoever_does_not_answer_is_not_told():
    answer = asked(primary(1), replica(2), replica(4), silent(5, "refused", stopped=True), STOPPED, silent_proxy(2), allow_unread=frozenset({"proxy-2"}))  # fmt: skip
    assert answer.others == ("keydb-1", "keydb-2", "keydb-4")
    assert answer.warnings == (
        "keydb-5 still knows keydb-3, since its server doesn't answer: run install when it is back",
        "proxy-2 may still lead to keydb-3: run install when it is back",
        "of 4 nodes a majority is 3: verbs need 3 that answer",
        AFTERWARDS,
    )


def test_a_machine_that_is_off_for_good_leaves_by_its_name():
    answer = asked(primary(1), replica(2), replica(4), silent(3), allow_unread=frozenset({"keydb-3"}))
    assert answer.warnings == (
        "keydb-3 can't be ended or cleared, since it is not reached: see that its machine never comes back",
        AFTERWARDS,
    )


# (code: members, needed, what the request has besides, a part of what is said)
REFUSED = {
    "nothing-named": (GROUP, 1, {"node": None}, "which node leaves is not said; add node=NAME, one of keydb-1, keydb-2, keydb-3"),
    "proxy-named": ((*GROUP, proxy(1)), 1, {"node": "proxy-1"}, "is a proxy, and no node knows it; uninstall node=proxy-1 takes it away"),
    "unknown-member": ((*GROUP, silent_proxy(2)), 1, {"node": "keydb-9"}, "is no node of demo"),
    "last-node": ((primary(3),), 0, {}, "uninstall whole_group=demo says so"),
    "no-primary": ((guarded(1), guarded(2), guarded(3)), 1, {}, "nobody is primary; run failover first"),
    "two-primaries": ((primary(1), primary(2), replica(3)), 1, {}, "neither lineage nor epoch tells"),
    "primary": (GROUP, 1, {"node": "keydb-1"}, "is the primary; run switchover to=keydb-2 first, then this again"),
    "node-no-answer": ((primary(1), replica(2), silent(3)), 1, {}, "stop its server, or allow_unread=keydb-3 if its machine is off for good"),
    "no-node-answers": ((silent(1, stopped=True), replica(3)), 1, {}, "run start"),
    "follows-other": ((primary(1), replica(2), replica(4), replica(5, 3), replica(3)), 1, {}, "keydb-5: follows keydb-3, not keydb-1; run rejoin first"),
    "no-majority": ((primary(1), replica(2), silent(4, stopped=True), silent(5, stopped=True), replica(3)), 1, {}, "2 of the 4 nodes that stay answer: no majority could keep the lock"),
    "too-few-replicas": ((primary(1), orphan(2), replica(3)), 1, {}, "keydb-1: would have 0 replicas in sync, and takes writes only with 1; let another one join first, or lower keydb_min_replicas_to_write and install"),
    "no-replica-left": ((primary(1), replica(3)), 0, {}, "keydb-1: would be alone: keydb-3 is its last replica; let another one join first, or accept=no-replica-left"),
    "proxy-leads": ((*GROUP, proxy(1)), 1, {}, "proxy-1: still leads to keydb-3"),
}  # fmt: skip


@pytest.mark.parametrize("code", REFUSED)
def test_a_refusal_names_the_fact_and_the_way_on(code):
    members, needed, changes, told = REFUSED[code]
    answer = plan(group(*members), replace(ASKED, **changes), needed)
    assert isinstance(answer, Refusal)
    assert answer.code == code
    assert told in str(answer)


def test_every_refusal_has_a_case():
    told = codes("Refusal", "remove_node")
    assert {code for code in told if not any(case.startswith(code.rstrip("*")) for case in REFUSED)} == {"not-the-last"}


def test_a_primary_beside_the_rightful_one_is_joined_first():
    answer = asked(promoted(1), replica(2, replication_id=stream("b")), primary(3))
    assert isinstance(answer, Refusal)
    told = "refused: primary keydb-3: is a primary beside the rightful one; run rejoin first, then this again"
    assert str(answer) == told


def test_a_primary_without_a_replica_in_sync_has_nobody_to_take_its_role():
    answer = asked(primary(1), orphan(2), orphan(3), node="keydb-1")
    assert "is the primary; let a replica be in sync with it first" in str(answer)


def test_who_stays_and_does_not_follow_is_let_follow_and_nobody_has_to_join():
    told = "takes writes only with 1; run rejoin first, so that keydb-2 follows it, or lower keydb_min"
    assert told in str(asked(primary(1), guarded(2), replica(3)))
    told = "run rejoin first, so that keydb-2 and keydb-4 follow it, or accept=no-replica-left"
    assert told in str(asked(primary(1), guarded(2), guarded(4), replica(3), needed=0))


def test_a_primary_may_be_left_alone_if_that_is_said():
    for leaving in (replica(3), STOPPED):
        assert isinstance(asked(primary(1), leaving, needed=0, accept=frozenset({"no-replica-left"})), Leaving)


# The part that is a plan


def decided(*members, **changes):
    return plan(group(*members), replace(ASKED, **changes), 1)


def test_clients_go_before_it_ends():
    answer = decided(*GROUP, FORGOTTEN)
    assert lines(answer) == ["LeftByClients keydb-3", "Leave keydb-3"]
    assert answer.steps == (LeftByClients("keydb-3", DRAIN_SECONDS), Leave("keydb-3", "run-3"))
    assert (answer.verb, answer.group) == ("remove-node", "demo")
    assert (answer.primary, answer.former, answer.node) == ("keydb-1", "keydb-1", "keydb-3")
    assert answer.outcome == "keydb-3 has left demo"
    assert str(answer.loss) == "0 bytes (keydb-1 goes on and has everything)"
    assert (answer.proof, answer.gap) == ("keydb-1 stays the primary", "none")


def test_a_proxy_that_reads_from_it_leads_to_it_too():
    reading = replace(FORGOTTEN, readers=(ProxyServer("keydb-3", True, "UP", "L7OK", 1),))
    assert decided(*GROUP, reading).code == "proxy-leads"
    others = decided(*GROUP, reading, proxy(1, number=2), allow_unread=frozenset({"proxy-1"}))
    assert (others.code, others.where) == ("proxy-leads", "proxy-2")
    assert lines(decided(*GROUP, reading, allow_unread=frozenset({"proxy-1"}))) == lines(decided(*GROUP, FORGOTTEN))


def test_one_that_does_not_run_is_gone():
    for members, changes in (((STOPPED,), {}), ((silent(3),), {"allow_unread": frozenset({"keydb-3"})})):
        answer = decided(primary(1), replica(2), *members, proxy(1), **changes)
        assert isinstance(answer, NothingToDo)
        assert str(answer) == (
            "nothing to do: already-gone keydb-3: its server does not run; "
            "take keydb-3 out of the inventory, or the next install brings it back"
        )


def test_afterwards_nobody_looks_for_it():
    answer = decided(*GROUP, FORGOTTEN)
    seen = group(primary(1), replica(2), STOPPED, FORGOTTEN)
    assert ended(answer) == {"keydb-3"}
    assert [check.where for check in verify(answer, seen).not_verified] == ["proxy-1"]
    assert list(left(seen, "keydb-1", ended(answer))) == [
        "left: take keydb-3 out of the inventory, or the next install brings it back"
    ]


@pytest.mark.parametrize(
    "name, refused", [("my-cache-2", True), ("my-cache-10", False), ("other", False), (None, False)]
)
def test_a_set_of_pods_gives_up_the_one_with_the_highest_number_only(name, refused):
    answer = refuse_number("shop", name, ["my-cache-9", "my-cache-10", "my-cache-2"])
    told = "refused: not-the-last my-cache-2: a StatefulSet of shop gives up its last pod only, my-cache-10; name my-cache-10; if it is the primary, switchover first"
    assert (str(answer) == told) if refused else answer is None

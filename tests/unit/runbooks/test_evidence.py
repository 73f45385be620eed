"""Evidence: who saw what of whom, word for word, and when that makes a primary gone."""

from dataclasses import replace

import pytest
from worlds import ROOMY, group, guarded, link, orphan, primary, proxy, replica, silent, silent_proxy

from keydb_runbooks.runbooks import failover, switchover
from keydb_runbooks.runbooks.evidence import gather, witnesses
from keydb_runbooks.runbooks.grounds import Evidence, Verdict
from keydb_runbooks.runbooks.plan import Plan, Refusal, Request
from keydb_runbooks.runbooks.proxy import Proxy, ProxyServer

ANY = Request()
SPLIT = Request(accept_split=True)
AT = "2026-11-24T13:06:54.120Z"
ALIVE, GONE, NEITHER = Verdict


def front(status: str, check: str, *, up: bool = False, since: int | None = None) -> Proxy:
    servers = (ProxyServer("keydb-1", up, status, check, 0, since), ProxyServer("keydb-2", True, "UP", "L7OK", 0))
    return Proxy("proxy-1", "demo-write", "demo-read", servers, (), observed_at=AT)


def seen(*members, of="keydb-1") -> list[tuple[str, Verdict]]:
    """What is said of a node that is not read, but by the operator."""
    items = gather(group(*members), of)
    return [(str(item), item.verdict) for item in items if item.about == "keydb-1"]


UNASKED = ("its machine: keydb-1 could not be asked", NEITHER)

# (who else is in the group, the item about keydb-1, what it says)
ITEMS = [
    ((replica(2),), "keydb-2: keydb-1 is heard: link up, heard 1 s ago", ALIVE),
    ((replica(2, links=(link(1, last_io_seconds=2),)),), "keydb-2: keydb-1 is heard: link up, heard 2 s ago", ALIVE),
    ((replica(2, links=(link(1, last_io_seconds=3),)),), "keydb-2: keydb-1 is silent: link up, but heard 3 s ago (3 s are allowed)", GONE),
    ((replica(2, links=(link(1, last_io_seconds=None),)),), "keydb-2: keydb-1 is silent: link up, but never heard (3 s are allowed)", GONE),
    ((orphan(2),), "keydb-2: keydb-1 is not reached: link down", GONE),
    ((orphan(2, links=(link(1, up=False, last_io_seconds=None, down_seconds=4),)),), "keydb-2: keydb-1 is not reached: link down for 4 s", GONE),
    ((orphan(2, links=(link(1, up=False, last_io_seconds=None, syncing=True),)),), "keydb-2: keydb-1 is sending all its data", NEITHER),
    ((front("UP", "L7OK", up=True, since=1234),), "proxy-1: keydb-1 is UP for 1,234 s, last check L7OK", ALIVE),
    ((front("DOWN", "L4CON"),), "proxy-1: keydb-1 is DOWN, last check L4CON", GONE),
    ((front("UP 1/2", "L7TOUT", up=True),), "proxy-1: keydb-1 is UP 1/2, last check L7TOUT", GONE),
    ((front("DOWN", "L7RSP"),), "proxy-1: keydb-1 is DOWN, last check L7RSP", NEITHER),
    ((front("DOWN 1/2", "L7OK"),), "proxy-1: keydb-1 is DOWN 1/2, last check L7OK", NEITHER),
    ((front("MAINT", "L4TOUT"),), "proxy-1: keydb-1 is MAINT, last check L4TOUT", NEITHER),
    ((front("no check", "", up=True),), "proxy-1: keydb-1 is no check, last check unknown", NEITHER),
]  # fmt: skip


@pytest.mark.parametrize("members, item, verdict", ITEMS)
def test_what_the_others_see_of_a_primary(members, item, verdict):
    assert seen(silent(1), *members)[1:-1] == [(item, verdict)]


# (keydb-1 as it was seen, the items about it)
OWN = [
    (silent(1), [("the operator: keydb-1 was not read: does not answer within 2 s", GONE), UNASKED]),
    (silent(1, "refused"), [("the operator: keydb-1 was not read: does not answer within 2 s", GONE), UNASKED]),
    (silent(1, "unreachable-host"), [("the operator: keydb-1 was not read: does not answer within 2 s", GONE), UNASKED]),
    (silent(1, "wrong-password"), [("the operator: keydb-1 was not read: does not answer within 2 s", ALIVE), UNASKED]),
    (silent(1, "busy-script"), [("the operator: keydb-1 was not read: does not answer within 2 s", ALIVE), UNASKED]),
    (silent(1, "loading"), [("the operator: keydb-1 was not read: does not answer within 2 s", ALIVE), UNASKED]),
    (silent(1, "not-a-server"), [("the operator: keydb-1 was not read: does not answer within 2 s", NEITHER), UNASKED]),
    (silent(1, "forwarding-forbidden"), [("the operator: keydb-1 was not read: does not answer within 2 s", NEITHER), UNASKED]),
    (silent(1, "refused", stopped=True), [("the operator: keydb-1 was not read: does not answer within 2 s", GONE), ("its machine: keydb-1 has no server process", GONE)]),
    (replace(silent(1), machine=ROOMY), [("the operator: keydb-1 was not read: does not answer within 2 s", GONE), ("its machine: keydb-1 has a server process, disk 90 % full", NEITHER)]),
    (replace(silent(1), machine=replace(ROOMY, process=None, disk_free=None)), [("the operator: keydb-1 was not read: does not answer within 2 s", GONE), ("its machine: keydb-1 has an unknown process", NEITHER)]),
    (replace(silent(1), machine=replace(ROOMY, process=False, disk_size=0)), [("the operator: keydb-1 was not read: does not answer within 2 s", GONE), ("its machine: keydb-1 has no server process", NEITHER)]),
    (primary(1, round_trip_seconds=0.00042), [("the operator: keydb-1 answers in 0.4 ms as a primary", ALIVE), ("its machine: keydb-1 has a server process, disk 90 % full", NEITHER)]),
    (guarded(1, round_trip_seconds=0.00042, machine=None), [("the operator: keydb-1 answers in 0.4 ms, guarded", ALIVE)]),
    (replica(1, 3, round_trip_seconds=None, machine=None), [("the operator: keydb-1 answers as a replica", ALIVE)]),
]  # fmt: skip


@pytest.mark.parametrize("node, items", OWN)
def test_what_the_operator_and_its_own_machine_see_of_a_node(node, items):
    assert seen(node) == items


def test_a_guarded_node_a_stranger_and_a_proxy_that_was_not_read_are_no_witnesses():
    assert seen(silent(1), guarded(2), silent_proxy())[1:] == [UNASKED]
    items = gather(group(replica(2, 9)), None)
    assert [str(item) for item in items if item.who == "keydb-2"] == [
        "keydb-2: 10.0.0.9:6379 is heard: link up, heard 1 s ago"
    ]


def test_without_a_known_primary_the_proxies_are_asked_of_all_who_are_silent():
    items = gather(group(silent(1), silent(3), guarded(2), proxy(1)), None)
    assert [item.about for item in items if item.who == "proxy-1"] == ["keydb-1", "keydb-3"]


def test_each_item_has_its_moment():
    members = (replace(silent(1, stopped=True), observed_at="1"), orphan(2, observed_at="2"), front("DOWN", "L4CON"))
    assert [(item.who, item.when) for item in gather(group(*members), "keydb-1")] == [
        ("the operator", "2"),
        ("the operator", "1"),
        ("keydb-2", "2"),
        ("proxy-1", AT),
        ("its machine", "2"),
        ("its machine", "1"),
    ]


def test_a_place_counts_once():
    item = Evidence("keydb-2", "keydb-1", "is not reached", AT, GONE)
    others = (replace(item, about="keydb-3"), replace(item, verdict=ALIVE), replace(item, who="proxy-1"))
    assert witnesses("keydb-1", (item, item, *others)) == ("keydb-2", "proxy-1")


MEND = "mend the way to keydb-1 and use switchover; or accept_split=yes to go on without it"
FEW = "let a replica, a proxy or its machine answer, or accept_split=yes if you know that it is"
THROUGH = {"clients_only_through_proxies": True}
REFUSALS = [
    ((silent(1), orphan(2), front("UP", "L7OK", up=True)), {}, f"refused: still-reached proxy-1: still gets answers from keydb-1: it is not gone; {MEND}"),
    ((silent(1, "busy-script"), orphan(2)), {}, f"refused: still-reached the operator: still gets answers from keydb-1: it is not gone; {MEND}"),
    ((silent(1), guarded(2), front("DOWN", "L7RSP")), THROUGH, f"refused: one-witness keydb-1: only the operator says that it is gone, and two places must; {FEW}"),
    ((silent(1, "not-a-server"), guarded(2), front("DOWN", "L7RSP")), THROUGH, f"refused: one-witness keydb-1: nobody says that it is gone, and two places must; {FEW}"),
]  # fmt: skip


@pytest.mark.parametrize("members, changes, sentence", REFUSALS)
def test_a_primary_is_gone_only_if_two_places_say_so_and_none_says_otherwise(members, changes, sentence):
    answer = failover.plan(group(*members, **changes), ANY, 1)
    assert str(answer) == sentence
    assert answer.evidence == gather(group(*members, **changes), "keydb-1")


# (members, what forbids failover, whether a moment may change that)
PASSING = [
    ((silent(1), replica(2), orphan(3)), "still-followed", True),
    ((silent(1), orphan(2), front("UP", "L7OK", up=True)), "still-reached", True),
    ((silent(1), orphan(2), proxy(sessions=3, nodes=2)), "not-fenced", True),
    ((silent(1), orphan(2), front("UP 1/3", "L4TOUT", up=True)), "not-fenced", True),
    ((silent(1), orphan(2)), "not-fenced", False),
    ((silent(1), guarded(2), front("DOWN", "L7RSP")), "one-witness", False),
]


@pytest.mark.parametrize("members, code, passing", PASSING)
def test_a_refusal_says_whether_a_moment_may_change_it(members, code, passing):
    answer = failover.plan(group(*members, **THROUGH), ANY, 1)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.passing) == (code, passing)


def test_both_can_be_accepted_by_who_knows_better():
    assert isinstance(failover.plan(group(silent(1), orphan(2), front("UP", "L7OK", up=True)), SPLIT, 1), Plan)
    accepted = Request(accept_split=True, accept_loss=frozenset({"keydb-1"}))
    assert isinstance(failover.plan(group(silent(1), guarded(2)), accepted, 1), Plan)


def test_a_second_place_is_enough_be_it_a_replica_a_proxy_or_its_machine():
    down = front("DOWN", "L4TOUT")
    accepted = Request(accept_loss=frozenset({"keydb-1"}))
    assert isinstance(failover.plan(group(silent(1), guarded(2), down, **THROUGH), accepted, 1), Plan)
    routes = front("DOWN", "L7RSP")
    assert isinstance(failover.plan(group(silent(1), orphan(2), routes, **THROUGH), ANY, 1), Plan)
    assert isinstance(failover.plan(group(silent(1, "refused", stopped=True), guarded(2)), ANY, 1), Plan)


def test_a_replica_that_is_silent_too_needs_no_witness_as_nobody_takes_it_for_the_primary():
    members = (silent(1, "refused", stopped=True), silent(3), orphan(2), front("DOWN", "L4CON"))
    assert isinstance(failover.plan(group(*members, **THROUGH), ANY, 1), Plan)


def test_a_server_that_is_known_to_be_stopped_is_gone_though_a_check_has_not_noticed():
    members = (silent(1, "refused", stopped=True), orphan(2), front("UP", "L7OK", up=True))
    assert isinstance(failover.plan(group(*members), ANY, 1), Plan)


def test_plans_carry_their_evidence():
    members = (primary(1), replica(2), proxy(1, nodes=2))
    assert switchover.plan(group(*members), ANY, 1).evidence == gather(group(*members), "keydb-1")
    members = (silent(1, "refused", stopped=True), orphan(2), proxy(nodes=2))
    assert failover.plan(group(*members), ANY, 1).evidence == gather(group(*members), "keydb-1")


def test_a_refusal_that_it_is_still_followed_shows_who_follows():
    answer = failover.plan(group(silent(1), replica(2)), ANY, 1)
    assert answer.code == "still-followed"
    assert "keydb-2: keydb-1 is heard: link up, heard 1 s ago" in map(str, answer.evidence)


@pytest.mark.parametrize(
    "verb, members, primary_name, request_, code",
    [
        (failover, (primary(1), replica(2)), "keydb-1", Request(to="keydb-2"), "primary-answers"),
        (failover, (primary(1, keys=0), replica(2)), "keydb-1", ANY, "emptied-primary"),
        (switchover, (orphan(2), orphan(3)), None, ANY, "no-primary"),
    ],
)
def test_a_refusal_over_which_node_is_primary_shows_what_was_seen(verb, members, primary_name, request_, code):
    answer = verb.plan(group(*members), request_, 1)
    assert (answer.code, answer.evidence) == (code, gather(group(*members), primary_name))

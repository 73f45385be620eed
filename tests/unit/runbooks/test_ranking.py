"""The ranking of candidates: which criterion decides, and the reason for every place."""

from dataclasses import replace

import pytest
from worlds import GOOD, group, guarded, link, orphan, primary, replica, silent

from keydb_runbooks.runbooks import failover, switchover
from keydb_runbooks.runbooks.grounds import Place
from keydb_runbooks.runbooks.plan import Refusal, Request
from keydb_runbooks.runbooks.ranking import FAILOVER, SWITCHOVER, Wish, has_room, lacks, rank, sound

ANY = Request()
DEAD = silent(1, "refused", stopped=True)
ZONES = ("b", "a")
FAILING = replace(GOOD, saved=False, dumped=False, stops=False)
OFF = replace(GOOD, saves=False)
UNSURE = replace(GOOD, saved=None)


def places(answer) -> list[str]:
    return [f"{place.node} {'may' if place.eligible else 'no'}: {place.why}" for place in answer.ranking]


def ranked(criteria, *nodes, wish=None) -> list[str]:
    """The places of nodes that all may take the role."""
    found = rank(nodes, (), criteria, wish or Wish(ZONES), lambda _: None)
    assert [node.name for node in found.able] == [place.node for place in found.places]
    return [f"{place.node}: {place.why}" for place in found.places]


# (criteria, the better node, the worse one, why the better is first, why the worse is second)
DECIDED = [
    (FAILOVER, orphan(3, epoch=2), orphan(2, offset=2000), "has the newest promotion", "knows epoch 1 only, keydb-3 knows 2"),
    (FAILOVER, orphan(3), orphan(2, epoch=None), "has the newest promotion", "knows epoch unknown only, keydb-3 knows 1"),
    (FAILOVER, orphan(3, offset=1001, priority=200), orphan(2), "has the most data", "1 bytes less than keydb-3"),
    (FAILOVER, orphan(3, offset=5000), orphan(2), "has the most data", "4,000 bytes less than keydb-3"),
    (FAILOVER, orphan(3, priority=99, condition=OFF), orphan(2), "has the lowest replica-priority", "replica-priority 100, keydb-3 has 99"),
    (FAILOVER, orphan(3, memory_used=9, memory_limit=9), orphan(2, condition=FAILING), "has sound persistence", "its persistence is failing, keydb-3's is ok"),
    (FAILOVER, orphan(3), orphan(2, condition=OFF), "has sound persistence", "its persistence is off, keydb-3's is ok"),
    (FAILOVER, orphan(3), orphan(2, condition=UNSURE), "has sound persistence", "its persistence is ?, keydb-3's is ok"),
    (FAILOVER, orphan(3, condition=UNSURE), orphan(2, condition=FAILING), "has sound persistence", "its persistence is failing, keydb-3's is ?"),
    (FAILOVER, orphan(3, zone="x"), orphan(2, memory_used=9, memory_limit=10, zone="b"), "has room for memory", "little room for memory, keydb-3 has more"),
    (FAILOVER, orphan(3, zone="b"), orphan(2, zone="a"), "has the preferred zone", "zone a, keydb-3 is in b"),
    (FAILOVER, orphan(3, zone="a"), orphan(2), "has the preferred zone", "zone unknown, keydb-3 is in a"),
    (FAILOVER, orphan(2), orphan(3), "first by name", "as good as keydb-2, later by name"),
    (FAILOVER, orphan(2, zone="x"), orphan(3, zone="y"), "first by name", "as good as keydb-2, later by name"),
    (SWITCHOVER, replica(3, priority=99, offset=1, epoch=None), replica(2), "has the lowest replica-priority", "replica-priority 100, keydb-3 has 99"),
    (SWITCHOVER, replica(3, offset=1), replica(2, condition=FAILING), "has sound persistence", "its persistence is failing, keydb-3's is ok"),
    (SWITCHOVER, replica(3, offset=1), replica(2, memory_used=9, memory_limit=10), "has room for memory", "little room for memory, keydb-3 has more"),
    (SWITCHOVER, replica(3, zone="b", offset=1), replica(2, zone="a"), "has the preferred zone", "zone a, keydb-3 is in b"),
    (SWITCHOVER, replica(3), replica(2, offset=990), "has the most data", "10 bytes less than keydb-3"),
    (SWITCHOVER, replica(2), replica(3), "first by name", "as good as keydb-2, later by name"),
]  # fmt: skip


@pytest.mark.parametrize("criteria, better, worse, first, second", DECIDED)
def test_the_first_criterion_that_tells_two_apart_decides(criteria, better, worse, first, second):
    expected = [f"{better.name}: {first}", f"{worse.name}: {second}"]
    assert ranked(criteria, better, worse) == ranked(criteria, worse, better) == expected


def test_every_criterion_of_both_verbs_has_decided_somewhere():
    reasons = {first for _, _, _, first, _ in DECIDED}
    assert {f"has {one.better}" for one in (*FAILOVER, *SWITCHOVER)} <= reasons


def test_each_place_is_compared_with_the_one_before_it():
    nodes = (orphan(4), orphan(3, offset=990), orphan(2, offset=980, priority=1))
    assert ranked(FAILOVER, *nodes) == [
        "keydb-4: has the most data",
        "keydb-3: 10 bytes less than keydb-4",
        "keydb-2: 10 bytes less than keydb-3",
    ]


def test_a_switchover_compares_what_replicas_still_lack_and_not_when_they_were_read():
    late = replica(2, offset=990, condition=replace(GOOD, behind_bytes=0))
    early = replica(3, offset=1040, condition=replace(GOOD, behind_bytes=5))
    assert ranked(SWITCHOVER, early, late, wish=Wish((), primary(1)))[0] == "keydb-2: has the most data"


@pytest.mark.parametrize(
    "node, bytes_lacking",
    [
        (replica(2, offset=990), 10),
        (replica(2, offset=1010), 0),
        (replica(2, offset=990, condition=replace(GOOD, behind_bytes=0)), 0),
        (replica(2, offset=1010, condition=replace(GOOD, behind_bytes=7)), 7),
    ],
)
def test_what_a_replica_lacks_is_what_it_still_lacked_at_the_second_look(node, bytes_lacking):
    assert lacks(node, primary(1)) == bytes_lacking


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, True),
        ({"saves": False}, False),
        ({"saved": False, "logged": None}, False),
        ({"logged": False}, False),
        ({"logged": None}, None),
    ],
)
def test_persistence_is_sound_if_it_keeps_something_and_that_worked(changes, expected):
    assert sound(replica(2, condition=replace(GOOD, **changes))) is expected


@pytest.mark.parametrize("used, limit, expected", [(89, 100, True), (90, 100, False), (10**9, 0, True), (0, 1, True)])
def test_there_is_room_below_nine_tenths_of_the_limit(used, limit, expected):
    assert has_room(replica(2, memory_used=used, memory_limit=limit)) is expected


def test_a_plan_shows_everybody_also_who_may_not_and_why():
    members = (DEAD, orphan(2, priority=0), orphan(4, keys=0), orphan(3), silent(5, stopped=True))
    assert places(failover.plan(group(*members), ANY, 1)) == [
        "keydb-3 may: nobody else may",
        "keydb-1 no: node-refused: does not answer within 2 s",
        "keydb-2 no: target-never-primary: has replica-priority 0: it must never be the primary",
        "keydb-4 no: target-empty: holds no keys, but keydb-2 does",
        "keydb-5 no: node-no-answer: does not answer within 2 s",
    ]


def test_a_switchover_ranks_everybody_but_the_primary():
    members = (primary(1), replica(2), guarded(4, offset=900), replica(3, links=(link(1, last_io_seconds=3),)))
    assert places(switchover.plan(group(*members), ANY, 1)) == [
        "keydb-2 may: nobody else may",
        "keydb-3 no: target-not-in-sync: has no live link to keydb-1",
        "keydb-4 no: target-guarded: was started guarded and follows nobody",
    ]


def test_a_place_shows_what_was_compared():
    busy = replica(2, offset=123456, priority=7, memory_used=30, memory_limit=64, zone="a", condition=OFF)
    plan = switchover.plan(group(primary(1, memory_limit=64), busy, silent(3, stopped=True)), ANY, 1)
    assert plan.ranking == (
        Place("keydb-2", True, "nobody else may", "123,456", "7", "off", "46 %", "a"),
        Place("keydb-3", False, "node-no-answer: does not answer within 2 s", "?", "?", "?", "?", "?"),
    )
    [place] = switchover.plan(group(primary(1), replica(2)), ANY, 1).ranking
    assert (place.memory, place.zone, place.disk) == ("no limit", "-", "ok")


@pytest.mark.parametrize("verb, members", [(switchover, (primary(1), orphan(2), orphan(3))), (failover, (DEAD, orphan(2, priority=0), orphan(3, priority=0)))])  # fmt: skip
def test_a_refusal_for_want_of_a_candidate_shows_why_nobody_may(verb, members):
    answer = verb.plan(group(*members), ANY, 1)
    assert isinstance(answer, Refusal)
    assert [place.node for place in answer.ranking if not place.eligible][-2:] == ["keydb-2", "keydb-3"]


def test_to_overrides_the_ranking_among_those_that_may_and_no_others():
    members = (primary(1), replica(2), replica(3, priority=200), replica(4, priority=0))
    plan = switchover.plan(group(*members), Request(to="keydb-3"), 1)
    assert (plan.primary, plan.ranking[0].node) == ("keydb-3", "keydb-2")
    answer = switchover.plan(group(*members), Request(to="keydb-4"), 1)
    assert (answer.code, [place.node for place in answer.ranking]) == (
        "target-never-primary",
        ["keydb-2", "keydb-3", "keydb-4"],
    )
    members = (DEAD, orphan(2), orphan(3, priority=200), orphan(4, offset=10))
    assert failover.plan(group(*members), Request(to="keydb-3"), 1).primary == "keydb-3"
    assert failover.plan(group(*members), Request(to="keydb-4"), 1).code == "target-behind"


def test_the_inventorys_zones_decide_between_equals():
    members = (replica(2, zone="a"), replica(3, zone="b"))
    seen = group(primary(1), *members, preferred_zones=("b", "a"))
    assert switchover.plan(seen, ANY, 1).primary == "keydb-3"
    seen = group(DEAD, orphan(2, zone="a"), orphan(3, zone="b"), preferred_zones=("b",))
    assert failover.plan(seen, ANY, 1).primary == "keydb-3"

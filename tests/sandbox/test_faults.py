"""A fault of one node or the proxy in the middle of a verb, on real servers behind relays.

Every run ends in one of four ways, nothing is lost that the plan didn't call lost, and when the fault is gone a person
who does what is printed comes to a healthy group. ``make test`` tries each verb, node, fault and moment somewhere,
``make test-ci`` every pair of two of them, ``make test-all`` everything, on each engine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from disturbing import FAULTS, OF_PROXIES, begin, disturbed, is_whole, link_script, said
from kit import WRITES_PER_SECOND, Sandbox, writing
from moments import Moment, list_of, run_at
from pairs import Row, each_value, every_row, pairs_of, pairwise
from verbs import VERBS, places_of

PROMOTE = (
    "target: CONFIG SET min-replicas-to-write 0 + REPLICAOF NO ONE + SET runbook:epoch"
    " + CONFIG SET min-replicas-to-write 1 #1"
)
GUARD = "primary: CONFIG SET replica-read-only yes + REPLICAOF 255.255.255.255 1 + CONFIG REWRITE #1"
TRIAL = "primary: SET runbook:verify + EVAL return 1 0 #1"

MOMENTS = {
    "switchover": {
        "before": Moment("primary: CLIENT PAUSE 1500 WRITE #1", "before"),
        "within": Moment("primary: CLIENT PAUSE 1000000000000 WRITE #1", "answered"),
        "behind": Moment(PROMOTE, "answered"),
    },
    "failover": {
        "before": Moment(PROMOTE, "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("sibling: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "failover-empty": {
        "before": Moment("primary: CLIENT PAUSE 1000000000000 WRITE #1", "before"),
        "within": Moment(PROMOTE, "before"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "rejoin": {
        "before": Moment("primary: CLIENT UNPAUSE #1", "before"),
        "within": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "before"),
        "behind": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "answered"),
    },
    "rejoin-diverged": {
        "before": Moment("sibling: BGSAVE #1", "before"),
        "within": Moment("sibling: BGSAVE #1", "answered"),
        "behind": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "answered"),
    },
    "rejoin-two-primaries": {
        "before": Moment(GUARD, "before"),
        "within": Moment("primary: BGSAVE #1", "answered"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "promote": {
        "before": Moment(PROMOTE, "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("target: CONFIG REWRITE #1", "answered"),
    },
    "demote": {
        "before": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "before"),
        "within": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "answered"),
        "behind": Moment("primary: CLIENT UNPAUSE #1", "answered"),
    },
    "demote-alone": {
        "before": Moment(GUARD, "before"),
        "within": Moment(GUARD, "answered"),
        "behind": Moment("primary: INFO #3", "answered"),
    },
    "restart": {
        "before": Moment("target: REPLICAOF primary + CONFIG REWRITE #1", "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #2", "before"),
    },
    "fence": {
        "before": Moment("primary: ACL + CONFIG REWRITE #1", "before"),
        "within": Moment("primary: ACL + CONFIG REWRITE #1", "answered"),
        "behind": Moment(TRIAL, "answered"),
    },
    "unfence": {
        "before": Moment("primary: ACL + CONFIG REWRITE #1", "before"),
        "within": Moment("primary: ACL + CONFIG REWRITE #1", "answered"),
        "behind": Moment(TRIAL, "answered"),
    },
    "abort": {
        "before": Moment("primary: CLIENT UNPAUSE #1", "before"),
        "within": Moment("primary: CLIENT UNPAUSE #1", "answered"),
        "behind": Moment("proxy: SET runbook:verify #1", "answered"),
    },
}
"""Directly before the first change; when it is half done or not looked at yet; near the end."""

FACTORS = {
    "verb": tuple(MOMENTS),
    "where": ("primary", "target", "sibling", "proxy"),
    "fault": FAULTS,
    "moment": ("before", "within", "behind"),
}

DEAD = {"failover": ("primary",), "promote": ("primary",), "demote-alone": ("target", "sibling")}
"""Who is dead already in the world that a verb finds."""


STAYS = ("promote", "demote", "restart", "fence", "unfence")
"""Whose promise still holds when everybody is back, unless the fault itself moved the role."""


def possible(row: Row) -> bool:
    verb, where, fault, _ = row
    if where == "proxy":
        return fault in OF_PROXIES
    return where not in DEAD.get(verb, ())


ROWS = every_row(FACTORS, possible)
CHOSEN = pairwise(ROWS)
FEW = each_value(CHOSEN)


def test_every_pair_of_values_is_tried() -> None:
    tried = {pair for row in CHOSEN for pair in pairs_of(row)}
    assert tried == {pair for row in ROWS for pair in pairs_of(row)}
    # As few rows as there can be: each has one pair of a verb and a fault.
    assert len(CHOSEN) == len(FACTORS["verb"]) * len(FACTORS["fault"])


@pytest.fixture
def networked(networked: Sandbox) -> Iterator[Sandbox]:
    yield networked
    list_of(networked).unlink(missing_ok=True)


def disturb(group: Sandbox, row: Row) -> None:
    name, where, fault, moment = row
    verb = VERBS[name]
    with writing(group, 50 if verb.slowly else WRITES_PER_SECOND) as writer:
        world = verb.world(group, places_of(group))
        _, person = disturbed(group, verb.deploy, world, MOMENTS[name][moment], where, fault)
        for deploy, _ in verb.behind(world):
            if deploy == "start":
                group.run("start").ok()
        person.finish(verb.deploy, world.data)
        if name in STAYS and group.primaries() == [world.primary]:
            verb.kept(group, world)
        for deploy, data in verb.behind(world):
            if deploy == "unfence":
                person.run(deploy, **data).ok()
        is_whole(group, writer, world, person, 20)


@pytest.mark.first_engine
@pytest.mark.parametrize("row", FEW, ids="-".join)
def test_a_fault_in_the_middle_of_a_verb_ends_well(networked: Sandbox, row: Row) -> None:
    disturb(networked, row)


@pytest.mark.in_ci
@pytest.mark.first_engine
@pytest.mark.parametrize("row", [row for row in CHOSEN if row not in FEW], ids="-".join)
def test_every_two_of_verb_node_fault_and_moment_end_well_together(networked: Sandbox, row: Row) -> None:
    disturb(networked, row)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row not in CHOSEN], ids="-".join)
def test_every_fault_at_every_moment_of_every_verb_ends_well(networked: Sandbox, row: Row) -> None:
    disturb(networked, row)


@pytest.mark.first_engine
def test_nobody_waits_for_a_replica_of_a_primary_that_no_longer_answers(networked: Sandbox) -> None:
    world = VERBS["failover"].world(networked, places_of(networked))
    placed = {place: name for name, place in world.places.names.items()}
    target = placed["target"]
    kill = f"{begin(networked, 'killed', target)}; {sys.executable} {link_script(networked, placed['sibling'])}"

    told = run_at(networked, "failover", MOMENTS["failover"]["behind"], kill, world.places.names, **world.data)

    assert f"{target}, its primary, no longer answers: the link to" in " ".join(told.text.split()), told.text
    assert said("failed and incomplete", told)
    assert "(3 s of 60 s" not in told.text

"""A fault of one node or the proxy in the middle of a verb, on real servers behind relays.

Every run ends in one of four ways, nothing is lost that the plan didn't call lost, and when the fault is gone a person
who does what is printed comes to a healthy group. ``make test`` tries each verb, node, fault and moment somewhere,
``make test-ci`` every pair of two of them, ``make test-all`` everything, on each engine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import faults_of_others
import faults_of_roles
import pytest
from disturbing import begin, link_script, said
from kit import Sandbox
from moments import list_of, run_at
from pairs import Row, pairs_of
from tables import Table
from verbs import VERBS, places_of

TABLES = (faults_of_roles.TABLE, faults_of_others.TABLE)
TABLE_OF = {verb: table for table in TABLES for verb in table.moments}

FEW = [row for table in TABLES for row in table.few]
PAIRS = [row for table in TABLES for row in table.chosen if row not in table.few]
REST = [row for table in TABLES for row in table.rows if row not in table.chosen]


@pytest.mark.parametrize("table", TABLES, ids=["roles", "others"])
def test_every_pair_of_values_is_tried(table: Table) -> None:
    tried = {pair for row in table.chosen for pair in pairs_of(row)}
    assert tried == {pair for row in table.rows for pair in pairs_of(row)}
    # As few rows as there can be: each has one pair of a verb and a fault.
    assert len(table.chosen) == len(table.factors["verb"]) * len(table.factors["fault"])


def test_each_verb_stands_in_one_table() -> None:
    assert len(TABLE_OF) == sum(len(table.moments) for table in TABLES)


@pytest.fixture
def networked(networked: Sandbox) -> Iterator[Sandbox]:
    yield networked
    list_of(networked).unlink(missing_ok=True)


def disturb(group: Sandbox, row: Row) -> None:
    TABLE_OF[row[0]].disturb(group, row)


@pytest.mark.first_engine
@pytest.mark.parametrize("row", FEW, ids="-".join)
def test_a_fault_in_the_middle_of_a_verb_ends_well(networked: Sandbox, row: Row) -> None:
    disturb(networked, row)


@pytest.mark.in_ci
@pytest.mark.first_engine
@pytest.mark.parametrize("row", PAIRS, ids="-".join)
def test_every_two_of_verb_node_fault_and_moment_end_well_together(networked: Sandbox, row: Row) -> None:
    disturb(networked, row)


@pytest.mark.slow
@pytest.mark.parametrize("row", REST, ids="-".join)
def test_every_fault_at_every_moment_of_every_verb_ends_well(networked: Sandbox, row: Row) -> None:
    disturb(networked, row)


@pytest.mark.first_engine
def test_nobody_waits_for_a_replica_of_a_primary_that_no_longer_answers(networked: Sandbox) -> None:
    world = VERBS["failover"].world(networked, places_of(networked))
    placed = {place: name for name, place in world.places.names.items()}
    target = placed["target"]
    kill = f"{begin(networked, 'killed', target)}; {sys.executable} {link_script(networked, placed['sibling'])}"

    told = run_at(
        networked, "failover", faults_of_roles.MOMENTS["failover"]["behind"], kill, world.places.names, **world.data
    )

    assert f"{target}, its primary, no longer answers: the link to" in " ".join(told.text.split()), told.text
    assert said("failed and incomplete", told)
    assert "(3 s of 60 s" not in told.text

"""How the bench on pods reads clients' journals: who was cut off, for how long, and what they waited for."""

from __future__ import annotations

import pytest

from bench.cuts import Cut, Moments, cuts, read_clock

JOURNAL = """
1.000 0 10 ok
1.000 1 10 ok
1.010 0 11 failed
1.020 0 12 failed
1.030 1 11 failed
1.050 0 13 ok
1.090 1 12 ok
1.900 1 13 ok
"""


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


def test_whoever_had_a_write_that_failed_was_cut_off_and_the_longest_comes_first():
    assert cuts(rows(JOURNAL), 0.0) == [Cut("1", 1.0, 1.09, 1), Cut("0", 1.0, 1.05, 2)]


def test_a_client_that_waited_without_a_failure_was_not_cut_off():
    assert [cut.milliseconds for cut in cuts(rows(JOURNAL), 1.04)] == []


def test_the_parts_of_a_cut_are_the_whole_of_it():
    parts = Cut("0", 1.0, 1.05, 2).parts(Moments(promoted=1.015, told=1.03))
    assert {part: round(value) for part, value in parts.items()} == {"promotion": 15, "route": 15, "return": 20}


@pytest.mark.parametrize(("told", "moment"), [("MoveService", 2.5), ("Route", 2.9)])
def test_the_last_of_those_who_lead_clients_counts(tmp_path, told, moment):
    clock = tmp_path / "clock.txt"
    clock.write_text("1.0 1.5 Promote a\n2.0 2.5 MoveService s\n2.5 2.6 Route p-0\n2.6 2.9 Route p-1\n")
    assert read_clock(clock, told) == Moments(1.5, moment)

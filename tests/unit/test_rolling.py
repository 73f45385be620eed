"""What a rolling run stays with, and the moment that another run is told."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "runbooks"))
from worlds import GOOD, group, lines, primary, proxy, replica

from keydb_runbooks.operations.options import seconds_of, written
from keydb_runbooks.operations.rolling import refuse_start, staying
from keydb_runbooks.runbooks import restart
from keydb_runbooks.runbooks.plan import NothingToDo, Request, Since


def node(made, began, **changes):
    return replace(made, condition=replace(GOOD, began_seconds=began), **changes)


THREE = (node(primary(1), 100.4), node(replica(2), 90.0), node(replica(3), 95.0), proxy(1))


def test_without_a_moment_all_that_runs_at_the_first_look_is_meant_and_stays_so():
    decide = staying(restart.plan)
    plan = decide(group(*THREE), Request(), 1)
    assert plan.again == (("since", "1970-01-01T00:01:43Z"),)
    # However young it is: it is a process of its own.
    done = node(replica(2), 101.0, run_id="another")
    left = decide(group(THREE[0], done, *THREE[2:]), Request(), 1)
    assert left.steps == plan.steps[3:]
    assert left.again == plan.again


def test_the_next_primary_stays_the_one_that_was_shown():
    decide = staying(restart.plan)
    assert decide(group(*THREE), Request(), 1).primary == "keydb-2"
    better = node(replica(3, priority=1), 95.0)
    assert decide(group(*THREE[:2], better, proxy(1)), Request(), 1).primary == "keydb-2"
    assert staying(restart.plan)(group(*THREE[:2], better, proxy(1)), Request(), 1).primary == "keydb-3"


def test_a_moment_that_is_named_is_taken():
    decide = staying(restart.plan)
    plan = decide(group(*THREE), Request(since=Since(93.0, "so")), 1)
    assert lines(plan) == ["LookAgain keydb-2", "Restart keydb-2", "BackInSync keydb-2"]
    assert plan.again == (("since", "so"),)


def test_of_who_does_not_tell_his_age_all_are_meant_that_run_now():
    unsure = (node(primary(1), None), *THREE[1:])
    plan = staying(restart.plan)(group(*unsure), Request(), 1)
    assert len([step for step in plan.steps if step.code == "Restart"]) == 3
    assert seconds_of(dict(plan.again)["since"]) > 1.7e9


def test_who_was_restarted_long_behind_the_others_is_known_by_another_run():
    younger = [node(one, 110.0) for one in THREE[:3]]
    since = Request(since=Since(103.0, "so"))
    assert isinstance(staying(restart.plan)(group(*younger, proxy(1)), since, 1), NothingToDo)


@pytest.mark.parametrize("given", ["", "now", "2026-01-02", "2026-01-02 03:04:05", "2026-13-02T03:04:05Z", 5])
def test_what_is_no_moment_is_none(given):
    assert seconds_of(given) is None


def test_a_moment_is_read_as_it_is_written():
    assert written(seconds_of("2026-01-02T03:04:05Z") + 0.9) == "2026-01-02T03:04:05Z"


UNIT = {
    "systemd": True,
    "root": True,
    "file": "/lib/x",
    "enabled": True,
    "outdated": False,
    "active": "active",
    "result": "",
}


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (UNIT, None),
        (None, "no-systemd"),
        ({**UNIT, "systemd": False}, "no-systemd"),
        ({**UNIT, "root": False}, "no-root"),
        ({**UNIT, "file": ""}, "no-unit"),
        ({**UNIT, "active": "inactive"}, None),
    ],
)
def test_what_can_not_be_restarted_is_refused_before_anything_is_touched(state, code):
    answer = refuse_start("keydb-1", "keydb-server.service", state)
    assert (answer.code if answer else None) == code

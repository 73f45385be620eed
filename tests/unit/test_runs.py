"""Reports, the history, progress and the names of locks, as functions."""

import fcntl
import json
import os
import re
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path

import gevent
import jsonschema
import pytest

sys.path.append(str(Path(__file__).parent / "runbooks"))
from worlds import group, orphan, primary, proxy, replica, silent, virgin

from keydb_runbooks.operations import history, record, report, waits
from keydb_runbooks.operations.failures import StepFailed, Stopped
from keydb_runbooks.operations.holders import Task, told_of, united
from keydb_runbooks.operations.report import Outcome, Report, StepTold
from keydb_runbooks.operations.run import same
from keydb_runbooks.runbooks import failover, founding, rejoin, restart, switchover
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request, Since
from keydb_runbooks.runbooks.verified import truths

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "report.json").read_text())
VALID = jsonschema.Draft202012Validator(SCHEMA)
HEALTHY = group(primary(1), replica(2), replica(3), proxy(1))
PLANS = (
    switchover.plan(HEALTHY, Request(to="keydb-2"), 1),
    failover.plan(group(silent(1, "refused", stopped=True), orphan(2), orphan(3), proxy(1)), Request(), 1),
    rejoin.plan(group(primary(1), replica(2), orphan(3, of=2), proxy(2)), Request(), 1),
    founding.plan(group(virgin(1), virgin(2), proxy(1)), "keydb-1", min_replicas=1),
    restart.plan(HEALTHY, Request(since=Since(0.0, "1970-01-01T00:00:00Z")), 1),
)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.verb)
@pytest.mark.parametrize("outcome", Outcome)
def test_the_report_of_every_plan_is_as_the_schema_says(plan, outcome):
    told = Report(verb=plan.verb, group=plan.group, plan=plan)
    told.steps = [StepTold(number, step.where, step.code, step.sentence) for number, step in enumerate(plan.steps, 1)]
    told.observed(HEALTHY, list(truths(HEALTHY)))
    told.ends(outcome, "a sentence")
    document = json.loads(json.dumps(told.document()))
    VALID.validate(document)
    assert document["plan"]["steps"][0]["commands"] == [list(one) for one in plan.steps[0].commands]
    assert document["outcome"] == outcome.value


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(Refusal("a-code", "keydb-1", "is so", "do so"), "refused"), (NothingToDo("b", "keydb-1", "is so"), "nothing to do")],
)  # fmt: skip
def test_an_answer_without_a_plan_is_a_report_as_well(answer, outcome):
    told = Report(verb="rejoin", group="demo")
    told.answered(answer)
    document = told.document()
    VALID.validate(document)
    assert (document["outcome"], document["code"], document["where"]) == (outcome, answer.code, "keydb-1")


def test_a_value_that_json_lacks_becomes_one_that_it_has():
    assert report.plain({"a": frozenset({"c", "b"}), 1: (Outcome.DONE, None, 1.5), "p": Path("/x")}) == {
        "a": ["b", "c"],
        "1": ["done", None, 1.5],
        "p": "/x",
    }


# The history


def test_a_folder_that_somebody_keeps_locked_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "WAIT_SECONDS", 0.1)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another program keeps its folder locked"):
            record.append(tmp_path / "history.jsonl", "{}\n")
    finally:
        os.close(folder)
    record.append(tmp_path / "history.jsonl", "{}\n")


def test_lines_that_are_appended_at_once_are_whole_and_for_nobody_else(tmp_path):
    path = tmp_path / "deep" / "history.jsonl"
    line = json.dumps({"x": "y" * 50_000}) + "\n"
    threads = [threading.Thread(target=record.append, args=(path, line)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == line * 16
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)


def test_a_line_behind_one_that_was_cut_short_is_whole(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"torn')
    record.append(path, '{"whole": 1}\n')
    assert path.read_text() == '{"torn\n{"whole": 1}\n'


def test_a_file_that_is_too_large_is_put_aside_and_one_before_it_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "LIMIT_BYTES", 10)
    path = tmp_path / "history.jsonl"
    for number in range(3):
        record.append(path, f"{number}234567890\n")
    assert (path.read_text(), (tmp_path / "history.jsonl.1").read_text()) == ("2234567890\n", "1234567890\n")


def test_histories_are_merged_by_time_each_run_once():
    def run(name, began):
        return json.dumps({"id": name, "group": "demo", "started": began})

    later, earlier = run("b", "2026-01-02"), run("a", "2026-01-01")
    runs, broken = history.merged([later, earlier, later, "", "{", "[]", '{"id": "c"}'])
    assert ([run["id"] for run in runs], broken) == (["a", "b"], 3)


# Progress


def test_a_replica_that_comes_closer_tells_how_long_it_needs(monkeypatch):
    clock = iter([0.0, 0.5, 1.0])
    monkeypatch.setattr(waits.time, "monotonic", lambda: next(clock))
    approach = waits.Approach()
    approach.see(0, 10_000)
    assert str(approach) == "10,000 bytes behind, comes no closer"
    approach.see(1_000, 10_000)
    approach.see(2_000, 10_000)
    assert str(approach) == "8,000 bytes behind, gets 2,000 bytes/s, 4.0 s left"


def test_a_replica_that_falls_behind_is_not_said_to_arrive(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(waits.time, "monotonic", lambda: next(clock))
    approach = waits.Approach()
    for second in range(4):
        approach.see(1_000 * second, 2_000 * second)
    assert str(approach) == "3,000 bytes behind, gets 1,000 bytes/s, comes no closer"


class Clock:
    """A clock that only goes on while somebody sleeps."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(waits, "time", self)
        self.lines = []
        monkeypatch.setattr(waits.logger, "info", lambda line: self.lines.append(re.sub(r"\d\d:\d\d:\d\d", "T", line)))

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_what_is_counted_tells_how_much_is_left_and_how_fast_it_goes_on(monkeypatch):
    clock, pace = Clock(monkeypatch), waits.Pace("keys")
    assert str(pace) == "no keys yet"
    pace.see(0, 10_000)
    assert str(pace) == "0 of 10,000 keys, 10,000 left"
    clock.sleep(2)
    pace.see(3_000, 10_000)
    assert str(pace) == "3,000 of 10,000 keys, 7,000 left, 1,500 keys/s, 4.7 s left"
    # The rate is that of the last seconds.
    for _ in range(4):
        clock.sleep(2)
        pace.see(3_000, 10_000)
    assert str(pace) == "3,000 of 10,000 keys, 7,000 left, stands still"


def test_what_has_no_known_end_tells_only_how_fast_it_goes_on(monkeypatch):
    clock, pace = Clock(monkeypatch), waits.Pace("bytes")
    pace.see(0, None)
    clock.sleep(1)
    pace.see(2_000, None)
    assert str(pace) == "2,000 bytes, 2,000 bytes/s"


def test_a_wait_has_a_line_each_second_and_ends_at_its_time(monkeypatch):
    clock = Clock(monkeypatch)
    assert waits.until(lambda: None, 2.5, 0.5, lambda: "it is slow") is None
    assert clock.lines == [f"          waits: it is slow ({second} s of 2.5 s, until T UTC)" for second in (1, 2)]


def test_a_wait_that_gets_further_is_given_its_time_anew(monkeypatch):
    clock, steps = Clock(monkeypatch), iter([True] * 4 + [False] * 9)
    assert waits.until(lambda: None, 2.5, 1, lambda: "it is slow", lambda: next(steps)) is None
    assert clock.now == 6.0
    assert clock.lines[0] == "          waits: it is slow (1 s, until T UTC if it gets no further)"


def test_a_long_line_is_wrapped_like_a_step(monkeypatch):
    """pyinfra puts four blanks before each: 80 columns in all."""
    clock = Clock(monkeypatch)
    waits.rest(
        2,
        "keydb-3 is not in sync with keydb-1 yet: full resync: it gets the data of keydb-1: 901,120 of 1,500,532 bytes",
    )
    assert clock.lines == [
        "          waits: keydb-3 is not in sync with keydb-1 yet: full resync: it",
        "            gets the data of keydb-1: 901,120 of 1,500,532 bytes (2 s, until",
        "            T UTC)",
    ]


def test_what_is_over_within_a_second_prints_nothing(monkeypatch):
    clock, looks = Clock(monkeypatch), iter([None, "there"])
    assert waits.until(lambda: next(looks), 5, 0.9, lambda: "it is slow") == "there"
    assert clock.lines == []


def test_a_rest_is_told_before_it_begins(monkeypatch):
    clock = Clock(monkeypatch)
    waits.rest(2, "a run is looked at again")
    assert (clock.now, clock.lines) == (2.0, ["          waits: a run is looked at again (2 s, until T UTC)"])


def test_work_that_can_not_be_asked_returns_what_it_returns_and_is_left_at_a_signal(monkeypatch, capfd):
    assert waits.meanwhile(lambda: "done", lambda: "it works") == "done"
    lines = []
    monkeypatch.setattr(waits, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(waits.logger, "info", lines.append)
    assert waits.meanwhile(lambda: gevent.sleep(0.1), lambda: "it works") is None
    assert lines[0] == "          waits: it works (0 s)"

    done = []

    def broken():
        raise StepFailed("the connection has ended")

    with pytest.raises(StepFailed, match="the connection has ended"):
        waits.meanwhile(broken, lambda: "it works")
    assert "Traceback" not in capfd.readouterr().err

    def long():
        try:
            gevent.sleep(60)
        finally:
            done.append("left")

    def check():
        if done != []:
            raise Stopped("told to stop by SIGINT")

    monkeypatch.setattr(waits.interrupt, "check", check)
    with pytest.raises(Stopped):
        waits.meanwhile(lambda: done.append("a shell that Ctrl-C ended"), lambda: "it works")
    with pytest.raises(Stopped):
        waits.meanwhile(long, lambda: "it works")
    gevent.sleep(0)
    assert done == ["a shell that Ctrl-C ended", "left"]


# Names of locks


def test_who_holds_a_lock_is_read_from_all_its_connections_together():
    task = Task("switchover", "keydb-2", "anna b", "ops:1", identity="00ff")
    assert task.name("held") == "runbook:00ff:held:switchover/keydb-2/anna-b@ops-1"
    rows = [
        ("keydb-1", {"id": "7", "name": task.name("claim"), "age": "9", "idle": "0"}),
        ("keydb-2", {"id": "8", "name": task.name("held"), "age": "11", "idle": "9"}),
        ("keydb-2", {"id": "9", "name": "somebody", "age": "1", "idle": "0"}),
        ("keydb-2", {"id": "10", "name": "runbook:short", "age": "1", "idle": "0"}),
    ]
    [holder] = united(rows)
    assert (holder.held, holder.age_seconds, holder.idle_seconds) == (True, 11, 0)
    assert holder.connections == (("keydb-1", "7"), ("keydb-2", "8"))
    assert str(holder).startswith("anna-b@ops-1 does switchover (for keydb-2), since ")
    assert str(holder).endswith(" UTC (11 s ago), seen on keydb-1 and keydb-2")


def test_the_silence_of_a_run_is_told():
    [holder] = united([("keydb-1", {"id": "7", "name": "runbook:1:held:odd/words", "age": "70", "idle": "60"})])
    assert str(holder).startswith("odd/words, since ")
    assert ", silent for 60 s, seen on keydb-1" in str(holder)


def test_names_are_listed_as_a_person_does():
    assert [told_of("a"), told_of("ab"), told_of("abc")] == ["a", "a and b", "a, b and c"]


# What was shown and what is found


def test_what_is_done_by_itself_makes_no_other_plan():
    shown = switchover.plan(group(primary(1), replica(2), replica(3), proxy(1)), Request(to="keydb-2"), 1)
    assert isinstance(shown, Plan)
    assert any(step.spare for step in shown.steps)
    without = replace(shown, steps=tuple(step for step in shown.steps if not step.spare))
    assert same(shown, shown) and same(without, shown)
    assert same(shown, without)
    assert not same(replace(shown, steps=shown.steps[1:]), shown)
    assert not same(replace(shown, steps=shown.steps[::-1]), shown)
    assert not same(replace(shown, primary="keydb-3"), shown)
    assert not same(replace(shown, former="keydb-2"), shown)


def test_whatever_a_line_of_the_history_has_is_shown_or_counted(capsys):
    odd = [
        {"id": 1, "group": "demo", "started": "x", "who": "text", "plan": "text"},
        {"id": 2, "group": "demo", "started": None, "who": {"user": "[/red]"}, "verb": ["[bold"], "outcome": {}},
    ]
    runs, broken = history.merged([*map(json.dumps, odd), '{"id":' + "[" * 200_000])
    history.print_history(history.History("demo", tuple(runs), (), broken))
    assert (len(runs), broken) == (2, 1)
    assert "[/red]@None" in capsys.readouterr().out


def test_a_report_takes_the_place_of_a_report_or_of_nothing(tmp_path):
    told = Report(verb="rejoin", group="demo")
    told.answered(Refusal("a-code", "keydb-1", "is so", "do so"))
    texts = {
        "empty": "",
        "report": json.dumps(told.document()),
        "other": '{"version": 1}',
        "list": "[]",
        "text": "x: 1",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    refused = [name for name in (*texts, ".", "missing") if report.refuse_place(tmp_path / name)]
    assert refused == ["other", "list", "text", "."]
    assert "is no report of a run" in report.refuse_place("/dev/null")

"""What a run tells while it acts and when it is over, and what a signal does to it."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
from pathlib import Path

import jsonschema
import pytest
from kit import FAULTS, INVENTORY, NODES, REPOSITORY, Result, Sandbox, eventually, writing

SCHEMA = json.loads((REPOSITORY / "schemas" / "report.json").read_text())


def reported(group: Sandbox, *words: str, **data: str) -> tuple[Result, dict]:
    """Run a deploy with report=..., and read the report, which must be as its schema says."""
    path = group.directory / "report.json"
    result = group.run(*words, report=str(path), **data)
    document = json.loads(path.read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert "Traceback" not in result.text, result.text
    for password in group.passwords.values():
        assert password not in path.read_text()
    return result, document


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def remembered(group: Sandbox, *where: str) -> list[list[str]]:
    """The outcomes in the histories of some nodes, or of the operator ("")."""
    return [[run["outcome"] for run in lines(group.directory / node / "history.jsonl")] for node in where]


# Reports and records


def test_each_end_of_a_run_is_reported_and_recorded(group: Sandbox) -> None:
    before = {node: len(remembered(group, node)[0]) for node in NODES}
    (group.directory / "history.jsonl").unlink()

    moved, done = reported(group, "switchover", to="keydb-2")
    again, nothing = reported(group, "switchover", to="keydb-2")
    wrong, refused = reported(group, "switchover", to="keydb-9")
    hit = {"hit_before": "Pause:2", "hit_with": "false"}
    broke, unchanged = reported(group, FAULTS, verb="switchover", to="keydb-3", **hit)
    hit["hit_before"] = "SaveConfiguration:1"
    left, incomplete = reported(group, FAULTS, verb="switchover", to="keydb-3", **hit)

    told = [one["outcome"] for one in (done, nothing, refused, unchanged, incomplete)]
    assert told == ["done", "nothing to do", "refused", "failed and unchanged", "failed and incomplete"]
    assert [result.code for result in (moved, again, wrong, broke, left)] == [0, 0, 1, 1, 1]
    assert remembered(group, "")[0] == told
    for node in NODES:
        assert remembered(group, node)[0][before[node] :] == ["done", "failed and unchanged", "failed and incomplete"]
        assert stat.S_IMODE((group.directory / node / "history.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE((group.directory / "history.jsonl").stat().st_mode) == 0o600
    assert (refused["code"], refused["where"], refused["plan"]) == ("unknown-target", "keydb-9", None)
    assert {one["what"] for one in done["verified"]} == {
        "a write and a read",
        "role",
        "lineage",
        "file",
        "route",
        "reads",
    }
    assert done["not_verified"] == []
    assert [step["outcome"] for step in unchanged["steps"][:5]] == ["done"] * 3 + ["failed", "not begun"]
    assert done["nodes"]["keydb-2"]["role"] == "primary"
    assert all(step["milliseconds"] is not None for step in done["steps"])


def test_reads_that_nobody_answers_are_told_as_not_verified(group: Sandbox) -> None:
    for node in NODES:
        group.ask_proxy(f"set server demo-read/{node} state maint")
    result, document = reported(group, "switchover", to="keydb-2")
    result.ok()
    (unread,) = document["not_verified"]
    assert (unread["what"], unread["where"]) == ("reads", "proxy-1")
    assert unread["told"].startswith("a read through its port for reads was not answered: ")
    assert "not verified: proxy-1: reads: a read through its port for reads" in " ".join(result.text.split())
    for node in NODES:
        group.ask_proxy(f"set server demo-read/{node} state ready")
    _, document = reported(group, "switchover", to="keydb-3")
    assert [check["what"] for check in document["verified"] if check["where"] == "proxy-1"][-1] == "reads"


def test_a_failed_run_says_what_is_true_and_the_command_that_goes_on(group: Sandbox) -> None:
    with writing(group) as writer:
        hit = {"hit_before": "SaveConfiguration:1", "hit_with": "false"}
        result, document = reported(group, FAULTS, verb="switchover", **hit)
        target = document["plan"]["primary"]
        assert f"now: {target} is a primary" in result.text
        assert "now: keydb-1 is a primary" in result.text and "holds writes back" in result.text
        command = document["next"]
        assert command in " ".join(result.text.split())
        given = f"--data to={target} --data group=demo"
        assert command.startswith(f"pyinfra {INVENTORY} {FAULTS}") and given.split()[1] in command
        # The deploy with faults wants to know which verb.
        words = [*shlex.split(command)[1:], "--data", "verb=switchover"]
        group.pyinfra(*words).ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy(target)


def test_a_report_or_a_record_that_can_not_be_written_stops_nothing(group: Sandbox) -> None:
    history = group.directory / "keydb-3" / "history.jsonl"
    history.unlink()
    history.mkdir()
    precious = group.directory / "precious"
    precious.write_text("mine")
    linked = group.directory / "keydb-2" / "history.jsonl"
    linked.unlink()
    linked.symlink_to(precious)
    own = group.directory / "history.jsonl"
    own.unlink()
    own.mkdir()
    result = group.run("switchover", to="keydb-2", report="/nonexistent/report.json").ok()
    assert "the report could not be written to /nonexistent/report.json: No such file or directory" in result.text
    assert "this run could not be recorded on keydb-3" in result.text
    assert "this run could not be recorded on keydb-2" in result.text
    assert precious.read_text() == "mine"
    assert f"this run could not be recorded in {own}" in result.text
    assert "done: switchover" in result.text
    group.healthy("keydb-2")


def test_the_history_of_all_places_is_one(group: Sandbox) -> None:
    group.run("switchover", to="keydb-2").ok()
    group.run("switchover", to="keydb-9").refused("unknown-target")
    # Another operator's machine knows nothing of its own.
    (group.directory / "history.jsonl").unlink()
    with (group.directory / "keydb-1" / "history.jsonl").open("a") as file:
        file.write('{"torn')
    with group.unchanged():
        text = group.run("history", format="json").ok().text
        document = json.JSONDecoder().raw_decode(text[text.index("\n{") + 1 :])[0]
        table = group.run("history").ok().text
    assert [run["outcome"] for run in document["runs"]] == ["done", "done"]
    assert (document["broken_lines"], document["unread"]) == (1, [])
    for run in document["runs"]:
        jsonschema.Draft202012Validator(SCHEMA).validate(run)
    assert "switchover keydb-1 > keydb-2" in table
    assert "1 lines could not be understood" in table
    # A torn line doesn't take the next one with it.
    group.run("switchover", to="keydb-1").ok()
    assert '{"torn\n' in (group.directory / "keydb-1" / "history.jsonl").read_text()
    assert json.loads((group.directory / "keydb-1" / "history.jsonl").read_text().splitlines()[-1])["outcome"] == "done"


@pytest.mark.first_engine
def test_an_old_report_is_not_taken_for_a_new_one(group: Sandbox) -> None:
    path = group.directory / "report.json"
    group.run("switchover", to="nobody", report=str(path)).refused("unknown-target")
    old = path.read_text()
    group.run("switchover", to="keydb-2", dry=True, report=str(path)).ok()
    assert path.read_text() == old
    group.run(FAULTS, verb="switchover", to="keydb-2", report=str(path), die_after="Pause:1")
    assert not path.exists()


@pytest.mark.first_engine
def test_who_can_not_be_asked_is_told_to_give_yes(group: Sandbox) -> None:
    with group.unchanged():
        asked = group.pyinfra(INVENTORY, "deploys/switchover.py", "--data", "to=keydb-2")
        asked.refused("refused: no-answer-possible demo: nobody can be asked: standard input is no terminal; give -y")
    assert "EOF" not in asked.text


@pytest.mark.first_engine
@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "86401"])
def test_a_time_that_is_none_is_refused(group: Sandbox, value: str) -> None:
    with group.unchanged():
        told = group.run("switchover", to="keydb-2", catch_up_timeout=value)
        told.refused(f"--data catch_up_timeout={value}: allowed are seconds above 0, 86,400 at most")


# Signals

BEFORE = ("ComeClose:1", "Pause:1", "CatchUp:1", "Pause:2", "CatchUp:2")
BEHIND = ("Promote:1", "RecordLineage:1", "Follow:1", "Follow:2", "Route:1", "Unpause:1", "InSync:1")
SOME = {("INT", "Pause:2"), ("TERM", "CatchUp:2"), ("HUP", "CatchUp:1"), ("INT", "Promote:1"), ("TERM", "Follow:1")}
MOMENTS = [
    pytest.param(name, place, marks=[] if (name, place) in SOME else [pytest.mark.slow])
    for name in ("INT", "TERM", "HUP")
    for place in (*BEFORE, *BEHIND)
]


@pytest.mark.first_engine
@pytest.mark.parametrize(("name", "place"), MOMENTS)
def test_a_signal_leaves_nobody_waiting_whenever_it_comes(group: Sandbox, name: str, place: str) -> None:
    with writing(group) as writer:
        hit = {"hit_before": place, "hit_with": f"kill -{name} $PPID"}
        result, document = reported(group, FAULTS, verb="switchover", to="keydb-2", **hit)
        assert f"SIG{name}: the run stops as soon as it can do so without harm" in result.text
        # At once: nobody runs a verb before.
        writer.write_on()
        assert writer.lost() == 0
    if place in BEFORE:
        assert (result.code, document["outcome"]) == (1, "failed and unchanged")
        assert f"told to stop by SIG{name}" in " ".join(result.text.split())
        group.healthy("keydb-1")
    else:
        assert document["outcome"] in ("done", "failed and incomplete")
        assert all(f"told to stop by SIG{name}" in told for told in document["left_behind"])
        group.healthy("keydb-2")


@pytest.mark.first_engine
def test_a_terminal_that_is_gone_leaves_nobody_waiting(group: Sandbox) -> None:
    """Whoever reads the output ends in the middle: every line that is printed fails from then on."""
    program = shlex.join(["pyinfra", INVENTORY, "deploys/switchover.py", "--data", "to=keydb-2", "-y"])
    with writing(group) as writer:
        command = f"{program} 2>&1 | grep -q -m1 'hold writes back until'"
        subprocess.run(["sh", "-c", command], cwd=REPOSITORY, env=group.environment | _path(), timeout=60)
        eventually(lambda: group.primaries() == ["keydb-2"], "the role moved", 20)
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def _path() -> dict[str, str]:
    import os
    import sys

    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

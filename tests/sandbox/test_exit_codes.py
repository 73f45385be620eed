"""The exit codes of keydb-runbooks, each from a run that ends so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from kit import FAULTS, INVENTORY, REPOSITORY, Sandbox

pytestmark = pytest.mark.first_engine

COMMAND = str(Path(sys.executable).parent / "keydb-runbooks")
WITH_FAULTS = (
    "import sys; from keydb_runbooks.operations import command;"
    "sys.exit(command.run(sys.argv[1], sys.argv[2], sys.argv[3:], 'switchover'))"
)


def run(group: Sandbox, *words: str, where: Path = REPOSITORY, answer: str | None = None) -> tuple[int, str]:
    given = {"stdin": subprocess.DEVNULL} if answer is None else {"input": answer}
    done = subprocess.run(
        words,
        cwd=where,
        env=group.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
        **given,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


def test_each_end_of_a_verb_has_its_code(group: Sandbox) -> None:
    move = (COMMAND, INVENTORY, "switchover", "to=keydb-2")
    assert run(group, *move, "--dry")[0] == 0
    code, text = run(group, *move)
    assert (code, "refused: no-answer-possible" in text) == (3, True)
    assert run(group, *move, "-y")[0] == 0
    assert run(group, *move, "-y")[0] == 0
    for name in ("switchover", "status", "history", "drift", "install"):
        assert run(group, COMMAND, INVENTORY, name, "-y")[0] == 0, name
    for dry in ("-y", "--dry"):
        code, text = run(group, COMMAND, INVENTORY, "switchover", "to=keydb-9", dry)
        assert (code, "refused: unknown-target" in text) == (3, True)


def test_a_failure_says_whether_anything_was_changed(group: Sandbox) -> None:
    words = (sys.executable, "-c", WITH_FAULTS, INVENTORY, FAULTS, "--data", "verb=switchover", "-y")
    hit = ("--data", "hit_with=false", "--data")
    code, _ = run(group, *words, *hit, "hit_before=Pause:2")
    assert code == 4
    code, text = run(group, *words, *hit, "hit_before=SaveConfiguration:1")
    assert code == 1
    # The command that goes on is this one again.
    assert re.search(rf"keydb-runbooks {INVENTORY} switchover (\w+=\S+ )*to=keydb-\d", " ".join(text.split())), text


def test_drift_and_a_server_that_is_not_reached_have_codes_of_their_own(group: Sandbox) -> None:
    group.ask("keydb-2", "CONFIG", "SET", "maxmemory", "33554432")
    assert run(group, COMMAND, INVENTORY, "drift")[0] == 5
    group.kill("keydb-3")
    assert run(group, COMMAND, INVENTORY, "status")[0] == 6


# (the words, a part of what it says)
WRONG = [
    ((), "Missing argument"),
    ((INVENTORY,), "Missing argument"),
    ((INVENTORY, "swichover"), "swichover is no verb; did you mean switchover? There are abort, "),
    (("inventories/sandbx.py", "status"), "refused: no-inventory"),
    ((INVENTORY, "switchover", "too=keydb-2", "-y"), "--data too: is not an option; did you mean to?"),
    ((INVENTORY, "switchover", "--data", "too=keydb-2", "-y"), "--data too: is not an option; did you mean to?"),
    ((INVENTORY, "status", "--dryy"), "No such option '--dryy'"),
    ((INVENTORY, "status", "--limit", "nobody"), ""),
    ((INVENTORY, "status", "group=none"), "none"),
]


@pytest.mark.parametrize("words, told", WRONG, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_wrong_usage(founded: Sandbox, words: tuple[str, ...], told: str) -> None:
    code, text = run(founded, COMMAND, *words)
    assert code == 2, text
    assert told in text


def test_another_folder_has_no_verbs(founded: Sandbox, tmp_path: Path) -> None:
    code, text = run(founded, COMMAND, INVENTORY, "status", where=tmp_path)
    assert (code, "go to the folder of keydb-runbooks" in text) == (2, True), text

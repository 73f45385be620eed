"""A run that can't begin is no success, and where nothing would be executed nobody is asked."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from kit import COLOR, INVENTORY, REPOSITORY, Result, Sandbox

pytestmark = pytest.mark.first_engine

THERE = "there are inventories/kubernetes.py, inventories/prod.py, inventories/sandbox.py, inventories/vagrant.py"


@pytest.mark.parametrize("deploy", ["failover", "status", "drift", "install"])
def test_a_misspelt_inventory_is_refused(group: Sandbox, deploy: str) -> None:
    with group.unchanged():
        told = group.pyinfra("inventories/sandbx.py", f"deploys/{deploy}.py", "-y")
        told.refused(f"refused: no-inventory: inventories/sandbx.py does not exist; {THERE}")
    assert "Beginning operation run" not in told.text


def test_a_run_for_no_host_at_all_is_no_success(group: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("keydb = []\n")
    words = (
        "refused: no-hosts: the inventory, or what --limit leaves of it, has no host: nothing was looked at or done",
    )
    with group.unchanged():
        for where in ((str(tmp_path / "empty.py"),), (INVENTORY, "--limit", "keydb-9"), ("no-such-host.invalid",)):
            group.pyinfra(where[0], "deploys/status.py", "-y", *where[1:]).refused(*words)


def test_without_a_terminal_there_is_one_refusal_and_nothing_to_do_is_a_success(group: Sandbox) -> None:
    told = "refused: no-answer-possible"
    with group.unchanged():
        for verb, sentence in (
            ("rejoin", "nothing to do: already-joined"),
            ("failover", "nothing to do: already-primary"),
            ("install", "nothing would be executed"),
            ("start", "nothing would be executed"),
        ):
            result = group.pyinfra(INVENTORY, f"deploys/{verb}.py").ok()
            assert sentence in result.text and "EOF" not in result.text, result.text
        group.pyinfra(INVENTORY, "deploys/switchover.py").refused(told, "give -y")
    group.stop("keydb-3")
    with group.unchanged():
        for verb in ("install", "start"):
            result = group.pyinfra(INVENTORY, f"deploys/{verb}.py").refused(
                told, "standard input is no terminal; give -y"
            )
            assert "EOF" not in result.text


def typed(group: Sandbox, keys: bytes, *words: str) -> Result:
    """Run pyinfra at a terminal at which somebody types this, ahead."""
    ours, terminal = os.openpty()
    os.write(ours, keys)
    try:
        run = subprocess.run(
            [str(Path(sys.executable).parent / "pyinfra"), *words],
            cwd=REPOSITORY,
            env=group.environment,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
    finally:
        os.close(ours)
        os.close(terminal)
    return Result(run.returncode, COLOR.sub("", run.stdout))


def test_at_a_terminal_nobody_is_asked_where_nothing_is_to_be_done(group: Sandbox) -> None:
    with group.unchanged():
        for verb in ("rejoin", "install"):
            assert "nothing would be executed" in typed(group, b"", INVENTORY, f"deploys/{verb}.py").ok().text


def test_enter_goes_on_and_anything_else_stops(group: Sandbox) -> None:
    words = (INVENTORY, "deploys/switchover.py", "--data", "to=keydb-2")
    with group.unchanged():
        stopped = typed(group, b"n\n", *words).ok()
    assert "Unexpected user input: n" in stopped.text
    assert "done: switchover" in typed(group, b"\n", *words).ok().text
    group.healthy("keydb-2")


def test_a_write_through_the_proxy_is_tried_as_the_page_of_the_sandbox_says(group: Sandbox) -> None:
    lines = (REPOSITORY / "docs" / "sandbox.md").read_text().splitlines()
    [line] = [line.strip() for line in lines if line.startswith("    python -c ")]
    command = line.replace(".sandbox/", f"{group.directory}/").replace("17000", str(group.port))
    words = [sys.executable, *shlex.split(command)[1:]]
    told = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert (told.stdout, told.returncode) == ("True\n", 0), told.stderr
    assert group.ask("keydb-1", "GET", "test:x", role="application") == "y"

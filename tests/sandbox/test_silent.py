"""A node that is silent is waited for once, and looked for again before anything is changed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from kit import INVENTORY, REPOSITORY, Sandbox, eventually

TIMEOUT_SECONDS = 5


@pytest.mark.slow
@pytest.mark.first_engine
def test_a_frozen_primary_costs_the_connect_time_out_only_once(group: Sandbox) -> None:
    group.freeze("keydb-1")
    eventually(lambda: not group.heard("keydb-1"), "replicas hear nothing")

    run = group.run("failover", keydb_connect_timeout=str(TIMEOUT_SECONDS)).ok()

    # From the lock on: the time-out of the first look lies before it.
    done = re.search(r"done: failover in ([\d.]+) s", run.text)
    assert done, run.text
    assert float(done[1]) < TIMEOUT_SECONDS


@pytest.mark.slow
@pytest.mark.first_engine
def test_a_silent_primary_that_wakes_up_behind_the_plan_is_seen_before_anything_is_changed(group: Sandbox) -> None:
    group.freeze("keydb-1")
    eventually(lambda: not group.heard("keydb-1"), "replicas hear nothing")
    words = [str(Path(sys.executable).parent / "pyinfra"), INVENTORY, "deploys/failover.py"]
    run = subprocess.Popen(
        words,
        cwd=REPOSITORY,
        env={**group.environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.stdin is not None
    assert run.stdout is not None
    told = ""
    try:
        while "Detected changes" not in told:
            line = run.stdout.readline()
            assert line, told
            told += line
        group.thaw("keydb-1")
        eventually(lambda: group.answers("keydb-1"), "the primary answers")
        told += run.communicate("\n", timeout=30)[0]
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 1, told
    assert "refused: plan-differs" in " ".join(told.split()), told
    group.healthy("keydb-1")

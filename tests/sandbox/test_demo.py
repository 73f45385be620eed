"""``make demo``: it comes to its end, and interrupted, whatever it was doing, it leaves no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from kit import REPOSITORY, Sandbox

# A word of the output, and what happens when it comes.
MOMENTS = [
    pytest.param("predicted loss", id="in-the-switchover", marks=pytest.mark.in_ci),
    pytest.param("deploys/install.py", id="while-servers-start", marks=pytest.mark.in_ci),
    pytest.param("5. The dead server", id="behind-the-kill", marks=pytest.mark.in_ci),
]


def of_session(session: int) -> list[int]:
    """Processes of a session: the demo, its pyinfra and its writer."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupted_demo_leaves_no_process(nothing: Sandbox, moment: str) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-u", "demo/story.py"],
        cwd=REPOSITORY,
        env=nothing.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = ""
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            said += line
            if moment in line:
                break
        # As the terminal does it: to everybody in the foreground.
        os.killpg(demo.pid, signal.SIGINT)
        said += demo.communicate(timeout=30)[0]
        assert moment in said
        assert demo.returncode == 130, said
        assert "Traceback" not in said, said
        assert nothing.processes.all() == []
        assert of_session(demo.pid) == []
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()


@pytest.mark.first_engine
def test_the_demo_comes_to_its_end_and_nothing_is_lost(nothing: Sandbox) -> None:
    demo = subprocess.run(
        [sys.executable, "demo/story.py"],
        cwd=REPOSITORY,
        env=nothing.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout
    rows = [line.split("│") for line in demo.stdout.splitlines() if line.startswith("│")]
    assert [row[5].strip() for row in rows if row[2].strip()] == ["0"] * 5, demo.stdout
    assert nothing.processes.all() == []

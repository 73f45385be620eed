"""pyinfra on two machines by real SSH connections, one of which goes silent, or ends its connection, in the middle."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SILENT = (
    "struck did not answer for 2.4 s, and is asked nothing more in this run; when it answers again, run the same again"
)
BROKEN = "the SSH connection to struck broke: it was closed there"


@contextmanager
def peer(*words: str) -> Iterator[str]:
    """A machine; its port."""
    program = [sys.executable, HERE / "ssh_peer.py", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def run(how: str, fault: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    with peer(*words) as struck, peer() as other:
        program = [sys.executable, HERE / "listening.py", how, fault, struck, other]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                yield process
            finally:
                process.kill()


def told(process: subprocess.Popen[str]) -> tuple[str, float]:
    """What it printed, without what stands in front of a line, and the seconds that it took."""
    text, _ = process.communicate(timeout=60)
    lines = [re.sub(r"^\[\w+\] *", "", re.sub(r"\x1b\[[\d;]*m", "", line)) for line in text.splitlines()]
    seconds = re.search(r"^seconds: ([\d.]+)", text, re.MULTILINE)
    assert seconds, text
    return " ".join(" ".join(lines).split()), float(seconds[1])


@pytest.mark.parametrize("fault, sentence", [("freeze", SILENT), ("kill", BROKEN)])
@pytest.mark.parametrize("how", ["command", "question", "function"])
def test_a_machine_that_is_struck_fails_with_a_sentence_and_the_others_go_on(
    how: str, fault: str, sentence: str
) -> None:
    """However it was asked: by a command, by a look in an operation's own code, by a function. The other one is quiet
    for longer than a silent machine is waited for, and lives."""
    with run(how, fault) as process:
        text, seconds = told(process)
    assert text.count(sentence) == 1, text
    assert "failed: struck seconds" in text, text
    assert text.count(" Success") == 2, text  # of the other one, twice
    assert "Traceback" not in text, text
    assert seconds < 40, text  # else the command ended by itself


def test_a_run_that_is_stopped_itself_for_a_while_cuts_nobody_off() -> None:
    with run("command", "none") as process:
        assert process.stdout is not None
        text = ""
        while "Starting operation" not in text:
            text = process.stdout.readline()
            assert text
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)  # longer than the patience
        process.send_signal(signal.SIGCONT)
        text, _ = told(process)
    assert text.count("Success") == 4, text
    assert "failed: seconds" in text, text


def test_an_sshd_that_lets_nobody_in_is_given_up() -> None:
    with run("login", "none", "hangs") as process:
        text, seconds = told(process)
    assert "Authentication timeout." in text and "failed: struck seconds" in text, text
    assert seconds < 20, text  # paramiko would wait 30

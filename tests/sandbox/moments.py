"""The moments of a run at which something can happen to it: before, behind and in the answer of each command it sends.

``dying.py`` makes them happen in the real ``pyinfra`` process; here they are listed and chosen.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from kit import COLOR, INVENTORY, REPOSITORY, Result, Sandbox, prefork
from prefork import Run

PATIENCE_SECONDS = 90

READS = (
    "AUTH", "PING", "INFO", "GET", "CONFIG GET", "PUBSUB", "CLIENT ID", "CLIENT LIST", "PFCOUNT", "MULTI",
    "runtime prompt", "runtime set timeout", "runtime show", "DBSIZE", "ACL LIST", "ACL GETUSER", "SELECT",
    "compare",
)  # fmt: skip
"""How commands begin that leave nothing behind."""

TRIAL = ("REPLICAOF none none", "SET runbook:verify + EVAL return")
"""How trials begin: they stand behind a MULTI without EXEC, and are never executed."""

FACTS = (
    "2>/dev/null; true'",
    "</proc/meminfo; true'",
    "|| ls -ld",
    "echo 0;; esac' sh",
    "echo 0;; esac; true' sh",
    "base64 <",
    "2>/dev/null true'",
    "'df -Pk ",
)
"""What shell commands contain that only look."""


@dataclass(frozen=True)
class Moment:
    """A command as ``dying.py`` names it, and whether it is before it is sent, straight after, or when it is answered."""

    command: str
    when: str

    def __str__(self) -> str:
        command, _, number = self.command.rpartition(" ")
        return f"{command[:100]} {number} ({self.when})"


def start_at(sandbox: Sandbox, deploy: str, at: Moment | None, by: str, names: Mapping[str, str], **data: str) -> Run:
    """Start a deploy that meets ``by`` (kill, stop or a command of the shell) at a moment."""
    given = [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
    asked = {"DYING_NAMES": json.dumps(dict(names)), "DYING_LIST": str(list_of(sandbox))}
    if at is not None:
        asked |= {"DYING_AT": at.command, "DYING_WHEN": at.when, "DYING_BY": by}
    list_of(sandbox).unlink(missing_ok=True)
    arguments = (INVENTORY, f"deploys/{deploy}.py", *given, "-y")
    return prefork().start(arguments, REPOSITORY, {**sandbox.environment, **asked}, module="dying")


def ended(run: Run) -> Result:
    """What a run that was started ended with."""
    try:
        text, _ = run.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        run.kill()
        text, _ = run.communicate()
        raise AssertionError(f"it did not end in {PATIENCE_SECONDS} s:\n{text}") from None
    return Result(run.returncode, COLOR.sub("", text))


def run_at(sandbox: Sandbox, deploy: str, at: Moment | None, by: str, names: Mapping[str, str], **data: str) -> Result:
    """Run a deploy that meets ``by`` at a moment, None for a run that meets nothing."""
    return ended(start_at(sandbox, deploy, at, by, names, **data))


def stopped(pid: int) -> bool:
    """Whether a process stands still."""
    return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()


def insisted(run: Callable[[], Result]) -> Result:
    """Run it again, as it says itself, as long as the group changed between its two looks: a proxy's check turned; or as
    the proxy's next check is to be waited for."""
    for _ in range(4):
        result = run()
        if not re.search("refused: (plan-differs|target-unreached)", result.text):
            break
    return result


def list_of(sandbox: Sandbox) -> Path:
    """Where the commands of a run are listed."""
    return sandbox.directory.with_name(sandbox.directory.name + "-commands")


def commands(sandbox: Sandbox) -> list[str]:
    """The commands of the run that was just made, a poll once."""
    lines = list_of(sandbox).read_text().splitlines()
    return [next(same) for _, same in groupby(lines, key=lambda line: line.rpartition(" #")[0])]


def changes(command: str) -> bool:
    """Whether a command may leave something behind."""
    words = command.partition(": ")[2]
    if words.startswith("sh "):
        return not any(part in words for part in FACTS)
    return not (words.startswith(TRIAL) or all(part.startswith(READS) for part in words.split(" + ")))


def moments(listed: list[str]) -> list[Moment]:
    """Every moment at which a death makes a difference.

    What is true when a command that only looks was sent, and when its answer came, is the same for everybody else: one
    moment stands for both.
    """
    return [
        Moment(command, when)
        for command in listed
        for when in (("sent", "answered") if changes(command) else ("answered",))
    ]


def chunk_of(all_of_them: list[Moment], number: int, count: int) -> list[Moment]:
    """One of so many parts of the moments; those that change something come first."""
    ordered = sorted(all_of_them, key=lambda moment: not changes(moment.command))
    return ordered[len(ordered) * number // count : len(ordered) * (number + 1) // count]


def spread(all_of_them: list[Moment], count: int, turn: int) -> list[Moment]:
    """So many of the moments that change something, evenly, and others for each turn."""
    chosen = [moment for moment in all_of_them if changes(moment.command)]
    step = len(chosen) / count
    return [chosen[int(step * (number + (turn + 1) * 0.29 % 1))] for number in range(count)]

"""The report of a run: one JSON document, as ``schemas/report.json`` describes it; the history has the same."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.output import format_text

from keydb_runbooks.operations import options
from keydb_runbooks.operations.holders import user
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal
from keydb_runbooks.runbooks.topology import Topology

VERSION = 1
"""Of the document; a new one is a document that a program for the old one may misread."""


class Outcome(str, Enum):
    """How a run ended. ``REFUSED`` is unchanged as well."""

    DONE = "done"
    NOTHING_TO_DO = "nothing to do"
    REFUSED = "refused"
    FAILED_UNCHANGED = "failed and unchanged"
    FAILED_INCOMPLETE = "failed and incomplete"


@dataclass
class StepTold:
    """What became of one step; ``begun`` is in seconds since the run began."""

    number: int
    where: str
    step: str
    sentence: str
    outcome: str = "not begun"
    begun: float | None = None
    milliseconds: float | None = None
    seen: str | None = None


@dataclass
class Report:
    """All that is told of one run. No password is in any of it."""

    verb: str
    group: str
    options: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    user: str = field(default_factory=user)
    machine: str = field(default_factory=socket.gethostname)
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    outcome: Outcome | None = None
    code: str | None = None
    where: str | None = None
    sentence: str = ""
    plan: Plan | None = None
    steps: list[StepTold] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    verified: list[dict[str, str]] = field(default_factory=list)
    not_verified: list[dict[str, str]] = field(default_factory=list)
    now: list[str] = field(default_factory=list)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    next_command: str | None = None

    def observed(self, topology: Topology, truths: list[str]) -> None:
        """What was read last of every node: role, offset, stream, epoch, pause."""
        self.now = truths
        self.nodes = {
            node.name: {
                "role": node.role.value,
                "offset": node.offset,
                "replication_id": node.replication_id,
                "epoch": node.epoch,
                "paused": node.paused,
            }
            for node in topology.nodes
        }

    def ends(self, outcome: Outcome, sentence: str, *, code: str | None = None, where: str | None = None) -> None:
        """Say how the run ended."""
        self.outcome, self.sentence, self.code, self.where = outcome, sentence, code, where

    def answered(self, answer: Refusal | NothingToDo) -> None:
        """The run ended with what the verb answered."""
        outcome = Outcome.REFUSED if isinstance(answer, Refusal) else Outcome.NOTHING_TO_DO
        self.ends(outcome, str(answer), code=answer.code, where=answer.where)

    def document(self) -> dict[str, Any]:
        """The document, with values that JSON has."""
        ended = datetime.now(timezone.utc)
        assert self.outcome is not None
        return {
            "version": VERSION,
            "id": self.id,
            "verb": self.verb,
            "group": self.group,
            "who": {"user": self.user, "machine": self.machine},
            "started": _utc(self.started),
            "ended": _utc(ended),
            "seconds": round((ended - self.started).total_seconds(), 3),
            "options": self.options,
            "outcome": self.outcome.value,
            "code": self.code,
            "where": self.where,
            "sentence": self.sentence,
            "plan": None if self.plan is None else plain(self.plan),
            "steps": [plain(step) for step in self.steps],
            "left_behind": self.left_behind,
            "notices": self.notices,
            "verified": self.verified,
            "not_verified": self.not_verified,
            "now": self.now,
            "nodes": self.nodes,
            "next": self.next_command,
        }


def begin(host: Host, verb: str, group: str) -> Report:
    """A report of a run that begins now, with the options that it was given."""
    given = host.inventory.override_data
    told = {key: str(value) for key, value in given.items() if key in options.OPTIONS and key != "report"}
    return Report(verb=verb, group=group, options=told)


def refuse_place(wanted: object) -> str | None:
    """Why ``report=`` may not name this: something is there that a report would destroy. None if it may.

    It may be an earlier report, or an empty file.
    """
    path = Path(str(wanted))
    try:
        if not path.exists() or (path.is_file() and (path.stat().st_size == 0 or _is_report(path))):
            return None
    except OSError as error:
        return f"--data report={wanted}: can't be looked at: {error.strerror}"
    return f"--data report={wanted}: is there and is no report of a run, which would take its place; name another file"


def _is_report(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(document, dict) and {"version", "verb", "outcome", "steps"} <= set(document)


def forget_previous(host: Host) -> None:
    """Take away the file that an earlier run may have left: whoever reads it would take it for this run's."""
    if path := options.option(host, "report"):
        with suppress(OSError):
            Path(str(path)).unlink()


def write(host: Host, document: dict[str, Any]) -> None:
    """Write ``report=FILE.json`` if it was asked for, all of it or nothing. That it can't be written stops nothing."""
    wanted = options.option(host, "report")
    if not wanted:
        return
    path = Path(str(wanted))
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        logger.error(format_text(f"    the report could not be written to {path}: {error.strerror}", "red"))


def plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses with all of their fields, steps with name, sentence and commands."""
    if isinstance(value, Enum):
        return plain(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
        extra = ("code", "sentence", "commands")
        return {**{name: plain(getattr(value, name)) for name in extra if hasattr(value, name)}, **fields}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(item) for item in value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"

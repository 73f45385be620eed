"""The history of a lock test, in the form that Jepsen has: one event a line, as JSON.

    {"process": 3, "type": "invoke", "f": "acquire", "value": ["lock-1", "3-17"], "time": 81234567890, "lease": 1000}
    {"process": 3, "type": "ok", "f": "acquire", "value": ["lock-1", "3-17"], "time": 81235001234}

``value`` is the lock and the token of this attempt; no token is used twice. ``time`` is in nanoseconds of this machine's
monotonic clock, ``lease`` in milliseconds. An event that ends an operation has one of three types:

- ``ok``: it was acknowledged.
- ``fail``: it certainly didn't happen, and ``error`` says why: ``busy`` (SET NX found somebody's token), ``gone`` (a release
  found that the token is no longer there), or what refused it. Only the first two tell something of the lock.
- ``info``: nobody knows, the connection broke behind the command. It may have happened, or happen later. The process ends
  with it: its client goes on under another number, as in Jepsen. An operation without an end is one of these too.

What is done to the group is told by the process ``nemesis``, always ``info``: where it begins and where it ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

BUSY = "busy"
GONE = "gone"
NEMESIS = "nemesis"
NANOSECONDS = 10**9


@dataclass(frozen=True)
class Event:
    """One line of a history."""

    process: int | str
    type: str
    f: str
    value: list[str]
    time: int
    error: str | None = None
    lease: int | None = None

    def line(self) -> str:
        return json.dumps({key: value for key, value in asdict(self).items() if value is not None}) + "\n"


@dataclass(frozen=True)
class Operation:
    """What one process asked for: two events, or one if the end is missing.

    ``returned`` is None if nobody knows when, or whether, it happened. ``lease`` is in nanoseconds, 0 for a release.
    """

    process: int
    f: str
    lock: str
    token: str
    invoked: int
    returned: int | None
    outcome: str
    error: str | None = None
    lease: int = 0

    def __str__(self) -> str:
        return f"{self.f} of {self.lock} with token {self.token} by process {self.process}"


class HistoryError(ValueError):
    """The lines are no history; the text says which line, and why."""


def read(path: Path) -> list[Event]:
    """The events of a file, in the order of their times."""
    events, _ = read_from(path, 0)
    return sorted(events, key=lambda event: event.time)


def read_from(path: Path, begin: int) -> tuple[list[Event], int]:
    """What stands in a file from some byte on that is being written, and where to go on; nothing if it isn't there yet."""
    if not path.exists():
        return [], begin
    with path.open("rb") as file:
        file.seek(begin)
        whole, newline, _ = file.read().rpartition(b"\n")
    return [Event(**json.loads(line)) for line in whole.splitlines()], begin + len(whole + newline)


def operations(events: Iterable[Event]) -> list[Operation]:
    """Pair each end with its begin.

    :raises HistoryError: if a process does two things at once, ends what it didn't begin, or goes on after ``info``
    """
    open_: dict[int | str, Event] = {}
    ended: set[int | str] = set()
    found: list[Operation] = []
    for event in sorted(events, key=lambda event: event.time):
        if event.process == NEMESIS:
            continue
        if event.process in ended:
            raise HistoryError(f"process {event.process} goes on behind its end: {event}")
        if event.type == "invoke":
            if event.process in open_:
                raise HistoryError(f"process {event.process} does two things at once: {event}")
            open_[event.process] = event
            continue
        begun = open_.pop(event.process, None)
        if begun is None or (begun.f, begun.value) != (event.f, event.value):
            raise HistoryError(f"process {event.process} ends what it did not begin: {event}")
        if event.type == "info":
            ended.add(event.process)
        found.append(_operation(begun, event))
    found += [_operation(begun, None) for begun in open_.values()]
    tokens = [one.token for one in found if one.f == "acquire"]
    if len(tokens) != len(set(tokens)):
        raise HistoryError("a token was used for two attempts")
    return sorted(found, key=lambda one: one.invoked)


def _operation(begun: Event, end: Event | None) -> Operation:
    known = end is not None and end.type != "info"
    return Operation(
        process=int(begun.process),
        f=begun.f,
        lock=begun.value[0],
        token=begun.value[1],
        invoked=begun.time,
        returned=end.time if end is not None and known else None,
        outcome=end.type if end is not None and known else "info",
        error=end.error if end is not None else None,
        lease=(begun.lease or 0) * 10**6,
    )

"""Waiting for something, so that a person sees what for, how far it is, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TypeVar, cast

import gevent
from pyinfra import logger

from keydb_runbooks.operations import interrupt
from keydb_runbooks.operations.show import wrap

Seen = TypeVar("Seen")

SLOW_POLL_SECONDS = 0.02
"""Between two looks at what nobody is held back for."""

LINE_SECONDS = 1.0
"""A wait that is over within this time prints nothing; a longer one a line each time."""


class Lines:
    """What is printed while something takes long: a line each second, and none of what is over within the first."""

    def __init__(self) -> None:
        self.began = self._last = time.monotonic()

    def tell(self, told: Callable[[], str]) -> None:
        """Print a line, if the time for one has come."""
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            _print(told())

    def go_on(self, told: Callable[[], str]) -> None:
        """The same for work that goes on until it is done, between two of its parts.

        :raises Stopped: if this program is told to stop
        """
        interrupt.check()
        self.tell(lambda: f"{told()} ({time.monotonic() - self.began:.0f} s)")


def until(
    look: Callable[[], Seen | None],
    timeout_seconds: float,
    pause_seconds: float,
    told: Callable[[], str],
    further: Callable[[], bool] | None = None,
) -> Seen | None:
    """Look again and again until there is something; None if there never was.

    :param told: what is waited for and how far it is, for the lines of a long wait
    :param further: whether the last look saw it further than any before; then the whole time is given anew
    :raises Stopped: if this program is told to stop, and there is nothing at that moment
    """
    lines = Lines()
    since, end = lines.began, _clock(timeout_seconds)
    while True:
        found = look()
        if found is not None:
            return found
        interrupt.check()
        now = time.monotonic()
        if further is not None and further():
            since, end = now, _clock(timeout_seconds)
        if now - since > timeout_seconds:
            return None
        lines.tell(partial(_bounded, told, now - lines.began, timeout_seconds, end, further is not None))
        time.sleep(pause_seconds)


def rest(seconds: float, told: str) -> None:
    """Let a time pass that is known before, and say so in one line."""
    _print(f"{told} ({seconds:.2g} s, until {_clock(seconds)})")
    time.sleep(seconds)


def meanwhile(
    work: Callable[[], Seen],
    told: Callable[[], str],
    lines: Lines | None = None,
    watch: Callable[[], None] | None = None,
) -> Seen:
    """Do what can't be asked how far it is, and return what it returns.

    :param lines: those of a longer work, of which this is a part
    :param watch: what is called again and again, and ends the wait by what it raises
    :raises Stopped: if this program is told to stop; whoever calls this ends what is still under way elsewhere
    """
    task, lines = gevent.spawn(_tried, work), lines or Lines()
    try:
        while not task.ready():
            lines.go_on(told)
            if watch is not None:
                watch()
            task.join(timeout=SLOW_POLL_SECONDS)
    finally:
        # What has only just begun, or is about to end, does so.
        task.join(timeout=LINE_SECONDS)
        task.kill(block=False)
    # Ctrl-C in a terminal ends a shell of this machine as well, so what it answered may be nothing.
    interrupt.check()
    result, error = task.get()
    if error is not None:
        raise error
    return cast("Seen", result)


def _tried(work: Callable[[], Seen]) -> tuple[Seen | None, Exception | None]:
    """What it returns, or raises: gevent would print that as a traceback."""
    try:
        return work(), None
    except Exception as error:
        return None, error


def _bounded(told: Callable[[], str], waited: float, timeout: float, end: str, moves: bool) -> str:
    bound = f"until {end} if it gets no further" if moves else f"until {end}"
    return f"{told()} ({waited:.0f} s{'' if moves else f' of {timeout:g} s'}, {bound})"


def _clock(seconds: float) -> str:
    """The time of day in so many seconds."""
    return f"{datetime.now(timezone.utc) + timedelta(seconds=seconds):%H:%M:%S} UTC"


def _print(told: str) -> None:
    for line in wrap(f"waits: {told}", " " * 6, 8):
        logger.info(f"    {line}")


class Pace:
    """How far something is that is counted, and how fast it goes on: the rate is that of about the last five seconds.

    :param unit: what is counted: bytes, keys
    """

    WINDOW_SECONDS = 5.0

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.total: int | None = None
        self._looks: list[tuple[float, int]] = []

    def see(self, done: int, total: int | None) -> None:
        """Note how many are done, and of how many, None if nobody knows."""
        now = time.monotonic()
        self.total = total
        self._looks.append((now, done))
        while len(self._looks) > 2 and self._looks[1][0] < now - self.WINDOW_SECONDS:
            self._looks.pop(0)

    def __str__(self) -> str:
        if not self._looks:
            return f"no {self.unit} yet"
        done = self._looks[-1][1]
        if self.total is None:
            return f"{done:,} {self.unit}{self._speed(None)}"
        left = max(self.total - done, 0)
        return f"{done:,} of {self.total:,} {self.unit}, {left:,} left{self._speed(left)}"

    def _speed(self, left: int | None) -> str:
        first, last = self._looks[0], self._looks[-1]
        if last[0] <= first[0]:
            return ""
        rate = (last[1] - first[1]) / (last[0] - first[0])
        if rate <= 0:
            # Some counts are renewed each second.
            return ", stands still" if last[0] - first[0] >= self.WINDOW_SECONDS else ""
        return f", {rate:,.0f} {self.unit}/s{'' if left is None else f', {left / rate:.1f} s left'}"


class Approach:
    """How a replica comes closer to what its primary has: bytes that it lacks, and how fast they come.

    Rates are those of about the last second.
    """

    WINDOW_SECONDS = 1.0

    def __init__(self) -> None:
        self.behind = 0
        self._looks: list[tuple[float, int, int]] = []

    def see(self, target_offset: int, source_offset: int) -> None:
        """Note one look at both streams."""
        now = time.monotonic()
        self.behind = max(source_offset - target_offset, 0)
        self._looks.append((now, target_offset, source_offset))
        while len(self._looks) > 2 and self._looks[1][0] < now - self.WINDOW_SECONDS:
            self._looks.pop(0)

    @property
    def bytes_per_second(self) -> float | None:
        """How much the replica gets, None if that can't be told yet."""
        return self._rate(1)

    @property
    def seconds_left(self) -> float | None:
        """How long the replica needs for what it lacks, None if it doesn't come closer or that can't be told yet."""
        gets, written = self._rate(1), self._rate(2)
        if gets is None or written is None or gets <= written:
            return None
        return self.behind / (gets - written)

    def __str__(self) -> str:
        gets, left = self.bytes_per_second, self.seconds_left
        rate = "" if gets is None else f", gets {gets:,.0f} bytes/s"
        return f"{self.behind:,} bytes behind{rate}, {'comes no closer' if left is None else f'{left:.1f} s left'}"

    def _rate(self, stream: int) -> float | None:
        if len(self._looks) < 2:
            return None
        first, last = self._looks[0], self._looks[-1]
        return (last[stream] - first[stream]) / (last[0] - first[0]) if last[0] > first[0] else None

"""Waiting for something, so that a person sees what for, how far it is, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from pyinfra import logger

from keydb_runbooks.operations import interrupt

Seen = TypeVar("Seen")

SLOW_POLL_SECONDS = 0.02
"""Between two looks at what nobody is held back for."""

LINE_SECONDS = 1.0
"""A wait that is over within this time prints nothing; a longer one a line each time."""


def until(
    look: Callable[[], Seen | None], timeout_seconds: float, pause_seconds: float, told: Callable[[], str]
) -> Seen | None:
    """Look again and again until there is something; None if there never was.

    :param told: what is waited for and how far it is, for the lines of a long wait
    :raises Stopped: if this program is told to stop, and there is nothing at that moment
    """
    began = line = time.monotonic()
    end = datetime.now(timezone.utc) + timedelta(seconds=timeout_seconds)
    while True:
        found = look()
        if found is not None:
            return found
        interrupt.check()
        now = time.monotonic()
        if now - began > timeout_seconds:
            return None
        if now - line >= LINE_SECONDS:
            line = now
            waited = f"{now - began:.0f} s of {timeout_seconds:g} s, until {end:%H:%M:%S} UTC"
            logger.info(f"          waits: {told()} ({waited})")
        time.sleep(pause_seconds)


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

"""Ctrl-C, SIGTERM and the end of a terminal, while a run goes on: noticed, and obeyed where that leaves no harm.

Between a pause and its end a run must not simply vanish: writers would wait until somebody runs a verb. So a signal is
only remembered, and whoever waits looks here.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pyinfra import logger

from keydb_runbooks.operations.failures import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Asked:
    """The signal that came, for the whole process, and how many runs listen to it."""

    def __init__(self) -> None:
        self.by: str | None = None
        self.listeners = 0


_asked = _Asked()


def asked() -> str | None:
    """The name of the signal that told this program to stop, None if none did."""
    return _asked.by


def check() -> None:
    """Stop waiting if this program was told to.

    :raises Stopped: then
    """
    if _asked.by is not None:
        raise Stopped(f"told to stop by {_asked.by}")


@contextmanager
def listening() -> Iterator[None]:
    """Remember signals instead of ending at once. Several runs may listen; an ignored signal stays ignored."""
    if _asked.listeners == 0:
        _asked.by = None
        before = {number: signal.getsignal(number) for number in SIGNALS}
        _listening.update({number: old for number, old in before.items() if old is not signal.SIG_IGN})
        for number in _listening:
            signal.signal(number, _remember)
    _asked.listeners += 1
    try:
        yield
    finally:
        _asked.listeners -= 1
        if _asked.listeners == 0:
            for number, old in _listening.items():
                signal.signal(number, old)
            _listening.clear()


_listening: dict[signal.Signals, Any] = {}


def _remember(number: int, frame: FrameType | None) -> None:
    first = _asked.by is None
    _asked.by = signal.Signals(number).name
    if first:
        logger.warning(f"    {_asked.by}: the run stops as soon as it can do so without harm")

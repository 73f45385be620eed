"""Looks at the arguments of every process of the fleet, all the time, from outside of the machines.

Whatever a machine runs is seen here too: its process namespace is inside of this one.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

PAUSE_SECONDS = 0.05


class Sampler:
    """Remembers each command line that it saw, once."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def with_word(self, word: str) -> list[str]:
        """The command lines that have a word in them."""
        return [line.replace(b"\0", b" ").decode(errors="replace") for line in self.seen if word.encode() in line]

    def _look(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            self.looks += 1
            for process in Path("/proc").iterdir():
                # One that has ended meanwhile, or none at all.
                with suppress(OSError):
                    self.seen.add((process / "cmdline").read_bytes())

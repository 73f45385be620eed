"""What a command ended with, for the tests of the sandbox and of the fleet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, TypeVar

COLOR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

R = TypeVar("R", bound="Result")

WAITS = f"{'':14}waits: "
GOES_ON = f"{'':16}"
"""How the line of a wait begins, and one that it is wrapped into."""


@dataclass(frozen=True)
class Result:
    """What one command ended with: its exit code, and all that it printed, without colours."""

    code: int
    text: str

    REFUSED: ClassVar[tuple[int, ...]] = (1,)
    """Exit codes of a run that changed nothing, or not all that it should."""

    def ok(self: R) -> R:
        """The same, if it succeeded."""
        assert self.code == 0, self.text
        assert "Traceback" not in self.text, self.text
        return self

    def refused(self: R, *sentences: str) -> R:
        """The same, if it failed, with all these sentences and without a traceback."""
        assert self.code in self.REFUSED, self.text
        assert "Traceback" not in self.text, self.text
        # A long sentence may be wrapped.
        words = " ".join(self.text.split())
        for sentence in sentences:
            assert sentence in words, f"{sentence!r} is not in:\n{self.text}"
        return self

    def total(self) -> tuple[int, int, int, int]:
        """The grand total of the results table: hosts, success, error, no change."""
        match = re.search(r"Grand total +(\d+|-) +(\d+|-) +(\d+|-) +(\d+|-)", self.text)
        assert match, self.text
        hosts, success, error, same = (0 if word == "-" else int(word) for word in match.groups())
        return hosts, success, error, same


def of_waits(lines: list[str]) -> list[bool]:
    """Of each line whether it is one of a wait's."""
    belong: list[bool] = []
    for line in lines:
        goes_on = line.startswith(GOES_ON) and line[16:17].strip() != ""
        belong.append(line.startswith(WAITS) or (goes_on and bool(belong) and belong[-1]))
    return belong


def waits(text: str) -> list[str]:
    """What was said of each wait, a sentence each, however it was wrapped."""
    lines = [line.rstrip() for line in COLOR.sub("", text).splitlines()]
    told = [line for line, of_wait in zip(lines, of_waits(lines), strict=True) if of_wait]
    sentences = "\n".join(told).split("waits: ")[1:]
    return [" ".join(sentence.split()) for sentence in sentences]

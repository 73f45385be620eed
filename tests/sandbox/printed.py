"""What a command ended with, for the tests of the sandbox and of the fleet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, TypeVar

COLOR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

R = TypeVar("R", bound="Result")


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

"""What a drift is: one thing that is not as the inventory, the file or the role says, or that nobody could look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from keydb_runbooks.runbooks.findings import Severity


class Verdict(Enum):
    """What is known: all is as it should be, something isn't, or it could not be looked at."""

    FINE = "fine"
    DRIFTED = "drifted"
    UNKNOWN = "unknown"


class Unseen(Enum):
    """Stands where a value wasn't looked for or is unknown; None says that there is none."""

    UNSEEN = "unseen"


UNSEEN = Unseen.UNSEEN
Value = str | None | Unseen


@dataclass(frozen=True)
class Drift:
    """A stable code, where, what (``key``: a directive, a user, a proxy's server), and a sentence with the way out.

    ``wanted``, ``on_disk`` and ``running`` are for people and hold no secret.
    """

    code: str
    verdict: Verdict
    severity: Severity
    where: str
    sentence: str
    key: str = ""
    wanted: Value = UNSEEN
    on_disk: Value = UNSEEN
    running: Value = UNSEEN


def unknown(code: str, where: str, sentence: str) -> Drift:
    """Something that could not be looked at."""
    return Drift(code, Verdict.UNKNOWN, Severity.WARNING, where, sentence)


def verdict(drifts: Iterable[Drift]) -> Verdict:
    """The verdict on a whole: drifted if anything is, else unknown if anything is."""
    found = {drift.verdict for drift in drifts}
    return next((one for one in (Verdict.DRIFTED, Verdict.UNKNOWN) if one in found), Verdict.FINE)

"""What a plan or a refusal rests on, as it is shown with it: what was seen, and who could take the role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What an item of evidence says of the node that it is about."""

    ALIVE = "alive"
    GONE = "gone"
    NEITHER = "neither"


@dataclass(frozen=True)
class Evidence:
    """One thing that was seen: by whom, of which node, what, and when by the operator's clock ("" is unknown)."""

    who: str
    about: str
    what: str
    when: str
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.who}: {self.about} {self.what}"


@dataclass(frozen=True)
class Place:
    """A node's place in the ranking of candidates: why it stands there, and what was compared, in words.

    ``eligible`` is False for a node that must not take the role; ``why`` is the reason then.
    """

    node: str
    eligible: bool
    why: str
    offset: str = "?"
    priority: str = "?"
    disk: str = "?"
    memory: str = "?"
    zone: str = "?"

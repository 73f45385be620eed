"""A table of faults: each verb, node, fault and moment that can meet, and which of them are tried where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from disturbing import FAULTS
from kit import Sandbox
from moments import Moment
from pairs import Row, each_value, every_row, pairwise

WHERE = ("primary", "target", "sibling", "proxy")
WHEN = ("before", "within", "behind")
"""Directly before the first change; when it is half done or not looked at yet; near the end."""


@dataclass(frozen=True)
class Table:
    """Verbs with their moments.

    :param possible: whether a fault can meet this node at this moment
    :param disturb: lets a row happen to a group, and sees that it ends well
    """

    moments: Mapping[str, Mapping[str, Moment]]
    possible: Callable[[Row], bool]
    disturb: Callable[[Sandbox, Row], None]

    @cached_property
    def factors(self) -> dict[str, tuple[str, ...]]:
        return {"verb": tuple(self.moments), "where": WHERE, "fault": FAULTS, "moment": WHEN}

    @cached_property
    def rows(self) -> list[Row]:
        """Everything that can meet."""
        return every_row(self.factors, self.possible)

    @cached_property
    def chosen(self) -> list[Row]:
        """Every pair of two values."""
        return pairwise(self.rows)

    @cached_property
    def few(self) -> list[Row]:
        """Every value."""
        return each_value(self.chosen)

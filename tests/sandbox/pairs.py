"""Few rows in which every pair of values of any two factors occurs: what breaks by two things together is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

Row = tuple[str, ...]
Pair = tuple[tuple[int, str], tuple[int, str]]


def every_row(factors: Mapping[str, Sequence[str]], possible: Callable[[Row], bool]) -> list[Row]:
    """All combinations that are possible."""
    return [row for row in product(*factors.values()) if possible(row)]


def pairs_of(row: Row) -> set[Pair]:
    """Every two values that meet in a row."""
    return set(combinations(enumerate(row), 2))


def pairwise(rows: Sequence[Row]) -> list[Row]:
    """Some of the rows, chosen greedily, with every pair that any of them has."""
    return _covering(rows, pairs_of)


def each_value(rows: Sequence[Row]) -> list[Row]:
    """Some of the rows, chosen greedily, with every value that any of them has."""
    return _covering(rows, values_of)


def values_of(row: Row) -> set[tuple[int, str]]:
    return set(enumerate(row))


def _covering(rows: Sequence[Row], parts_of: Callable[[Row], set[Any]]) -> list[Row]:
    """Of rows that bring as much that is missing, one of values that were chosen seldom: no value is tried out of habit."""
    missing = {part for row in rows for part in parts_of(row)}
    chosen: list[Row] = []
    used: Counter[tuple[int, str]] = Counter()
    while missing:
        best = max(rows, key=lambda row: (len(parts_of(row) & missing), -sum(used[value] for value in values_of(row))))
        missing -= parts_of(best)
        used.update(values_of(best))
        chosen.append(best)
    return chosen

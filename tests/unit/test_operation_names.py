"""pyinfra ends a run with a table of its operations, which is as wide as the longest name makes it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BESIDE = 4 + 3 + len("Hosts   Success   Error   No Change   ")
"""What stands in a line of it besides the name."""


def names() -> list[str]:
    """Of all operations; a node of eight letters or a group of as many stands for each part that isn't known here."""
    files = [*(REPOSITORY / "deploys").glob("*.py"), *(REPOSITORY / "operations").glob("*.py")]
    calls = [one for path in files for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.Call)]
    given = [word.value for call in calls for word in call.keywords if word.arg == "name"]
    return sorted({text for value in given if (text := _text(value)) and text[0].isupper() and " " in text})


def _text(value: ast.expr) -> str:
    if isinstance(value, ast.JoinedStr):
        return "".join(map(_text, value.values))
    if isinstance(value, ast.FormattedValue):
        return "x" * 8
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def test_names_are_found() -> None:
    assert {"Configure the server", "Let xxxxxxxx join xxxxxxxx"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_the_table_of_results_is_no_wider_than_80_columns(name: str) -> None:
    assert BESIDE + len(name) <= 80

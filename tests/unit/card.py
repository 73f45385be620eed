"""README's incident card, read as somebody does who knows nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
CARD = "## Writes fail"


def card() -> list[str]:
    """The lines of README's card, from its heading to the next one."""
    text = README.read_text()
    assert text.count(f"{CARD}\n") == 1
    return (CARD + text.partition(CARD)[2].partition("\n## ")[0]).rstrip().splitlines()


def rows() -> list[tuple[list[str], list[str]]]:
    """The card's table: what status prints, and the deploys of that row."""
    table = "\n".join(card()).partition("status.py says")[2].partition("another row")[0]
    found: list[tuple[list[str], list[str]]] = []
    for line in table.splitlines()[1:]:
        says, _, rest = line.removeprefix("    ").partition("  ")
        deploys = re.findall(r"(\w+)\.py", rest)
        if says:
            found.append((says.split(", "), deploys))
        elif line.strip():
            found[-1][1].extend(deploys)
    return found


def first_row(found: Iterable[tuple[str, str, str]]) -> list[str]:
    """The deploys of the card's first row that is there.

    :param found: what status finds: each with its code, how bad it is, and its sentence
    """
    told = [f"{code} {severity}: {sentence}" for code, severity, sentence in found]
    for says, deploys in rows():
        for code, _, more in (one.partition(" ") for one in says):
            there = [line for line in told if line.split()[0] == code.rstrip(":")]
            if any(more.strip("()") in line for line in there):
                return deploys
    return []

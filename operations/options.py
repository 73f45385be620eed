"""What may be given to a verb with ``--data``, and what was probably meant by something else.

Any other ``--data`` belongs to other people's deploys, unless it is like one of ours: a misspelt option that is left
out in silence would move a role to another node than the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyinfra.api.host import Host

from keydb_runbooks.schemas import PREFIXES, SECRETS
from keydb_runbooks.schemas.nearest import did_you_mean, nearest, slipped

OPTIONS = (
    "to",
    "allow_unread",
    "accept_loss",
    "accept_split",
    "accept_minority_lock",
    "group",
    "format",
    "save",
    "save_to",
    "compare",
    "listed",
)

OTHER_WORDS = {"target": "to", "new_primary": "to", "too": "to", "tto": "to", "to_node": "to", "TO": "to", "To": "to"}
"""Of a word as short as ``to`` every other one is but a slip away, so its own are listed."""


def option(host: Host, key: str) -> Any:
    """What stood behind ``--data KEY=``, None without it. What the inventory has of that name is somebody else's."""
    return host.inventory.override_data.get(key)


def refuse(given: Mapping[str, object]) -> Iterator[str]:
    """Why these ``--data`` are not taken, a sentence each."""
    for key in given:
        if key == SECRETS:
            yield f"--data {key}: others can read a command line; passwords belong into the inventory"
        elif key not in OPTIONS and not key.startswith(PREFIXES) and (meant := _meant(key)):
            yield f"--data {key}: is not an option; did you mean {meant}? options are {', '.join(OPTIONS)}"


def refuse_value(key: str, value: object, allowed: tuple[str, ...]) -> str:
    """Why the value of an option that takes one of a few words is not taken."""
    return f"--data {key}={value}{did_you_mean(value, allowed) or ':'} allowed are {' and '.join(allowed)}"


def refuse_names(key: str, names: Iterable[str], allowed: tuple[str, ...]) -> Iterator[str]:
    """Why a node or proxy that an option names is not taken, a sentence each."""
    for name in sorted(set(names) - set(allowed)):
        meant = did_you_mean(name, allowed) or ";"
        yield f"--data {key}={name}: no node or proxy has that name{meant} allowed are {', '.join(allowed)}"


def _meant(key: str) -> str | None:
    if key in OTHER_WORDS:
        return OTHER_WORDS[key]
    long = [one for one in OPTIONS if one != "to"]
    return next((one for one in long if slipped(key, one)), None) or nearest(key, long, likeness=0.8)

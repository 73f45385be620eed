"""What may be given to a verb with ``--data``, and what was probably meant by something else.

Any other ``--data`` belongs to other people's deploys, unless it is like one of ours: a misspelt option that is left
out in silence would move a role to another node than the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from pyinfra.api.host import Host

from keydb_runbooks.runbooks.configuration import in_bytes
from keydb_runbooks.runbooks.replication import LONGEST_NUMBER
from keydb_runbooks.schemas import PREFIXES, SECRETS
from keydb_runbooks.schemas.nearest import did_you_mean, nearest, slipped

OPTIONS = (
    "to",
    "node",
    "allow_unread",
    "allow_lag",
    "accept_loss",
    "accept_split",
    "accept_minority_lock",
    "accept",
    "catch_up_timeout",
    "group",
    "format",
    "report",
    "save",
    "save_to",
    "compare",
    "listed",
    "since",
    "keep",
    "keep_days",
    "backup",
    "accept_replace",
    "accept_again",
    "whole_group",
    "remove_data",
    "force_conflicts",
    "finish",
)

OTHER_WORDS = {
    **dict.fromkeys(("target", "new_primary", "too", "tto", "to_node", "TO", "To"), "to"),
    **dict.fromkeys(("nod", "noed", "nodes", "node_name", "nodename", "NODE", "Node"), "node"),
}
"""Of words as short as ``to`` and ``node`` too many others are but a slip away, so their own are listed."""


def option(host: Host, key: str) -> Any:
    """What stood behind ``--data KEY=``, None without it. What the inventory has of that name is somebody else's."""
    return host.inventory.override_data.get(key)


def refuse(given: Mapping[str, object]) -> Iterator[str]:
    """Why these ``--data`` are not taken, a sentence each. Which ones a verb takes stands in its deploy file."""
    for key in given:
        if key == SECRETS:
            yield f"--data {key}: others can read a command line; passwords belong into the inventory"
        elif key not in OPTIONS and not key.startswith(PREFIXES) and (meant := _meant(key)):
            yield f"--data {key}: is not an option; did you mean {meant}?"


def refuse_value(key: str, value: object, allowed: tuple[str, ...]) -> str:
    """Why the value of an option that takes one of a few words is not taken."""
    return f"--data {key}={value}{did_you_mean(value, allowed) or ':'} allowed are {' and '.join(allowed)}"


NAMED = {"to": "the node that becomes the primary", "node": "the node that it acts on"}
"""The two options by which a verb may name a node, and what each means."""


def refuse_other_name(verb: str, named_by: str, given: Mapping[str, str | None]) -> str | None:
    """Why a node that is named by the other option than the verb's is not taken, or None."""
    for key, name in given.items():
        if key != named_by and name is not None:
            return f"--data {key}={name}: {verb} names {NAMED[named_by]} by {named_by}=NAME"
    return None


def refuse_loss_of(to: str | None, accept_loss: Collection[str]) -> str | None:
    """Why the node that shall be the primary can't be one whose writes are given up as well, or None."""
    if to is None or to not in accept_loss:
        return None
    return f"--data to={to} and accept_loss={to}: the primary's writes are those that stay; say one of the two"


def refuse_names(key: str, names: Iterable[str], allowed: tuple[str, ...]) -> Iterator[str]:
    """Why a node or proxy that an option names is not taken, a sentence each."""
    for name in sorted(set(names) - set(allowed)):
        meant = did_you_mean(name, allowed) or ";"
        yield f"--data {key}={name}: no node or proxy has that name{meant} allowed are {', '.join(allowed)}"


def refuse_codes(key: str, codes: Iterable[str], allowed: tuple[str, ...]) -> Iterator[str]:
    """Why the code of a pre-check that an option names is not taken, a sentence each."""
    for code in sorted(set(codes) - set(allowed)):
        meant = did_you_mean(code, allowed) or ";"
        yield f"--data {key}={code}: no pre-check of that code can be accepted{meant} allowed are {', '.join(allowed)}"


def size(value: object) -> int | None:
    """A number of bytes as the servers write it (``64k`` is 64000, ``64kb`` is 65536); None if it is none."""
    text = str(value)
    found = in_bytes(text) if len(text) <= LONGEST_NUMBER else text
    return found if isinstance(found, int) else None


MOMENT = "%Y-%m-%dT%H:%M:%SZ"


def seconds_of(value: object) -> float | None:
    """A moment as a person writes it, in UTC, as seconds since 1970; None if it is none.

    >>> seconds_of("2026-01-02T03:04:05Z")
    1767323045.0
    """
    try:
        return datetime.strptime(str(value), MOMENT).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def written(seconds: float) -> str:
    """A moment as a person writes it; the part of a second is cut off.

    >>> written(1767323045.9)
    '2026-01-02T03:04:05Z'
    """
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime(MOMENT)


def _meant(key: str) -> str | None:
    if key in OTHER_WORDS:
        return OTHER_WORDS[key]
    long = [one for one in OPTIONS if one not in ("to", "node")]
    return next((one for one in long if slipped(key, one)), None) or nearest(key, long, likeness=0.8)

"""What the engines' ``*-check-rdb`` prints of an RDB file.

All of them print ``RDB looks OK!`` for a sound one; what they print before differs a little (docs/engines.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SOUND = "RDB looks OK!"


@dataclass(frozen=True)
class Checked:
    """An RDB file that was checked from its first to its last byte.

    ``keys`` are those in the file, expired ones too. ``replication_id`` and ``offset`` are the stream and the place in
    it at which it was saved, None if the file doesn't say. ``engine_version`` is the server's that wrote it.
    ``trouble`` is why it isn't sound, "" if it is.
    """

    keys: int | None
    replication_id: str | None
    offset: int | None
    engine_version: str | None
    trouble: str

    @property
    def sound(self) -> bool:
        return not self.trouble


def read_check(lines: Iterable[str]) -> Checked:
    """Read what the check printed; whatever isn't known to be sound has a trouble.

    >>> read_check(["[offset 9] Can't handle RDB format version 11"]).trouble
    "Can't handle RDB format version 11"
    """
    text = "\n".join(lines)
    keys, offset = _found(r"\[info\] (\d+) keys read", text), _found(r"AUX FIELD repl-offset = '(\d+)'", text)
    return Checked(
        keys=None if keys is None else int(keys),
        replication_id=_found(r"AUX FIELD repl-id = '([0-9a-f]{40})'", text),
        offset=None if offset is None else int(offset),
        engine_version=_found(r"AUX FIELD (?:valkey|redis)-ver = '([^']+)'", text),
        trouble="" if SOUND in text and keys is not None else _trouble(text),
    )


def _trouble(text: str) -> str:
    behind = text.partition("RDB ERROR DETECTED ---")[2] or text
    told = [re.sub(r"^\[offset \d+\] ", "", line).strip() for line in behind.splitlines()]
    return next((line for line in told if line and "AUX FIELD" not in line), "the check printed nothing")


def _found(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return None if found is None else found[1]

"""How a password may be written: as it is, as an ACL file has it, and as HAProxy's configuration has it."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256


def plain(word: str) -> str:
    return word


def hashed(word: str) -> str:
    """SHA-256: who has it needs no password to try others by, and it is what `ACL SETUSER #...` takes."""
    return sha256(word.encode()).hexdigest()


def in_hex(word: str) -> str:
    """Its bytes, as they stand in `tcp-check send-binary`."""
    return word.encode().hex()


FORMS = (plain, hashed, in_hex)


def forms(words: Iterable[str]) -> list[str]:
    """All forms of all words."""
    return [form(word) for word in words for form in FORMS]

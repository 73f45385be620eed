"""What somebody meant by a word that is not known.

Words are compared without their capitals, underscores and dashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

from keydb_runbooks.schemas.document import PREFIXES

LIKENESS = 0.75
"""How like two words are at least, 1 being the same. Tried with one and two slips in every key there is."""


def nearest(word: str, allowed: Iterable[str], likeness: float = LIKENESS) -> str | None:
    """The allowed word that is most like this one, None if none is like it. Its digits are meant as they are."""
    folded = {_fold(one): one for one in allowed if _digits(one) == _digits(word)}
    close = get_close_matches(_fold(word), folded, n=1, cutoff=likeness)
    # Of short words even one slip leaves little.
    close = close or [one for one in folded if _within_a_slip(_fold(word), one)]
    return folded[close[0]] if close else None


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    """``; did you mean X?``, or nothing if no allowed word is like this one."""
    found = nearest(word, allowed) if isinstance(word, str) else None
    return "" if found is None else f"; did you mean {found}?"


def slipped(word: str, right: str) -> bool:
    """Whether a word is another one but for one slip: a letter left out, added or replaced, or two swapped."""
    return word != right and _within_a_slip(_fold(word), _fold(right))


@lru_cache(maxsize=256)
def meant_key(key: str, known: tuple[str, ...]) -> str | None:
    """The key of ours that is meant by one without our prefixes, None if it is somebody else's.

    Its prefix has one slip at most, and the rest of it is like the rest of a key of ours. ``my_keydb_port``,
    ``keydb2_port``, ``proxy_address`` and ``_keydb_users`` are somebody else's on purpose.

    All hosts of a fleet have the same keys of others.
    """
    word = "" if key.startswith("_") else _fold(key)
    for prefix in PREFIXES:
        name = prefix.removesuffix("_")
        if word[len(name) : len(name) + 1].isdigit():
            continue
        ours = [one for one in known if one.startswith(prefix)]
        # Most keys of others begin otherwise, and that is told at once.
        for end in filter(lambda end: _within_a_slip(word[:end], name), (len(name), len(name) - 1, len(name) + 1)):
            rests = {_fold(one.removeprefix(prefix)): one for one in ours}
            if close := get_close_matches(word[end:], rests, n=1, cutoff=LIKENESS):
                return rests[close[0]]
        if word.startswith(name) and (found := nearest(key, ours, likeness=0.8)):
            return found
    return None


def _digits(word: str) -> str:
    return re.sub(r"\D", "", word)


def _fold(word: str) -> str:
    return re.sub(r"[\W_]+", "", word).casefold()


def _within_a_slip(word: str, right: str) -> bool:
    if word == right:
        return True
    for at in range(len(right) + 1):
        head, tail = right[:at], right[at:]
        swapped = head + tail[1:2] + tail[:1] + tail[2:]
        # A digit is no slip: who numbers things means it.
        added_or_replaced = rf"{re.escape(head)}[a-z]({re.escape(tail)}|{re.escape(tail[1:])})"
        if word in (head + tail[1:], swapped) or re.fullmatch(added_or_replaced, word):
            return True
    return False

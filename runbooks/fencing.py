"""Fences: an ACL under which no client of a server may write, and how one is recognised.

A fence takes writes and scripts from every user that clients have. Scripts are taken as a whole, since on KeyDB they
slip through ``min-replicas-to-write`` (keydb-facts, "min-replicas-to-write as a write lease"). The servers write rules
in ways of their own (docs/engines.md, "Fencing a user"), so a fence is recognised by what it comes to and not by words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from keydb_runbooks.runbooks.configuration import Directive, parse, quote, rules
from keydb_runbooks.runbooks.replication import ClientUser

FENCE_RULES = ("-@write", "-@scripting")
"""What is taken from a user that has every command but some. It hits connections that are open."""

FENCE_ALL = ("-@all",)
"""What is taken from a user that has single commands: nobody can tell which of them write."""

KEPT = "before-fence:"
"""Begins the name of a sleeping user that keeps the rules of one that the inventory doesn't know, until unfence."""

ALL = ("+@all", "allcommands")
NONE = ("-@all", "nocommands", "reset")

HARMLESS = frozenset(
    f"+{command}"
    for command in (
        *("@read", "@connection", "acl|whoami", "client|id", "client|list", "config|get", "dbsize", "echo", "exists"),
        *("get", "info", "lastsave", "latency", "latency|latest", "memory|usage", "mget", "pfcount", "ping", "psync"),
        *("replconf", "role", "scan", "slowlog", "slowlog|get", "slowlog|len", "subscribe", "time", "ttl", "type"),
    )
)
"""Rights with which nobody writes. One that isn't here may be for writing."""


def client_users(rows: Iterable[str], application: str, limited: Collection[str]) -> tuple[ClientUser, ...]:
    """The users that clients may log in with, of the rows of ACL LIST or of the ``user`` lines of a file, by name.

    :param application: name of the user whose rules the inventory has
    :param limited: names of the inventory's other users, which keep their rights
    """
    users = {words[1]: tuple(words[2:]) for words in map(str.split, rows) if len(words) > 1}
    found = []
    for name in sorted(users):
        if name in limited or name.startswith(KEPT):
            continue
        words, kept, known = users[name], KEPT + name in users, name == application
        writes = "on" in words and may_write(words)
        if writes or kept or known:
            found.append(ClientUser(name, writes, known=known, kept=kept, fence=_fence(words)))
    return tuple(found)


def may_write(words: tuple[str, ...]) -> bool:
    """Whether a user's rules might let it write; what isn't known might."""
    if _selects(words):
        return True
    held = _since_all(words)
    if not set(FENCE_RULES) <= set(held):
        return _wide(words) or _grants(held)
    return _grants(held[min(map(held.index, FENCE_RULES)) :])


def _fence(words: tuple[str, ...]) -> tuple[str, ...]:
    """The rules that a fence adds to those of a user."""
    if _selects(words):
        return (*FENCE_ALL, "clearselectors")
    return FENCE_RULES if _wide(words) and not _grants(_since_all(words)) else FENCE_ALL


def _selects(words: tuple[str, ...]) -> bool:
    """Whether there are selectors, sets of rules of their own in parentheses."""
    return any(word.startswith("(") for word in words)


def _grants(words: tuple[str, ...]) -> bool:
    return any(word[0] == "+" and word not in HARMLESS for word in words)


def kept_name(user: ClientUser) -> str:
    """The sleeping user that keeps a user's rules."""
    return KEPT + user.name


def sleeping(words: tuple[str, ...]) -> tuple[str, ...]:
    """The rules of a user with which nobody can log in."""
    return ("off", *(word for word in words if word not in ("on", "off")))


def awake(words: tuple[str, ...]) -> tuple[str, ...]:
    """The rules that a sleeping user kept, for the one that has them back."""
    return ("on", *(word for word in words if word not in ("on", "off")))


def with_fence(wanted: str, application: str, rows: Iterable[str]) -> str:
    """A configuration that is wanted, with the fence of the application's user that is in force instead of its rules.

    So an installation leaves a fence as it is, and drift doesn't tell it twice.

    :param rows: the ``user`` lines of the file or of the server that is fenced
    """
    key = ("user", application)
    present = {line.key: line for line in parse("\n".join(rows))}.get(key)
    lines = []
    for text in wanted.split("\n"):
        wish = next(iter(parse(text)), None)
        lines.append(text if wish is None or wish.key != key else _fenced_line(wish, present))
    return "\n".join(lines)


def _fenced_line(wish: Directive, present: Directive | None) -> str:
    values = (*wish.values, *FENCE_RULES)
    # Each engine writes the commands that are left its own way; all else must be as it is wanted.
    if present is not None and not may_write(present.values[1:]) and _apart(present) == _apart(wish):
        values = present.values
    # A hash stands bare in such a line.
    return " ".join(["user", *(value if value.startswith("#") else quote(value) for value in values)])


def _apart(line: Directive) -> set[str]:
    """A user's rules apart from those for commands."""
    return {rule for rule in rules(line.values[1:]) if rule[0] not in "+-"}


def _wide(words: tuple[str, ...]) -> bool:
    """Whether a user has every command, but those that are taken."""
    last = [word for word in words if word in ALL or word in NONE]
    return bool(last) and last[-1] in ALL


def _since_all(words: tuple[str, ...]) -> tuple[str, ...]:
    """The rules for commands that hold: those behind the last one for all of them."""
    start = max((place for place, word in enumerate(words) if word in ALL or word in NONE), default=-1)
    return tuple(word for word in words[start + 1 :] if word[0] in "+-")

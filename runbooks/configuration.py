"""keydb.conf as directives: compare what is wanted with what is there, and merge.

CONFIG REWRITE changes a file: it reorders, writes sizes its own way and adds lines. So files are compared by directive
and meaning, what nobody asked for is kept, and ``replicaof`` belongs to the runbooks alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from posixpath import normpath

ROLE_DIRECTIVE = "replicaof"
"""Never compared and never written: the line on disk records the role that a verb gave."""

SECRET_DIRECTIVES = ("masterauth", "requirepass", "user", "tls-key-file-pass")

_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}
LIMITS = "client-output-buffer-limit"
"""A directive that has a value for each class of clients."""

# Texts of which each character counts, whatever they look like.
_TEXTS = (*SECRET_DIRECTIVES, "masteruser", "dbfilename", "logfile", "pidfile")

# Names that one engine or another gives a directive when it rewrites its file.
_ALIASES = {
    "slaveof": "replicaof",
    "primaryuser": "masteruser",
    "primaryauth": "masterauth",
    "min-slaves-to-write": "min-replicas-to-write",
    "min-slaves-max-lag": "min-replicas-max-lag",
    "slave-read-only": "replica-read-only",
    "slave-serve-stale-data": "replica-serve-stale-data",
    "slave-priority": "replica-priority",
    "repl-ping-slave-period": "repl-ping-replica-period",
}

# Rules that an ACL user has whether it is told so or not, in one version or another.
_ACL_DEFAULTS = {"sanitize-payload", "resetchannels", "resetkeys", "resetpass", "-@all", "reset", "nocommands"}
_ACL_WORDS = {"allkeys": "~*", "allchannels": "&*", "allcommands": "+@all"}


@dataclass(frozen=True)
class Directive:
    """One line: a name in lower case and its values, unquoted."""

    name: str
    values: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """What this line sets; of several lines with one key the last holds."""
        name = _ALIASES.get(self.name, self.name)
        return (name, self.values[0]) if name in ("user", LIMITS) and self.values else (name,)


@dataclass(frozen=True)
class Difference:
    """A directive that isn't as wanted; ``present`` is None if the file lacks it."""

    name: str
    wanted: tuple[str, ...]
    present: tuple[str, ...] | None

    @property
    def secret(self) -> bool:
        return self.name in SECRET_DIRECTIVES

    def __repr__(self) -> str:
        return f"Difference({self})"

    def __str__(self) -> str:
        if self.name == "user":
            return f"user {self.wanted[0]}: {'is missing' if self.present is None else 'has other rules'}"
        if self.secret:
            return f"{self.name}: {'is missing' if self.present is None else 'has another value'}"
        present = "is missing" if self.present is None else f"is {' '.join(self.present) or 'empty'}"
        return f"{self.name}: {present}, wanted is {' '.join(self.wanted) or 'empty'}"


class ConfigurationError(ValueError):
    """A line can't be split into words."""


def parse(text: str) -> list[Directive]:
    """Split a configuration file into directives, in order; comments and blank lines are left out.

    :raises ConfigurationError: with the number of the line whose quotes don't match
    """
    return list(_parsed(text))


# Who judges one server parses the same texts again and again.
@lru_cache(maxsize=16)
def _parsed(text: str) -> tuple[Directive, ...]:
    directives: list[Directive] = []
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            try:
                words = split_words(stripped)
            except ValueError as error:
                raise ConfigurationError(f"line {number}: {error}") from None
            directives.extend(_directives(words[0].lower(), tuple(words[1:])))
    return tuple(directives)


def differences(wanted: str, present: str) -> list[Difference]:
    """Compare two configuration files by directive; only what ``wanted`` names is looked at."""
    wishes, found = by_key(parse(wanted)), by_key(parse(present))
    result = []
    for key, wish in wishes.items():
        if key[0] == ROLE_DIRECTIVE:
            continue
        there = found.get(key)
        if there is None or meaning(key[0], wish) != meaning(key[0], there):
            result.append(Difference(key[0], _shown(wish), None if there is None else _shown(there)))
    return result


def merge(wanted: str, present: str) -> str:
    """The wanted file, followed by the lines of the present one that it says nothing about."""
    managed = set(by_key(parse(wanted))) - {(ROLE_DIRECTIVE,)}
    kept = [line for line in parse(present) if line.key not in managed]
    wished = "\n".join(line for line in wanted.split("\n") if not _is_role(line))
    if not kept:
        return wished
    lines = [" ".join([line.name, *map(quote, line.values)]) for line in kept]
    return "\n".join([wished.rstrip("\n"), "", "# Kept from the file that was here before.", *lines, ""])


def meaning(name: str, lines: list[Directive]) -> object:
    """What the lines of one directive mean, whatever way they are written."""
    if name == "save":
        return _saves(lines)
    last = lines[-1].values
    if name == "user":
        return rules(last)
    text = " ".join(last)
    if name in _TEXTS:
        return text
    if name == "notify-keyspace-events":
        return set(text)
    # Servers say where they are without a slash at the end.
    return normpath(text) if name == "dir" else tuple(map(_word, text.split()))


def _word(word: str) -> int | str:
    return word.lower() if word.lower() in ("yes", "no") else in_bytes(word)


def _saves(lines: list[Directive]) -> list[tuple[str, str]]:
    """The pairs of seconds and changes; an empty value takes back those before it."""
    pairs: list[tuple[str, str]] = []
    for line in lines:
        words = [word for value in line.values for word in value.split()]
        pairs = [] if not words else [*pairs, *zip(words[::2], words[1::2], strict=False)]
    return sorted(pairs)


def rules(words: tuple[str, ...]) -> set[str]:
    """What an ACL user's rules come to; a rule for all commands takes back those for single ones before it."""
    held: set[str] = set()
    for word in words:
        rule = _ACL_WORDS.get(word, word)
        if word.startswith(">"):
            # The server keeps and writes a password as its hash.
            rule = f"#{sha256(word[1:].encode('utf-8', 'surrogateescape')).hexdigest()}"
        if rule in ("+@all", "-@all", "nocommands"):
            held = {one for one in held if one[0] not in "+-"}
        held.add(rule)
    if not any(rule.startswith("+@") for rule in held):
        # Taking back what nobody gave; one of the engines keeps such words.
        held = {rule for rule in held if not _is_void(rule, held)}
    return held - _ACL_DEFAULTS


def _is_void(rule: str, held: set[str]) -> bool:
    """Whether a rule takes a single command back that no other one gives."""
    command, *_ = rule[1:].split("|")
    return rule.startswith("-") and not rule.startswith("-@") and f"+{command}" not in held


def _is_role(line: str) -> bool:
    word = line.split(maxsplit=1)[0].lower() if line.strip() else ""
    return _ALIASES.get(word, word) == ROLE_DIRECTIVE


def _directives(name: str, values: tuple[str, ...]) -> list[Directive]:
    """One line as directives: limits of several client classes may stand on one line."""
    if name != LIMITS or len(values) % 4:
        return [Directive(name, values)]
    classes = [values[start : start + 4] for start in range(0, len(values), 4)]
    return [Directive(name, ("replica" if each[0] == "slave" else each[0], *each[1:])) for each in classes]


def in_bytes(size: str) -> int | str:
    """A size as the servers read it: ``1k`` is 1000 bytes, ``1kb`` is 1024."""
    match = re.fullmatch(r"(\d+)\s*([a-z]*)", size.lower())
    if match is None or match[2] not in _UNITS:
        return size
    return int(match[1]) * _UNITS[match[2]]


def quote(value: str) -> str:
    """Write a value so that the servers read it back exactly, whatever bytes it has."""
    if value and re.fullmatch(r"[A-Za-z0-9_./:@%+,=~*&|#>-]+", value) and not value.startswith("#"):
        return value
    escapes = {'"': '\\"', "\\": "\\\\"}
    encoded = value.encode("utf-8", "surrogateescape")
    return '"' + "".join(escapes.get(chr(b), chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in encoded) + '"'


def split_words(line: str) -> list[str]:
    """Split a line into words as the servers do: double quotes with escapes, single quotes, bare words.

    :raises ValueError: if a quote is not closed
    """
    words, rest = [], line.strip()
    while rest:
        match = _WORD.match(rest)
        if match is None:
            raise ValueError("a quote is not closed, or something stands behind a closing one")
        words.append(_unquote(match))
        rest = rest[match.end() :].lstrip()
    return words


_WORD = re.compile(r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>[^\s"']\S*))(?=\s|$)""")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_CONTROL = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def _unquote(match: re.Match[str]) -> str:
    if match["bare"] is not None:
        return match["bare"]
    if match["single"] is not None:
        return match["single"].replace("\\'", "'")

    def unescape(found: re.Match[bytes]) -> bytes:
        code = found[1]
        if len(code) == 3:
            return bytes([int(code[1:], 16)])
        return _CONTROL.get(code, code)

    raw = match["double"].encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(unescape, raw).decode("utf-8", "surrogateescape")


def by_key(directives: list[Directive]) -> dict[tuple[str, ...], list[Directive]]:
    """The lines that set the same thing together, in order."""
    grouped: dict[tuple[str, ...], list[Directive]] = {}
    for directive in directives:
        grouped.setdefault(directive.key, []).append(directive)
    return grouped


def _shown(lines: list[Directive]) -> tuple[str, ...]:
    return tuple(value for line in lines for value in line.values)

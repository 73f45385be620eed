"""What differs between two data sets: how keys are compared, counted and told. Values are compared, never told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

OWN_PREFIX = "runbook:"
"""Keys of the runbooks themselves: they differ between any two histories, and tell nobody anything."""

EXPIRY_TOLERANCE_MILLISECONDS = 2000
"""Two servers are asked a moment after each other, and KeyDB counts the expiry of its replicas in its own steps."""

ONLY_HERE, OTHER_TYPE, OTHER_LENGTH, OTHER_VALUE, OTHER_EXPIRY = (
    "only on the node",
    "another type",
    "another length",
    "another value",
    "another expiry",
)

SHOWN = 20
"""How many differing keys stand on the screen; the file has more."""

LONGEST, LONGEST_IN_FILE = 120, 4000
"""Characters of a key on the screen, and in the file."""


@dataclass(frozen=True)
class Seen:
    """One key on one server: its type ("none" if it isn't there), its length, when it expires (in milliseconds of the
    server's clock, None for never)."""

    kind: str
    length: int = 0
    expires: int | None = None

    @property
    def there(self) -> bool:
        return self.kind != "none"


@dataclass(frozen=True)
class Difference:
    """A key that isn't the same on both sides: what differs, and the type and length that it has on the node."""

    database: int
    key: str
    what: str
    kind: str
    length: int


@dataclass
class Differences:
    """Counts of all differing keys, and the first ``limit`` of them by name."""

    node: str
    primary: str
    limit: int
    compared: int = 0
    only_here: int = 0
    other: int = 0
    only_there: int = 0
    listed: list[Difference] = field(default_factory=list)

    def add(self, difference: Difference) -> None:
        """Count a difference, and list it as long as there is room."""
        if difference.what == ONLY_HERE:
            self.only_here += 1
        else:
            self.other += 1
        if len(self.listed) < self.limit:
            self.listed.append(difference)

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        return (
            f"of {self.compared:,} keys beside runbook:* {self.only_here:,} are only on {self.node} and "
            f"{self.other:,} differ from {self.primary}'s; {self.only_there:,} are only on {self.primary}"
        )

    @property
    def lines(self) -> list[str]:
        """The first differing keys for the screen, and how many more there are."""
        shown = [
            f"{one.what:<16} {one.database:>2} {one.kind:<7} {shorten(escaped(one.key), LONGEST)}"
            for one in self.listed[:SHOWN]
        ]
        more = self.only_here + self.other - len(shown)
        return [*shown, f"and {more:,} more"] if more else shown

    def json(self) -> dict[str, object]:
        """All of it for a file."""
        return {
            "format": 1,
            "node": self.node,
            "primary": self.primary,
            "compared": self.compared,
            "only_on_node": self.only_here,
            "other": self.other,
            "only_on_primary": self.only_there,
            "limit": self.limit,
            "listed": [
                {
                    "database": one.database,
                    "key": shorten(escaped(one.key), LONGEST_IN_FILE),
                    "what": one.what,
                    "type": one.kind,
                    "length": one.length,
                }
                for one in self.listed
            ],
        }


def compared_by_looks(here: Seen, there: Seen) -> str | None:
    """What differs as far as type, length and expiry tell; None if the values have to be compared."""
    if not there.there:
        return ONLY_HERE
    if here.kind != there.kind:
        return OTHER_TYPE
    return OTHER_LENGTH if here.length != there.length else None


def other_expiry(here: Seen, there: Seen) -> bool:
    """Whether only one of them expires, or both do at different moments."""
    if here.expires is None or there.expires is None:
        return here.expires is not there.expires
    return abs(here.expires - there.expires) > EXPIRY_TOLERANCE_MILLISECONDS


def canonical(kind: str, answer: object) -> object:
    """A value in a form that doesn't depend on how a server keeps it: sets and hashes have no order."""
    if kind == "set":
        return frozenset(_items(answer))
    if kind == "hash":
        items = _items(answer)
        return dict(zip(items[::2], items[1::2], strict=True))
    return answer


def escaped(key: str) -> str:
    """A key as plain characters, quoted as the servers' own tools do it; what is no ASCII letter stands as bytes.

    >>> escaped("a\\x00b")
    '"a\\\\x00b"'
    """
    plain = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
    letters = (
        plain.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")
        for byte in key.encode("utf-8", "surrogateescape")
    )
    return f'"{"".join(letters)}"'


def shorten(text: str, longest: int) -> str:
    """The beginning of a text that is too long, and how long it is."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def _items(answer: object) -> Sequence[object]:
    assert isinstance(answer, list)
    return answer

"""Who is connected to a server: the rows of ``CLIENT LIST``."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

NO_CLIENT = frozenset("SM")
"""Flags of connections that are no client's: a replica's, and the one to the primary."""


@dataclass(frozen=True)
class Connection:
    """A client's connection: its id on that server, and for how many whole seconds it is there."""

    identity: str
    age_seconds: int


def connections(text: str, ours: Container[str]) -> Iterator[Connection]:
    """The connections of clients.

    :param text: the answer to ``CLIENT LIST``
    :param ours: names of users whose connections are no client's: operators, replicas, checks
    """
    for row in text.splitlines():
        fields = dict(part.partition("=")[::2] for part in row.split())
        if "id" not in fields or fields.get("user") in ours or NO_CLIENT & set(fields.get("flags", "")):
            continue
        yield Connection(fields["id"], int(fields.get("age") or 0))


SLACK_SECONDS = 2
"""Ages and the time of a move are whole seconds, so one that is younger by this may still be older than the move. Who
comes back within this after a move is disconnected again (``EndLatecomers``), and doesn't count any more."""


def older_than(text: str, ours: Container[str], seconds: float) -> bool:
    """Whether a client is connected since before something that was so many seconds ago."""
    return any(one.age_seconds + SLACK_SECONDS >= seconds for one in connections(text, ours))

"""The ACL users of a node as ``runbooks.fencing`` judges them."""

from __future__ import annotations

from collections.abc import Iterable

from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.runbooks.fencing import client_users
from keydb_runbooks.runbooks.replication import ClientUser

LIMITED = ("operator",)
"""The roles whose users keep their rights on a fenced node. The other ones can write nothing, or are fenced too."""


def read_clients(entry: NodeEntry, rows: Iterable[str]) -> tuple[ClientUser, ...]:
    """The users that clients of a node may log in with, of the rows of ACL LIST or of the lines of a file."""
    return client_users(rows, entry.user("application").name, {entry.user(role).name for role in LIMITED})

"""What the runs read of texts, remembered: the same text is the same node, the same proxy, the same users.

A run reads some forty INFOs, and most of them differ in numbers alone that each write and each second change. These are
read anew by the same functions; everything else of a text is read once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from keydb_runbooks.facts import users
from keydb_runbooks.runbooks import condition, proxy, replication
from keydb_runbooks.runbooks.replication import Address, Node
from keydb_runbooks.runbooks.values import changed
from tests.simulation.commands import Info

REMEMBERED = 16384
"""How many texts of a kind: worlds are much alike."""

_still = lru_cache(REMEMBERED)(replication.node_from_info)
statistics = lru_cache(REMEMBERED)(proxy.proxy_from_statistics)


@lru_cache(REMEMBERED)
def _keys(database: str) -> int:
    return replication._keys(replication._Fields({"db0": [database]} if database else {}))


def node(name: str, address: Address, info: Info) -> Node:
    """As ``node_from_info``."""
    known, fields = _still(name, address, info.still), replication._Fields(info.moving)
    uptime = condition.whole(info.moving, "uptime_in_seconds")
    return changed(
        known,
        offset=replication._offset(fields),
        second_offset=fields.number("second_repl_offset", -1),
        backlog_first=replication._backlog_first(fields),
        keys=_keys(fields.first("db0", "")),
        condition=changed(known.condition, uptime_seconds=uptime),
    )


_USERS: dict[tuple[str, ...], Any] = {}


def clients(entry: Any, rows: list[str]) -> Any:
    """As ``read_clients``, whose names of users are the same in every world."""
    known = tuple(rows)
    if known not in _USERS:
        _USERS[known] = users.read_clients(entry, known)
    return _USERS[known]

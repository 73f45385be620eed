"""Finding a replica in its primary's list; behind an address translation by the word of all other nodes."""

from __future__ import annotations

from functools import partial

import redis

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import LinkError, in_parallel
from keydb_runbooks.operations.links import read_once
from keydb_runbooks.runbooks.listed import may_join, only_stranger, row_of
from keydb_runbooks.runbooks.replication import InfoError, Node, Replica


def find_listed(name: str, primary: Node, group: Group) -> Replica | None:
    """A node as its primary lists it, None if it doesn't, or if another one may be meant."""
    own = row_of(primary, group.node(name).address)
    if own is not None:
        return own
    stranger = only_stranger(primary, {entry.address for entry in group.nodes})
    if stranger is None:
        return None
    others = [entry for entry in group.nodes if entry.name not in (name, primary.name)]
    unlisted = [entry for entry in others if row_of(primary, entry.address) is None]
    return None if any(in_parallel(partial(_may_be, primary=primary), unlisted)) else stranger


def _may_be(entry: NodeEntry, primary: Node) -> bool:
    """Whether a node may be one that its primary lists by another address: who is silent may."""
    try:
        # Not over the held link: a step would miss that, if it met silence.
        return may_join(read_once(entry), primary.address)
    except (LinkError, redis.RedisError, OSError, InfoError):
        return True

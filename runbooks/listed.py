"""A replica in its primary's list, which knows it by another address than the inventory behind an address translation.

A connection that brings a full resync is no client of the replica yet, so neither side's list of clients has a word by
which the two ends could be matched. What is left is to exclude everybody else.
"""

from __future__ import annotations

from collections.abc import Collection

from keydb_runbooks.runbooks.replication import Address, Node, Replica


def row_of(primary: Node, address: Address) -> Replica | None:
    """The replica of this address, None if the primary lists none."""
    return next((row for row in primary.replicas if row.address == address), None)


def only_stranger(primary: Node, known: Collection[Address]) -> Replica | None:
    """The replica in a full resync whose address is nobody's, None if there is none, or more than one."""
    strangers = [row for row in primary.replicas if row.joins and row.address not in known]
    return strangers[0] if len(strangers) == 1 else None


def may_join(node: Node, primary: Address) -> bool:
    """Whether by its own word it may be in a full resync from this primary."""
    here = [link for link in node.links if link.primary == primary]
    return node.loading or any(not link.up or link.syncing for link in here)

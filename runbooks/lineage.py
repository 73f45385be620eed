"""How two data sets are related: may this node follow that primary, and what would it cost?

The rules are keydb-facts, "Rejoin: what happens to an ex-primary", and convergence-facts, "Lineage".
Servers remember one former replication id only, so after two promotions a node that comes back from its disk would
be a stranger. Each promotion is therefore recorded in the data (docs/lineage.md), and these ancestors count as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from keydb_runbooks.runbooks.replication import NO_REPLICATION_ID, Node


class Kinship(Enum):
    """What a node's data are to a primary's."""

    SAME = "the same lineage"
    FORKED = "holds an earlier state of the primary's history"
    DIVERGED = "holds bytes that the primary never had"
    EMPTY = "holds nothing"
    PINGED = "holds bytes that the primary never had, as many as PINGs are"
    UNRELATED = "shares no history that the servers still know"


PING_BYTES = 14
"""What a PING is in the stream; a primary that has replicas sends them one each second, whether writes are held or not
(``repl-ping-replica-period``)."""


@dataclass(frozen=True)
class Relation:
    """A node beside a primary.

    ``lost_bytes``: bytes of the stream that following would throw away; None is unknown.
    ``partial``: whether following is expected to need a partial resync only.
    """

    kinship: Kinship
    lost_bytes: int | None
    partial: bool

    @property
    def harmless(self) -> bool:
        """Whether following throws nothing away."""
        return self.lost_bytes == 0

    @property
    def explained(self) -> bool:
        """Whether a node may follow without a person's word: nothing is lost, or what looks like PINGs and is saved."""
        return self.harmless or self.kinship is Kinship.PINGED


def relate(node: Node, primary: Node, held: bool = False) -> Relation:
    """Compare a node with the primary that it should follow.

    A run that died leaves an old primary that holds writes back, and what that has beyond the fork are PINGs
    (convergence-facts, "Lineage"). But anybody may have begun the pause, behind writes that were acknowledged: a pause
    that is there now proves nothing of what was before. So it counts only for bytes that can be PINGs, and since one
    write in fourteen is as long as some PINGs, these are saved before they are thrown away all the same.

    :param held: whether all that the node got since the fork came from a primary that holds writes back
    """
    held = held or (bool(node.paused) and (node.is_primary or node.guarded))
    if node.empty:
        return Relation(Kinship.EMPTY, 0, partial=False)
    if node.replication_id == primary.replication_id:
        ahead = node.offset - primary.offset
        if ahead <= 0:
            return Relation(Kinship.SAME, 0, partial=_in_backlog(node, primary))
        return Relation(_beyond(ahead, held), ahead, partial=False)
    shared = _last_shared_offset(node, primary)
    if shared is None:
        return Relation(Kinship.UNRELATED, None, partial=False)
    if node.offset > shared:
        ahead = node.offset - shared
        return Relation(_beyond(ahead, held), ahead, partial=False)
    known_to_server = node.replication_id == primary.previous_replication_id
    return Relation(Kinship.FORKED, 0, partial=known_to_server and _in_backlog(node, primary))


def _beyond(ahead: int, held: bool) -> Kinship:
    return Kinship.PINGED if held and ahead % PING_BYTES == 0 else Kinship.DIVERGED


def may_hold_until(node: Node, primary: Node) -> int | None:
    """The last offset of a node at which following throws nothing away; None if it must hold no keys at all."""
    if node.empty:
        return None
    return node.offset if node.replication_id == primary.replication_id else _last_shared_offset(node, primary)


def descends(newer: Node, older: Node) -> bool:
    """Whether ``newer`` was promoted out of ``older``'s stream."""
    return _knows(newer.previous_replication_id, older.replication_id)


def _last_shared_offset(node: Node, primary: Node) -> int | None:
    """Up to where the node's stream is part of the primary's history; None if it isn't known to be."""
    if _knows(primary.previous_replication_id, node.replication_id):
        return primary.second_offset - 1
    known = (one.last_offset for one in primary.ancestors if one.replication_id == node.replication_id)
    return next(known, None)


def unrecorded(primary: Node) -> bool:
    """Whether a primary's own promotion is missing in the recorded lineage."""
    previous = primary.previous_replication_id
    return previous != NO_REPLICATION_ID and previous not in {one.replication_id for one in primary.ancestors}


def _knows(previous: str, replication_id: str) -> bool:
    return previous != NO_REPLICATION_ID and previous == replication_id


def _in_backlog(node: Node, primary: Node) -> bool:
    first = primary.backlog_first
    return first is not None and first <= node.offset + 1

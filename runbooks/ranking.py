"""Who could take the role, best first, with the reason for every place (docs/checks.md, "The ranking").

Whether a node may take it at all is for the verb to say; among those that may, the first criterion that tells two apart
decides. Both verbs share the criteria; a failover asks for data first, since nobody can give it more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from keydb_runbooks.runbooks.grounds import Place
from keydb_runbooks.runbooks.plan import Refusal
from keydb_runbooks.runbooks.replication import Node, Unread

ROOM_SHARE = 0.9
"""A node has room for memory while it uses less than this share of its limit."""


@dataclass(frozen=True)
class Wish:
    """What a group wants of its primary: zones, best first, and the stream that it should have, if one is known."""

    zones: tuple[str, ...] = ()
    primary: Node | None = None


@dataclass(frozen=True)
class Criterion:
    """One measure of a candidate, lower is better: its name, what the better one has, and why the other comes later."""

    name: str
    better: str
    measure: Callable[[Node, Wish], int]
    later: Callable[[Node, Node, Wish], str]


@dataclass(frozen=True)
class Ranking:
    """The nodes that may take the role, best first, and a place for everybody."""

    able: tuple[Node, ...]
    places: tuple[Place, ...]


def lacks(node: Node, primary: Node) -> int:
    """How many bytes of the primary's stream a replica lacks: at the second look, if it was looked at twice."""
    behind = node.condition.behind_bytes
    return max(primary.offset - node.offset, 0) if behind is None else behind


def sound(node: Node) -> bool | None:
    """Whether what a node keeps on disk is in order: it keeps something, and the last time that succeeded."""
    told = node.condition
    answers = (told.saves, told.saved, told.logged)
    if False in answers:
        return False
    return None if None in answers else True


def has_room(node: Node) -> bool:
    return node.memory_limit == 0 or node.memory_used < ROOM_SHARE * node.memory_limit


def _missing(node: Node, wish: Wish) -> int:
    """Bytes that it lacks; without a primary to compare with, the one that has most comes first."""
    return lacks(node, wish.primary) if wish.primary is not None else -node.offset


def _zone(node: Node, wish: Wish) -> int:
    return wish.zones.index(node.zone) if node.zone in wish.zones else len(wish.zones)


def _less(node: Node, before: Node, wish: Wish) -> str:
    bytes_less = _missing(node, wish) - _missing(before, wish)
    return f"{bytes_less:,} bytes less than {before.name}"


PROMOTION = Criterion(
    "newest promotion",
    "the newest promotion",
    lambda node, _: -(node.epoch or 0),
    lambda node, before, _: f"knows epoch {node.epoch or 'unknown'} only, {before.name} knows {before.epoch}",
)
DATA = Criterion("most data", "the most data", _missing, _less)
PRIORITY = Criterion(
    "lowest replica-priority",
    "the lowest replica-priority",
    lambda node, _: node.priority,
    lambda node, before, _: f"replica-priority {node.priority}, {before.name} has {before.priority}",
)
PERSISTENCE = Criterion(
    "sound persistence",
    "sound persistence",
    lambda node, _: (True, None, False).index(sound(node)),
    lambda node, before, _: f"its persistence is {disk_words(node)}, {before.name}'s is {disk_words(before)}",
)
MEMORY = Criterion(
    "room for memory",
    "room for memory",
    lambda node, _: int(not has_room(node)),
    lambda _, before, __: f"little room for memory, {before.name} has more",
)
ZONE = Criterion(
    "preferred zone",
    "the preferred zone",
    _zone,
    lambda node, before, _: f"zone {node.zone or 'unknown'}, {before.name} is in {before.zone}",
)

FAILOVER = (PROMOTION, DATA, PRIORITY, PERSISTENCE, MEMORY, ZONE)
"""Data first: what the best one lacks is lost."""

SWITCHOVER = (PRIORITY, PERSISTENCE, MEMORY, ZONE, DATA)
"""Data last: whoever is chosen gets all of it before it is promoted."""


def rank(
    nodes: Iterable[Node],
    unread: Iterable[Unread],
    criteria: tuple[Criterion, ...],
    wish: Wish,
    refuse: Callable[[Node], Refusal | None],
) -> Ranking:
    """Give everybody a place.

    :param refuse: why a node may not take the role at all, None if it may
    """
    able, refused = [], []
    for node in nodes:
        refusal = refuse(node)
        if refusal is None:
            able.append(node)
        else:
            refused.append(_place(node, f"{refusal.code}: {refusal.sentence}", eligible=False))
    able.sort(key=lambda node: (*(criterion.measure(node, wish) for criterion in criteria), node.name))
    silent = [Place(node.name, False, f"node-{node.code}: {node.detail}") for node in unread]
    whys = [_first(able, criteria, wish), *(_later(before, node, criteria, wish) for before, node in pairwise(able))]
    # Without anybody who may there is a reason too many.
    ordered = [_place(node, why, eligible=True) for node, why in zip(able, whys, strict=False)]
    behind = sorted([*refused, *silent], key=lambda place: place.node)
    return Ranking(tuple(able), (*ordered, *behind))


def disk_words(node: Node) -> str:
    if node.condition.saves is False:
        return "off"
    return {True: "ok", False: "failing", None: "?"}[sound(node)]


def _first(able: list[Node], criteria: tuple[Criterion, ...], wish: Wish) -> str:
    if len(able) < 2:
        return "nobody else may"
    decided = _decides(able[0], able[1], criteria, wish)
    return "first by name" if decided is None else f"has {decided.better}"


def _later(before: Node, node: Node, criteria: tuple[Criterion, ...], wish: Wish) -> str:
    decided = _decides(before, node, criteria, wish)
    return f"as good as {before.name}, later by name" if decided is None else decided.later(node, before, wish)


def _decides(before: Node, node: Node, criteria: tuple[Criterion, ...], wish: Wish) -> Criterion | None:
    differing = (one for one in criteria if one.measure(before, wish) != one.measure(node, wish))
    return next(differing, None)


def _place(node: Node, why: str, *, eligible: bool) -> Place:
    limit = node.memory_limit
    return Place(
        node=node.name,
        eligible=eligible,
        why=why,
        offset=f"{node.offset:,}",
        priority=str(node.priority),
        disk=disk_words(node),
        memory="no limit" if limit == 0 else f"{100 * node.memory_used // limit} %",
        zone=node.zone or "-",
    )

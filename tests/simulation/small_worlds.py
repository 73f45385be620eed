"""Every order of events in a small world: three servers, one proxy, two faults, one death of the run, one more run.

The search goes step by step: at each point the run takes its next step, or dies, or a fault happens, or, once it has ended,
the same verb is asked for again. Each end is healed and recovered as a random run is. Points that differ only in
what no rule looks at (the very offset, the very millisecond) are looked at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from keydb_runbooks.operations.lock import GONE_SECONDS
from keydb_runbooks.runbooks.steps import ENDLESS_PAUSE_MILLISECONDS
from tests.simulation import events, healing
from tests.simulation.checks import KnownHole, Violation, Watch
from tests.simulation.copies import Copy
from tests.simulation.events import Act
from tests.simulation.operator import Operator
from tests.simulation.outside import SCENE
from tests.simulation.server import Server
from tests.simulation.world import Shape, World

NAMES = ("keydb-1", "keydb-2", "keydb-3")
SILENCE = ("pass", 4000)

FAULTS: tuple[tuple[Act, ...], ...] = (
    *((("kill", name),) for name in NAMES),
    *((("kill", name), ("start", name)) for name in NAMES),
    *((("lose disk", name), ("start", name)) for name in NAMES),
    *((("freeze", name), SILENCE) for name in NAMES),
    *((("freeze", name),) for name in NAMES),
    *((("wake", name),) for name in NAMES),
    *((("cut", name, "desk-A"),) for name in NAMES),
    *((("cut", name, "desk-A", "late"),) for name in NAMES),
    (("cut", "keydb-1", "keydb-2"),),
    (("cut", "keydb-1", "keydb-2"), SILENCE),
    (("cut", "keydb-2", "keydb-3"),),
    *((("reset", name),) for name in NAMES),
    (("hold", "keydb-2"),),
    (("stop proxy", "proxy-1"),),
    (SILENCE,),
    (("begin", "R", "switchover", "keydb-3"), ("end", "R")),
    (("begin", "R", "rejoin"), ("end", "R")),
)
"""What may happen at each point."""


class Start(NamedTuple):
    """Where a search begins: what happened before, and which verb is asked for."""

    before: tuple[Act, ...]
    verb: str
    to: str | None = None
    shape: Shape = Shape()


_HALF: tuple[Act, ...] = (("begin", "Z", "switchover", "keydb-2"), ("until", "Z", 8), ("die", "Z"))
"""A switchover that died directly behind the promotion."""

_POWER_LOSS: tuple[Act, ...] = (("lose power", "none", "keydb-1", "keydb-2", "keydb-3"),)
"""All die at once and come back, guarded."""

STARTS = {
    "switchover": Start((), "switchover", "keydb-2"),
    "failover of a killed primary": Start((("kill", "keydb-1"),), "failover"),
    "failover of a frozen primary": Start((("freeze", "keydb-1"), SILENCE, SILENCE), "failover"),
    "failover of a frozen primary that others can reach": Start(
        (("freeze", "keydb-1"), SILENCE, SILENCE),
        "failover",
        shape=Shape(through_proxies=False, stray=True),
    ),
    "failover behind half a switchover": Start((*_HALF, ("kill", "keydb-1")), "failover"),
    "rejoin behind half a switchover": Start((*_HALF, ("freeze", "keydb-2")), "rejoin"),
    "switchover back behind half a switchover": Start((*_HALF, ("freeze", "keydb-2")), "switchover", "keydb-1"),
    "abort behind half a switchover": Start((*_HALF, ("freeze", "keydb-2")), "abort"),
    "unfence of a primary that was replaced": Start(
        (
            ("begin", "Y", "fence", "keydb-1"),
            ("end", "Y"),
            ("freeze", "keydb-1"),
            SILENCE,
            SILENCE,
            ("begin", "Z", "failover"),
            ("end", "Z"),
            ("wake", "keydb-1"),
        ),
        "unfence",
        "keydb-1",
    ),
    "fence of the primary": Start((), "fence", "keydb-1"),
    "unfence of the primary": Start((("begin", "Y", "fence", "keydb-1"), ("end", "Y")), "unfence", "keydb-1"),
    "promote behind a power loss": Start(_POWER_LOSS, "promote", "keydb-2"),
    "demote of a primary that was replaced": Start(
        (("kill", "keydb-1"), ("begin", "Z", "failover"), ("end", "Z"), ("start", "keydb-1", "plain")),
        "demote",
        "keydb-1",
    ),
    "rejoin beside a primary that somebody paused behind a promotion by hand": Start(
        (("promote by hand", "keydb-2"), ("pass", 300), ("hold", "keydb-1")), "rejoin"
    ),
    "rejoin of a superseded primary that somebody paused": Start(
        (
            ("freeze", "keydb-1"),
            SILENCE,
            SILENCE,
            ("begin", "Z", "failover", None, "reckless"),
            ("end", "Z"),
            ("wake", "keydb-1"),
            ("pass", 2500),
            ("hold", "keydb-1"),
        ),
        "rejoin",
        shape=Shape(through_proxies=False, stray=True, min_replicas=0),
    ),
    "failover among returned nodes": Start(
        (("cut", "keydb-2", "desk-A"), ("lose power", "keydb-2", "keydb-1", "keydb-3")), "failover"
    ),
    "rejoin of a returned primary": Start(
        (("kill", "keydb-1"), ("begin", "Z", "failover"), ("end", "Z"), ("start", "keydb-1")), "rejoin"
    ),
}


class Point(NamedTuple):
    """A world at one moment of a search, and what may still happen to it."""

    world: World
    operator: Operator
    faults: int
    deaths: int
    runs: int
    path: tuple[object, ...]


class Found(NamedTuple):
    """What a search came to."""

    points: int
    ends: int
    holes: dict[str, int]


class Search:
    """Goes through all that can happen from a start.

    :param every: of the points at which a last fault could happen behind another one, every n-th is one where it does
    """

    def __init__(self, start: Start, *, faults: int = 2, deaths: int = 1, runs: int = 1, every: int = 1) -> None:
        self.start = start
        self.limits = (faults, deaths, runs)
        self.every, self.met = every, 0
        self.seen: set[object] = set()
        self.ended: set[object] = set()
        self.holes: dict[str, int] = {}

    def go(self) -> Found:
        """Look at every point.

        :raises Violation: of the first check that fails, with the way there
        """
        todo = [self._begin()]
        while todo:
            point = todo.pop()
            try:
                todo += self._next(point)
            except KnownHole as hole:
                self.holes[str(hole)] = self.holes.get(str(hole), 0) + 1
        return Found(len(self.seen), len(self.ended), self.holes)

    def _begin(self) -> Point:
        world = World(self.start.shape, Watch())
        SCENE.world = world
        for act in self.start.before:
            events.perform(world, act)
        operator = Operator(
            world, "A", self.start.verb, events.request_of(world, self.start.to, "plain", self.start.verb)
        )
        return Point(world, operator, *self.limits, ())

    def _next(self, point: Point) -> Iterator[Point]:
        for move in self._moves(point):
            after = self._after(point, move)
            if after is None:
                continue
            key = (key_of(after.world, after.operator), after.faults, after.deaths, after.runs)
            if key not in self.seen:
                self.seen.add(key)
                yield after

    def _moves(self, point: Point) -> Iterator[object]:
        if point.operator.alive:
            yield "step"
            if point.deaths:
                yield "die"
        else:
            self._end(point)
            if point.runs:
                yield "again"
        if point.faults and self._is_met(point):
            yield from FAULTS

    def _is_met(self, point: Point) -> bool:
        """Whether faults are tried at a point."""
        if point.faults == self.limits[0] or point.faults > 1:
            return True
        self.met += 1
        return self.met % self.every == 0

    def _after(self, point: Point, move: object) -> Point | None:
        """The point behind a move, None if the move led into a known hole."""
        world = Copy(point.world).world
        operator = world.operators[point.operator.name]
        SCENE.world, SCENE.operator = world, operator
        path = (*point.path, move)
        try:
            if move == "step":
                operator.take_phase()
                return Point(world, operator, *point[2:5], path)
            if move == "die":
                operator.die()
                return Point(world, operator, point.faults, point.deaths - 1, point.runs, path)
            if move == "again":
                again = Operator(world, f"{operator.name}A", operator.verb, operator.request)
                return Point(world, again, point.faults, point.deaths, point.runs - 1, path)
            for act in move:  # type: ignore[attr-defined]
                events.perform(world, act)
            return Point(world, operator, point.faults - 1, point.deaths, point.runs, path)
        except KnownHole as hole:
            self.holes[str(hole)] = self.holes.get(str(hole), 0) + 1
            return None
        except Violation as violation:
            raise self._with_way(violation, path) from None

    def _end(self, point: Point) -> None:
        """Heal and recover a world whose run has ended."""
        key = key_of(point.world, None)
        if key in self.ended:
            return
        self.ended.add(key)
        world = Copy(point.world).world
        SCENE.world = world
        try:
            healing.heal(world)
            healing.recover(world, self.start.verb, self.start.to)
        except KnownHole as hole:
            self.holes[str(hole)] = self.holes.get(str(hole), 0) + 1
        except Violation as violation:
            raise self._with_way(violation, (*point.path, "heal and recover")) from None

    def _with_way(self, violation: Violation, path: tuple[object, ...]) -> Violation:
        return Violation(violation.check, f"{violation.seen}\nthe way there: {self.start}\n{path}")


def key_of(world: World, operator: Operator | None) -> object:
    """What is the same about two worlds that need not both be looked at."""
    streams: dict[str, int] = {}
    servers = tuple(_server_key(world, server, streams) for server in world.servers.values())
    proxies = tuple(
        (
            proxy.running,
            tuple((line.up, line.fails >= 2, proxy.sessions(world, name)) for name, line in proxy.lines.items()),
        )
        for proxy in world.proxies.values()
    )
    names = tuple(
        sorted(
            (one.owner, one.server, (world.now - one.used) / 1000 > GONE_SECONDS)
            for one in world.connections.values()
            if one.name and one.known
        )
    )
    run = None if operator is None else (operator.phase, operator.outcome, _run_key(operator))
    return servers, proxies, names, frozenset(world.cuts), len(world.late), run


def _run_key(operator: Operator) -> object:
    run = operator.run
    if run is None:
        return None
    steps = tuple((step.code, step.where) for step in run.plan.steps)
    return steps, run.committed, run.changed, tuple(sorted(run.given_up)), len(run.unfinished)


def _server_key(world: World, server: Server, streams: dict[str, int]) -> object:
    """Streams by the order in which they are met, and places in them from their ends."""

    def number(identity: str) -> int:
        return streams.setdefault(identity, len(streams))

    def behind(offset: int) -> int:
        return max(-2, min(2, offset - server.offset))

    now, disk, feed = world.now, server.disk, server.feed
    lost = sum(1 for write in server_lacks(world, server))
    return (
        (server.running, server.frozen, server.source, server.link, server.cached, server.term, server.unguarded),
        (number(server.stream.identity), number(server.former), server.state.keys > 0, min(lost, 2)),
        None if feed is None else (behind(feed.offset), feed.stream.identity == server.stream.identity),
        None if disk is None else (number(disk.stream.identity), disk.lineage, disk.position == server.position),
        (behind(server.second_offset - 1), server.backlog_first is not None, server.min_replicas, server.good),
        (server.fenced, server.file_fenced),
        (server.pause_until > now) + (server.pause_until > now + ENDLESS_PAUSE_MILLISECONDS / 2),
        tuple((name, view.online, min(server.lag(view, now), 3)) for name, view in server.replicas.items()),
        (min(int((now - server.heard) / 1000), 4), server.file_source, server.file_min_replicas),
        tuple(request.commands for request in server.inbox if not request.write),
        len(server.held),
        (server.state.epoch, (server.state.lineage or "").count(",")),
    )


def server_lacks(world: World, server: Server) -> Iterator[int]:
    """The latest acknowledged writes that a server lacks and nobody gave up."""
    for write in range(world.writes, max(world.writes - 40, 0), -1):
        if write in world.acknowledged and write not in world.watch.given_up and not world.holds(server, write):
            yield write
        elif world.holds(server, write):
            return

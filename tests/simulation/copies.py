"""Copies of a world with everything in it, and of a run that stands between two steps: what a search branches on."""

from __future__ import annotations

from random import Random
from typing import Any

from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.lock import Lock
from keydb_runbooks.operations.report import Report
from tests.simulation.beats import Beat
from tests.simulation.operator import Operator
from tests.simulation.outside import Handle
from tests.simulation.proxy import Client, Proxy
from tests.simulation.server import Connection, Disk, Request, Server
from tests.simulation.stream import Stream
from tests.simulation.world import World


class Copy:
    """A world and its runs once more; what one object is in the original is one object here."""

    def __init__(self, world: World) -> None:
        self._known: dict[int, Any] = {}
        self.world = self._world(world)

    def _world(self, old: World) -> World:
        new = _twin(old)
        new.connections = {number: self._connection(one) for number, one in old.connections.items()}
        new.servers = {name: self._shell(server) for name, server in old.servers.items()}
        for name, server in old.servers.items():
            self._fill(new.servers[name], server)
        new.by_address = {server.address: server for server in new.servers.values()}
        new.proxies = {name: self._proxy(proxy) for name, proxy in old.proxies.items()}
        new.clients = [self._client(client) for client in old.clients]
        new.passers = [self._client(client) for client in old.passers]
        new.places, new.acknowledged, new.values = dict(old.places), dict(old.acknowledged), dict(old.values)
        new.cuts, new.off = dict(old.cuts), set(old.off)
        new.kept = [(name, self._stream(stream), place) for name, stream, place in old.kept]
        new.late = [(name, self._request(request)) for name, request in old.late]
        new.lingering = [(when, self._connection(one)) for when, one in old.lingering]
        new.story = None if old.story is None else list(old.story)
        new.watch = _twin(old.watch)
        new.watch.by_hand, new.watch.late = set(old.watch.by_hand), set(old.watch.late)
        new.watch.given_up, new.watch.spared = set(old.watch.given_up), set(old.watch.spared)
        new.watch.unknown, new.watch.fenced = set(old.watch.unknown), set(old.watch.fenced)
        new.watch.split, new.watch.promoters = set(old.watch.split), dict(old.watch.promoters)
        new.watch.tally = dict(old.watch.tally)
        new.watch.world = new
        new.operators = {name: self.operator(operator, new) for name, operator in old.operators.items()}
        return new

    def _shell(self, old: Server) -> Server:
        new = object.__new__(Server)
        self._known[id(old)] = new
        return new

    def _fill(self, new: Server, old: Server) -> None:
        _fill_slots(new, old)
        new.stream = self._stream(old.stream)
        new.feed = self._known.get(id(old.feed))
        new.replicas = dict(old.replicas)
        new.inbox = [self._request(request) for request in old.inbox]
        new.held = [self._request(request) for request in old.held]
        if old.disk is not None:
            new.disk = Disk(self._stream(old.disk.stream), old.disk.position, old.disk.lineage)
        if old.snapshot is not None:
            new.snapshot = (self._stream(old.snapshot[0]), old.snapshot[1])
        if old.unread is not None:
            new.unread = (self._stream(old.unread[0]), old.unread[1])

    def _stream(self, old: Stream) -> Stream:
        return self._once(old, lambda: Stream(old.identity, list(old.states)))

    def _connection(self, old: Connection) -> Connection:
        return self._once(old, lambda: _twin(old))

    def _request(self, old: Request) -> Request:
        def made() -> Request:
            new = Request(self._connection(old.connection), old.commands, old.write)
            new.answers = list(old.answers)
            return new

        return self._once(old, made)

    def _proxy(self, old: Proxy) -> Proxy:
        new = _twin(old)
        new.lines = {name: _twin(line) for name, line in old.lines.items()}
        return new

    def _client(self, old: Client) -> Client:
        new = _twin(old)
        new.session = None if old.session is None else self._connection(old.session)
        new.pending = None if old.pending is None else self._request(old.pending)
        return new

    def operator(self, old: Operator, world: World) -> Operator:
        new = _twin(old)
        new.world, new.told, new.greenlet = world, list(old.told), None
        if old.alive:
            new.chance = _of_same_state(old.chance)
        if old.run is not None:
            new.run = _twin(old.run)
            new.run.given_up, new.run.unfinished = set(old.run.given_up), list(old.run.unfinished)
            new.run.links = None if old.run.links is None else self._links(old.run.links)
            new.run.lock = None if old.run.lock is None else self._lock(old.run.lock)
            new.run.report = _report(old.run.report)
        return new

    def _lock(self, old: Lock) -> Lock:
        clients = {name: Handle(self._connection(held.connection)) for name, held in old.clients.items()}  # type: ignore[attr-defined]
        beats = [self._beat(one) for one in old._beats]
        new: Lock = _twin(old)
        new.clients, new._answered, new._beats = clients, dict(old._answered), beats
        return new

    def _beat(self, old: Beat) -> Beat:
        new = _twin(old)
        new.request = None if old.request is None else self._request(old.request)
        return new

    def _links(self, old: Links) -> Links:
        new = _twin(old)
        new.clients = {name: Handle(self._connection(held.connection)) for name, held in old.clients.items()}  # type: ignore[attr-defined]
        new._runtimes = dict(old._runtimes)
        return new

    def _once(self, old: Any, make: Any) -> Any:
        if id(old) not in self._known:
            self._known[id(old)] = make()
        return self._known[id(old)]


def _twin(old: Any) -> Any:
    """As ``copy.copy``, which asks an object how it wants to be pickled, and takes several times as long."""
    new = object.__new__(type(old))
    if hasattr(old, "__dict__"):
        new.__dict__.update(old.__dict__)
    else:
        _fill_slots(new, old)
    return new


def _fill_slots(new: Any, old: Any) -> None:
    for field in old.__slots__:
        setattr(new, field, getattr(old, field))


def _of_same_state(old: Random) -> Random:
    # ``Random()`` would ask the system for a seed first.
    new = Random.__new__(Random)
    new.setstate(old.getstate())
    return new


def _report(old: Report) -> Report:
    new: Report = _twin(old)
    new.steps = [_twin(step) for step in old.steps]
    for name in ("left_behind", "notices", "verified", "not_verified", "now"):
        setattr(new, name, list(getattr(old, name)))
    return new

"""Processes of the model's servers: they end, freeze, wake and start; and networks that are mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation import replication
from tests.simulation.server import DOWN, GUARD, Disk, Server
from tests.simulation.stream import NO_IDENTITY, empty_stream

if TYPE_CHECKING:
    from tests.simulation.world import World


def kill(world: World, server: Server) -> None:
    """End a process; what its kernel has sent arrives, what is only in its memory is gone."""
    if not server.running:
        return
    world.watch.dying(server)
    if server.appends:
        server.disk = Disk(server.stream, server.position, lineage=False)
    replication.break_link(world, server)
    for name in list(server.replicas):
        replica = world.servers[name]
        if replica.feed is server:
            replication.break_link(world, replica)
    server.running = server.frozen = False
    server.replicas, server.inbox, server.held = {}, [], []
    for connection in world.connected_to(server):
        connection.known = False
    for client in (*world.clients, *world.passers):
        if client.session is not None and client.session.server == server.name:
            client.session, client.pending = None, None
    world.lingering = [pair for pair in world.lingering if pair[1].server != server.name]


def freeze(world: World, server: Server) -> None:
    server.frozen = server.running


def wake(world: World, server: Server) -> None:
    """A frozen process goes on: what waits in its sockets first, then it sees which connections ended."""
    if not server.frozen:
        return
    server.frozen = False
    if server.unread is not None and server.unread[0].identity == server.stream.identity and server.link == DOWN:
        server.position = max(server.position, server.unread[1])
    server.unread = None
    if not world.shape.wakes_stale:
        server.count_good(world.now)
    inbox, server.inbox = server.inbox, []
    for request in inbox:
        world.serve(server, request)
    _see_replicas(world, server)
    for when, connection in world.lingering[:]:
        if connection.server == server.name and when <= world.now:
            world.lingering.remove((when, connection))
            world.lose(server, connection)


def _see_replicas(world: World, server: Server) -> None:
    """Who went meanwhile is noticed; what the others acknowledged meanwhile is read."""
    for name, view in list(server.replicas.items()):
        replica = world.servers[name]
        if replica.feed is not server or replica.link == DOWN:
            if not world.is_cut(name, server.name):
                del server.replicas[name]
        elif replica.alive and not world.is_cut(name, server.name):
            server.replicas[name] = view._replace(acknowledged_at=world.now)
    server.count_good(world.now)


def start(world: World, server: Server, *, guarded: bool) -> None:
    """Start a process from its disk: guarded, or as what its file says."""
    if server.running:
        return
    server.running = True
    server.run += 1
    server.fulls = server.partials = 0
    server.loading_until = server.started = world.now
    server.link, server.snapshot, server.unread = DOWN, None, None
    server.former, server.second_offset, server.backlog_first = NO_IDENTITY, -1, None
    server.pause_until, server.min_replicas, server.good = 0.0, server.file_min_replicas, 0
    server.fenced = server.file_fenced
    server.retry_at = world.now
    server.source = GUARD if guarded else server.file_source
    server.feed = None if server.source is None else world.by_address.get(server.source)
    _load(world, server)
    server.unguarded = not guarded and server.is_primary
    if server.is_primary:
        world.watch.started_as_primary(server)


def _load(world: World, server: Server) -> None:
    """What a server knows of its past after a start (docs/engines.md, "Restart")."""
    disk = server.disk
    server.cached = False
    if disk is None:
        server.stream, server.position = empty_stream(world.new_identity()), 0
    elif not disk.lineage:
        server.stream, server.position = disk.stream.fork(world.new_identity(), disk.position, 0), disk.position
    elif not server.is_primary:
        server.stream, server.position, server.cached = disk.stream, disk.position, True
    elif server.engine == "keydb":
        server.stream, server.position = disk.stream.fork(world.new_identity(), disk.position, 0), disk.position
    else:
        server.stream, server.position = disk.stream.fork(world.new_identity(), disk.position), disk.position
        server.former, server.second_offset = disk.stream.identity, server.offset + 1
        server.backlog_first = server.offset + 1


def mend(world: World, pair: frozenset[str]) -> None:
    """A network heals; what it had only delayed arrives."""
    world.cuts.pop(pair, None)
    for name, request in world.late[:]:
        if frozenset((request.connection.place, name)) == pair:
            world.late.remove((name, request))
            server = world.servers[name]
            if server.running and server.run == request.connection.run and request.connection.known:
                world.carry(server, request, None)

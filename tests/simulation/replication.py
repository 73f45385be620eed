"""What happens between a replica and its source: connect, go on or begin anew, deliver, break.

The rules are docs/engines.md and the PSYNC rule of Redis: a source goes on with a replica if it knows the replica's
history under its present id, or under its one former id up to where it left it, and its backlog reaches back far enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.server import DOWN, SYNCING, UP, Disk, Server, View
from tests.simulation.stream import NO_IDENTITY

if TYPE_CHECKING:
    from tests.simulation.world import World

RETRY_MILLISECONDS = 1000
TIMEOUT_MILLISECONDS = 60_000
PING_BYTES = 14


def flow(world: World, replica: Server) -> None:
    """Whatever is due on a replica's link."""
    if replica.link == UP:
        deliver(world, replica)
    elif replica.link == SYNCING:
        _go_on_syncing(world, replica)
    elif world.now >= replica.retry_at and replica.feed is not None and world.now >= replica.loading_until:
        _connect(world, replica)


def deliver(world: World, replica: Server) -> None:
    """Let a replica apply what has come. A paused one reads its stream and applies nothing of it."""
    source = replica.feed
    if source is None or replica.position == source.position or replica.pause_until:
        return
    if world.cuts and world.is_cut(replica.name, source.name):
        return
    if not world.shape.delay:
        replica.position = source.position
        return
    states, due, position = source.stream.states, world.now - world.shape.delay, replica.position
    while position < source.position and states[position + 1].at <= due:
        position += 1
    replica.position = position


def _connect(world: World, replica: Server) -> None:
    """Shake hands and ask to go on. A source that can't be asked now is asked again in a second."""
    replica.retry_at = world.now + RETRY_MILLISECONDS
    source = replica.feed
    if source is None or not source.alive or source is replica or world.is_cut(replica.name, source.name):
        return
    if world.now < source.loading_until or (source.source is not None and source.link != UP):
        return
    if _may_go_on(replica, source):
        _go_on(world, replica, source)
    else:
        _begin_anew(world, replica, source)


def _may_go_on(replica: Server, source: Server) -> bool:
    begin, next_byte = source.backlog_begin, replica.offset + 1
    if not replica.cached or begin is None:
        return False
    wanted = replica.stream.identity
    known = wanted == source.stream.identity or (wanted == source.former and next_byte <= source.second_offset)
    return known and begin <= next_byte <= source.offset + 1


def _go_on(world: World, replica: Server, source: Server) -> None:
    """A partial resync."""
    source.partials += 1
    if replica.stream.identity != source.stream.identity:
        drop_replicas(world, replica)
        replica.former, replica.second_offset = replica.stream.identity, replica.offset + 1
        replica.stream = source.stream
    if replica.backlog_first is None:
        replica.backlog_first = replica.offset + 1
    _put_online(world, replica, source)


def _begin_anew(world: World, replica: Server, source: Server) -> None:
    """A full resync begins. A source without a backlog makes one, under a new id: it has no past to offer."""
    source.fulls += 1
    if source.backlog_first is None:
        source.stream = source.stream.fork(world.new_identity(), source.position)
        source.former, source.second_offset = NO_IDENTITY, -1
        source.backlog_first = source.offset + 1
    replica.link, replica.cached = SYNCING, False
    replica.sync_until = world.now + world.shape.full_milliseconds
    replica.snapshot = (source.stream, source.position)
    source.replicas[replica.name] = View(online=False, acknowledged_at=world.now)


def _go_on_syncing(world: World, replica: Server) -> None:
    source = replica.feed
    assert source is not None
    assert replica.snapshot is not None
    if world.now < replica.sync_until or not source.alive or world.is_cut(replica.name, source.name):
        return
    world.watch.full_resync(replica, source)
    drop_replicas(world, replica)
    replica.stream, replica.position = replica.snapshot
    replica.former, replica.second_offset = NO_IDENTITY, -1
    replica.backlog_first = replica.offset + 1
    replica.snapshot = None
    # The file that came over the link is the replica's own now.
    replica.disk = Disk(replica.stream, replica.position, lineage=True)
    _put_online(world, replica, source)


def _put_online(world: World, replica: Server, source: Server) -> None:
    replica.link, replica.cached, replica.heard = UP, True, world.now
    source.replicas[replica.name] = View(online=True, acknowledged_at=world.now)
    source.count_good(world.now)


def hear(world: World, replica: Server) -> None:
    """Once a second: a PING comes down the link, an acknowledgement goes up; nothing for a minute breaks it."""
    source = replica.feed
    assert source is not None
    if source.alive and not world.is_cut(replica.name, source.name):
        if source.source is None or _is_fed(world, source):
            replica.heard = world.now
        view = source.replicas.get(replica.name)
        if view is not None:
            source.replicas[replica.name] = View(view.online, world.now)
    if world.now - replica.heard > TIMEOUT_MILLISECONDS:
        break_link(world, replica)


def _is_fed(world: World, source: Server) -> bool:
    """Whether what a primary sends comes down to a replica that is a source itself."""
    for _ in world.servers:
        above = source.feed
        if above is None or source.link != UP or not above.alive or world.is_cut(source.name, above.name):
            return above is None and source.source is None
        source = above
    return False


def forget_silent(world: World, source: Server) -> None:
    """A source gives up replicas that said nothing for a minute."""
    for name, view in list(source.replicas.items()):
        if world.now - view.acknowledged_at > TIMEOUT_MILLISECONDS:
            replica = world.servers[name]
            if replica.feed is source:
                break_link(world, replica)
            source.replicas.pop(name, None)
            source.count_good(world.now)


def break_link(world: World, replica: Server) -> None:
    """The connection ends, and both sides notice if they can. What a frozen replica had not read stays in its socket."""
    source = replica.feed
    if replica.link == DOWN or source is None:
        return
    if replica.link == UP:
        if replica.alive:
            deliver(world, replica)
        elif replica.running and not world.is_cut(replica.name, source.name) and not replica.pause_until:
            replica.unread = (source.stream, source.position)
    # Neither a full resync that was cut off can be gone on with, though the old data are still there, nor a stream of
    # which a pause holds something.
    replica.cached = replica.link == UP and not (replica.pause_until and replica.position != source.position)
    replica.link, replica.snapshot = DOWN, None
    replica.retry_at = world.now + RETRY_MILLISECONDS
    if source.alive and not world.is_cut(replica.name, source.name):
        source.replicas.pop(replica.name, None)
        source.count_good(world.now)


def drop_replicas(world: World, source: Server) -> None:
    """A source whose history changed cuts its replicas off; they come again at once."""
    for name in list(source.replicas):
        replica = world.servers[name]
        if replica.feed is source:
            break_link(world, replica)
            replica.retry_at = world.now
    source.replicas.clear()
    source.count_good(world.now)


def follow(world: World, server: Server, address: tuple[str, int]) -> None:
    """REPLICAOF host port. KeyDB sends its own replicas away at once: they get in again when it is up itself."""
    if server.source == address:
        return
    if server.engine == "keydb":
        drop_replicas(world, server)
    if server.source is None:
        # It was a primary: it may ask to go on from its own end.
        server.cached = True
    else:
        break_link(world, server)
    server.source, server.feed, server.link = address, world.by_address.get(address), DOWN
    server.retry_at = world.now


def promote(world: World, server: Server) -> None:
    """REPLICAOF NO ONE: a new id, and the former one up to here. Bytes that were read but not applied are dropped."""
    if server.source is None:
        return
    break_link(world, server)
    drop_replicas(world, server)
    server.former, server.second_offset = server.stream.identity, server.offset + 1
    server.stream = server.stream.fork(world.new_identity(), server.position)
    server.source = server.feed = server.unread = None
    server.link, server.cached = DOWN, False

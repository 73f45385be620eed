"""The beats of a run that holds the lock: each second a PING on each of its connections, while its process lives.

They are values, since a search copies runs. ``Lock._beat`` sends them in a greenlet of its own; here the operator's clock
does, whenever its process is given time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keydb_runbooks.operations.lock import BEAT_SECONDS
from tests.simulation.outside import SCENE
from tests.simulation.server import Request
from tests.simulation.world import TIMEOUT_MILLISECONDS

if TYPE_CHECKING:
    from keydb_runbooks.operations.lock import Lock
    from tests.simulation.server import Connection
    from tests.simulation.world import World

LOOK_MILLISECONDS = 500


class Beat:
    """The beats on one connection: when the next one is due, or the PING that waits for its answer."""

    __slots__ = ("asked", "due", "node", "request")

    def __init__(self, node: str, due: float) -> None:
        self.node = node
        self.due = due
        self.asked = 0.0
        self.request: Request | None = None


def begin(_beat: object, node: str) -> Beat:
    """As ``gevent.spawn(lock._beat, node)``."""
    return Beat(node, SCENE.world.now + BEAT_SECONDS * 1000)


def end(beats: list[Beat]) -> None:
    """As ``gevent.killall``."""
    beats.clear()


def beat(world: World, lock: Lock) -> None:
    """Send what is due, and take the answers that have come."""
    for one in lock._beats:
        if one.request is None and one.due <= world.now:
            _send(world, lock, one)
        if one.request is not None:
            _take(world, lock, one)


def _send(world: World, lock: Lock, one: Beat) -> None:
    connection: Connection = lock.clients[one.node].connection
    one.asked, one.due = world.now, world.now + BEAT_SECONDS * 1000
    if not _stands(world, connection):
        world.hang_up(connection)
        lock._answered.pop(one.node, None)
        return
    one.request = Request(connection, (("PING",),))
    server = world.servers[connection.server]
    world.carry(server, one.request, world.mode(connection.place, server.name))


def _take(world: World, lock: Lock, one: Beat) -> None:
    """As ``Lock._answer``, whose link waits two seconds."""
    request = one.request
    assert request is not None
    connection = request.connection
    if request.answered and not world.is_cut(connection.place, connection.server):
        if not isinstance(request.answers[0], Exception):
            lock._answered[one.node] = one.asked / 1000
    elif _stands(world, connection) and world.now - one.asked < TIMEOUT_MILLISECONDS:
        one.due = min(one.asked + TIMEOUT_MILLISECONDS, world.now + LOOK_MILLISECONDS)
        return
    else:
        world.hang_up(connection)
        lock._answered.pop(one.node, None)
    one.request, one.due = None, max(world.now, one.asked + BEAT_SECONDS * 1000)


def _stands(world: World, connection: Connection) -> bool:
    server = world.servers[connection.server]
    return connection.open and connection.known and server.running and server.run == connection.run

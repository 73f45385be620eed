"""The world of the model: servers, proxies, clients and what lies between them, at one moment of a clock of its own.

It knows nothing of runbooks. ``advance`` lets time pass, ``ask`` carries a command to a server; faults are ``events``,
and ``checks`` watches. docs/simulation.md tells what the model has and what it hasn't.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import redis

from tests.simulation import commands, replication
from tests.simulation.proxy import Client, Proxy
from tests.simulation.server import DOWN, UP, Connection, Request, Server
from tests.simulation.stream import Stream, empty_stream

if TYPE_CHECKING:
    from tests.simulation.checks import Watch
    from tests.simulation.operator import Operator

BEAT_MILLISECONDS = 500
"""Between two rounds of the proxies' checks; servers do their hourly things at every second one."""

COMMAND_MILLISECONDS = 0.25
TIMEOUT_MILLISECONDS = 2000
KEEPALIVE_MILLISECONDS = 20_000


class Shape(NamedTuple):
    """What a world is like from its beginning to its end."""

    nodes: int = 3
    proxies: int = 1
    engine: str = "keydb"
    appends: bool = False
    min_replicas: int = 1
    through_proxies: bool = True
    stray: bool = False
    delay: float = 0.0
    full_milliseconds: float = 20.0
    backlog_size: int = 1 << 20
    pings: bool = True
    wakes_stale: bool = True
    virgin: bool = False


class World:
    """Everything that a run may meet."""

    group = "demo"

    def __init__(self, shape: Shape, watch: Watch) -> None:
        self.shape = shape
        self.watch = watch
        self.now = 0.0
        self.next_beat = float(BEAT_MILLISECONDS)
        self.beats = 0
        self.identities = self.terms = self.writes = self.numbers = 0
        # Where each write stands in its history, and which of them were acknowledged by whom.
        self.places: dict[int, int] = {}
        self.acknowledged: dict[int, str] = {}
        self.values: dict[int, tuple[str, str]] = {}
        self.cuts: dict[frozenset[str], tuple[str, float]] = {}
        # Data sets that a run saved: whose, and which state of which stream.
        self.kept: list[tuple[str, Stream, int]] = []
        self.late: list[tuple[str, Request]] = []
        self.connections: dict[int, Connection] = {}
        self.lingering: list[tuple[float, Connection]] = []
        # Machines that are switched off, and who is at work.
        self.off: set[str] = set()
        self.operators: dict[str, Operator] = {}
        self.story: list[str] | None = None
        names = [f"keydb-{number}" for number in range(1, shape.nodes + 1)]
        self.servers = {name: self._server(number, name) for number, name in enumerate(names, 1)}
        self.by_address = {server.address: server for server in self.servers.values()}
        self.proxies = {f"proxy-{n}": Proxy(f"proxy-{n}", names) for n in range(1, shape.proxies + 1)}
        # One that keeps its session for each proxy, and one that comes anew each time.
        self.clients = [Client(name) for name in self.proxies]
        self.passers = [Client(name) for name in self.proxies]
        if shape.stray or not shape.proxies:
            self.clients.append(Client("stray", names[0]))
        watch.world = self
        if not shape.virgin:
            self._found()

    def _server(self, number: int, name: str) -> Server:
        stream = empty_stream(self.new_identity())
        server = Server(name, (f"10.0.0.{number}", 6379), self.shape.engine, stream, self.shape.min_replicas)
        server.backlog_size, server.appends = self.shape.backlog_size, self.shape.appends
        return server

    def _found(self) -> None:
        """As an install leaves a group, some writes later: the first node is the primary, the others follow."""
        first, *others = self.servers.values()
        replication.promote(self, first)
        first.term = self.new_term()
        first.append(commands.WRITE_BYTES, self.now, epoch="1")
        for other in others:
            replication.follow(self, other, first.address)
            other.file_source = first.address
        self.advance(1500)
        for server in self.servers.values():
            server.save()
        self.advance(20)

    def tell(self, sentence: str) -> None:
        """Add to the story, if somebody wants to read it."""
        if self.story is not None:
            self.story.append(f"{self.now / 1000:9.3f} s  {sentence}")

    # Counters

    def new_identity(self) -> str:
        self.identities += 1
        return f"{self.identities:040x}"

    def new_term(self) -> int:
        self.terms += 1
        return self.terms

    # Time

    def advance(self, milliseconds: float) -> None:
        """Let time pass: whatever is due happens, and every client writes at least once."""
        self._advance_to(self.now + milliseconds)

    def until(self, moment: float) -> None:
        if moment > self.now:
            self._advance_to(moment)

    def _advance_to(self, end: float) -> None:
        while self.next_beat <= end:
            self.now = self.next_beat
            # Long waits are walked in longer steps.
            self.next_beat += max(BEAT_MILLISECONDS, (end - self.now) // 5000 * BEAT_MILLISECONDS)
            self._flow()
            self._beat()
            self._write()
        self.now = end
        self._flow()
        self._write()

    def _flow(self) -> None:
        """Pauses that are over end, and every replica's link does what is due. The common case is short."""
        now, straight = self.now, not self.cuts and not self.shape.delay
        for server in self.servers.values():
            feed = server.feed
            if (feed is None and not server.pause_until) or server.frozen or not server.running:
                continue
            if server.pause_until and server.pause_until <= now:
                self.end_pause(server)
            if feed is None:
                continue
            if server.link != UP:
                replication.flow(self, server)
                continue
            assert server.stream is feed.stream, (server.name, feed.name)
            if server.position == feed.position:
                continue
            if straight and not server.pause_until:
                server.position = feed.position
            else:
                replication.deliver(self, server)

    def _write(self) -> None:
        for client in self.clients:
            client.go_on(self)

    def _beat(self) -> None:
        self.beats += 1
        if self.beats % 2 == 0 or self.next_beat - self.now > BEAT_MILLISECONDS:
            self._second()
        for proxy in self.proxies.values():
            if proxy.running:
                proxy.check(self)
        for client in self.passers:
            client.leave(self)
            client.go_on(self)

    def _second(self) -> None:
        """What servers do each second."""
        alive = [server for server in self.servers.values() if server.running and not server.frozen]
        for server in alive:
            if server.source is None and server.replicas and self.shape.pings:
                server.append(replication.PING_BYTES, self.now)
        for server in alive:
            if server.feed is not None and server.link != DOWN:
                replication.hear(self, server)
        for server in alive:
            if server.replicas:
                replication.forget_silent(self, server)
                server.count_good(self.now)
        if self.lingering or self.cuts:
            self._lose_silent()

    def _lose_silent(self) -> None:
        """A server's keepalive finds connections that ended without a word, and those over which nothing comes."""
        for pair, (_, since) in self.cuts.items():
            if self.now - since > KEEPALIVE_MILLISECONDS:
                self.drop([one for one in self.connections.values() if frozenset((one.place, one.server)) == pair])
        for when, connection in self.lingering[:]:
            server = self.servers[connection.server]
            if when <= self.now and server.alive:
                self.lingering.remove((when, connection))
                self.lose(server, connection)

    # Connections

    def is_cut(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self.cuts if self.cuts else False

    def mode(self, one: str, other: str) -> str | None:
        """What becomes of bytes between two: None if they arrive."""
        cut = self.cuts.get(frozenset((one, other))) if self.cuts else None
        return cut[0] if cut is not None else None

    def connect(self, owner: str, place: str, server: Server) -> Connection:
        self.numbers += 1
        connection = Connection(self.numbers, owner, place, server, self.now)
        self.connections[self.numbers] = connection
        return connection

    def connected_to(self, server: Server) -> list[Connection]:
        """Whom a server believes to be connected to it."""
        return [one for one in self.connections.values() if one.known and one.server == server.name]

    def hang_up(self, connection: Connection) -> None:
        """The near side closes. A frozen server learns it when it wakes, one that is cut off by its keepalive."""
        if not connection.open:
            return
        connection.open = False
        server = self.servers[connection.server]
        if not server.running or server.run != connection.run:
            connection.known = False
        elif self.is_cut(connection.place, server.name):
            self.lingering.append((self.now + KEEPALIVE_MILLISECONDS, connection))
        elif server.frozen:
            self.lingering.append((self.now, connection))
        else:
            self.lose(server, connection)

    def drop(self, connections: list[Connection]) -> None:
        """Servers give connections up; whoever holds the other end learns it with the next command."""
        for connection in connections:
            if connection.known and self.servers[connection.server].alive:
                connection.known = False
                self.servers[connection.server].held = [
                    one for one in self.servers[connection.server].held if one.connection is not connection
                ]

    def lose(self, server: Server, connection: Connection) -> None:
        """A server sees a connection end; what it held back for it is dropped."""
        connection.known = False
        if server.held:
            server.held = [request for request in server.held if request.connection is not connection]
        if connection.number in self.connections:
            del self.connections[connection.number]

    def ask(
        self, connection: Connection, lines: tuple[tuple[str, ...], ...], moment: Callable[[float], None]
    ) -> list[Any]:
        """Send commands together and wait for every answer, 2 s at most.

        :param moment: lets other things happen: time, faults, other runs, the sender's own end
        :raises redis.RedisError: whether the commands were carried out is unknown then
        """
        moment(COMMAND_MILLISECONDS)
        if not connection.open:
            raise redis.ConnectionError("the link is closed and is not opened again")
        server = self.servers[connection.server]
        if not server.running or server.run != connection.run or not connection.known:
            self.hang_up(connection)
            raise redis.ConnectionError("Connection closed by server.")
        request = Request(connection, lines)
        mode = self.mode(connection.place, server.name) if self.cuts else None
        self.carry(server, request, mode)
        waited = 0.0
        while mode or not request.answered:
            if waited >= TIMEOUT_MILLISECONDS:
                self.hang_up(connection)
                raise redis.TimeoutError("Timeout reading from socket")
            moment(TIMEOUT_MILLISECONDS / 4)
            waited += TIMEOUT_MILLISECONDS / 4
            if server.run != connection.run or not server.running or not connection.known:
                self.hang_up(connection)
                raise redis.ConnectionError("Connection closed by server.")
        return request.answers

    def carry(self, server: Server, request: Request, mode: str | None) -> None:
        """Bring a request to a server, through a network that may lose it, delay it, or lose only the answer."""
        if mode == "late":
            self.late.append((server.name, request))
        elif mode == "lost":
            pass
        elif server.frozen:
            server.inbox.append(request)
        else:
            self.serve(server, request)

    def serve(self, server: Server, request: Request) -> None:
        """Let a server carry out what is left of a request; a pause may hold it back once more."""
        connection, answers = request.connection, request.answers
        for words in request.commands[len(answers) :] if answers else request.commands:
            answer = commands.write(self, server) if request.write else commands.answer(self, server, connection, words)
            if answer is commands.HELD:
                server.held.append(request)
                return
            answers.append(answer)
            if request.write and isinstance(answer, int) and connection.open:
                self.acknowledge(answer, server, connection.place)
        connection.blocked = ""

    # Writes

    def append_write(self, server: Server) -> int:
        self.writes = number = self.writes + 1
        server.append(commands.WRITE_BYTES, self.now, number)
        self.places[number] = server.position
        return number

    def acknowledge(self, write: int, server: Server, place: str) -> None:
        self.acknowledged[write] = server.name
        if server.term != self.terms or self.watch.fenced:
            self.watch.acknowledged(write, server, place)

    def holds(self, server: Server, write: int) -> bool:
        return server.stream.has(write, self.places[write], server.position)

    def end_pause(self, server: Server) -> None:
        server.pause_until = 0.0
        held, server.held = server.held, []
        for request in held:
            self.serve(server, request)

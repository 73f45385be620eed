"""One server of the model: what it is now, what is on its disk, and what waits in its sockets.

It holds state and answers questions about itself; what happens between servers is ``replication``, what a command
does is ``commands``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.simulation.stream import NO_IDENTITY, State, Stream

GUARD = ("255.255.255.255", 1)
DOWN, SYNCING, UP = "down", "syncing", "up"


class View(NamedTuple):
    """A replica as its source sees it."""

    online: bool
    acknowledged_at: float


class Disk(NamedTuple):
    """An RDB or AOF file; ``lineage`` tells whether replication id and offset are in it."""

    stream: Stream
    position: int
    lineage: bool


class Request:
    """Commands that somebody sent together on one connection, and the answers so far."""

    __slots__ = ("answers", "commands", "connection", "write")

    def __init__(self, connection: Connection, commands: tuple[tuple[str, ...], ...], write: bool = False) -> None:
        self.connection = connection
        self.commands = commands
        self.answers: list[Any] = []
        self.write = write

    @property
    def answered(self) -> bool:
        return len(self.answers) == len(self.commands)


class Connection:
    """A TCP connection to a server. ``open`` is what the near side knows, ``known`` what the server knows."""

    __slots__ = ("blocked", "born", "known", "name", "number", "open", "owner", "place", "run", "server", "used")

    def __init__(self, number: int, owner: str, place: str, server: Server, born: float) -> None:
        self.number = number
        self.owner = owner
        self.place = place
        self.server = server.name
        self.run = server.run
        self.born = self.used = born
        self.name = ""
        self.open = True
        self.known = True
        self.blocked = ""


class Server:
    """A server process and its disk."""

    __slots__ = (
        "address",
        "appends",
        "backlog_first",
        "backlog_size",
        "cached",
        "disk",
        "engine",
        "feed",
        "fenced",
        "file_fenced",
        "file_min_replicas",
        "file_source",
        "former",
        "frozen",
        "fulls",
        "good",
        "heard",
        "held",
        "inbox",
        "link",
        "loading_until",
        "max_lag",
        "min_replicas",
        "name",
        "partials",
        "pause_until",
        "position",
        "replicas",
        "retry_at",
        "run",
        "running",
        "second_offset",
        "snapshot",
        "source",
        "started",
        "stream",
        "sync_until",
        "term",
        "unguarded",
        "unread",
    )

    def __init__(self, name: str, address: tuple[str, int], engine: str, stream: Stream, min_replicas: int) -> None:
        self.name = name
        self.address = address
        self.engine = engine
        # The process. A run is one life of it.
        self.running = True
        self.frozen = False
        self.loading_until = self.started = 0.0
        self.run = 1
        # The data.
        self.stream = stream
        self.position = 0
        self.former = NO_IDENTITY
        self.second_offset = -1
        self.backlog_first: int | None = None
        self.backlog_size = 1 << 20
        # As a replica; None is a primary. ``feed`` is the server of that address, if there is one. ``cached``: it may ask to go on where it was. ``unread``: how far the
        # bytes go that wait in the socket of a frozen replica whose link broke meanwhile.
        self.source: tuple[str, int] | None = GUARD
        self.feed: Server | None = None
        self.link = DOWN
        self.cached = False
        self.heard = 0.0
        self.retry_at = 0.0
        self.sync_until = 0.0
        self.snapshot: tuple[Stream, int] | None = None
        self.unread: tuple[Stream, int] | None = None
        # As a source.
        self.replicas: dict[str, View] = {}
        self.good = 0
        self.fulls = 0
        self.partials = 0
        # Settings, and what the file says.
        self.min_replicas = min_replicas
        self.max_lag = 2
        self.pause_until = 0.0
        self.file_source: tuple[str, int] | None = None
        self.file_min_replicas = min_replicas
        # Whether the application's user may not write, and what the file says of that.
        self.fenced = self.file_fenced = False
        self.appends = False
        self.disk: Disk | None = None
        # What waits: in the sockets of a frozen process, and behind a pause.
        self.inbox: list[Request] = []
        self.held: list[Request] = []
        # For the checks: the number of its promotion (a half is one that came too late), and whether a person started it without the guard.
        self.term = 0.0
        self.unguarded = False

    @property
    def state(self) -> State:
        return self.stream.states[self.position]

    @property
    def offset(self) -> int:
        return self.stream.states[self.position].offset

    @property
    def is_primary(self) -> bool:
        return self.source is None

    @property
    def guarded(self) -> bool:
        return self.source == GUARD

    @property
    def alive(self) -> bool:
        """Whether it does anything now."""
        return self.running and not self.frozen

    @property
    def backlog_begin(self) -> int | None:
        """The first byte that its backlog still has."""
        if self.backlog_first is None:
            return None
        return max(self.backlog_first, self.offset - self.backlog_size + 1)

    def lag(self, view: View, now: float) -> int:
        """Whole seconds since a replica was heard; servers count in the ticks of a clock of seconds."""
        return int(now / 1000) - int(view.acknowledged_at / 1000)

    def is_heard(self, now: float) -> bool:
        """Whether any replica was heard of lately."""
        return any(view.online and self.lag(view, now) <= self.max_lag for view in self.replicas.values())

    def count_good(self, now: float) -> None:
        """Count the replicas that min-replicas-to-write counts. Servers do it each second and when one comes or goes."""
        views = self.replicas.values()
        self.good = sum([view.online and self.lag(view, now) <= self.max_lag for view in views]) if views else 0

    def append(
        self, length: int, at: float, write: int = 0, epoch: str | None = None, lineage: str | None = None
    ) -> None:
        """Let an entry be the end of its history; without a backlog nobody counts the bytes."""
        states = self.stream.states
        offset, keys, old_epoch, old_lineage, _, _ = states[self.position]
        if self.backlog_first is not None:
            offset += length
        if write or (epoch and not old_epoch) or (lineage and not old_lineage):
            keys += 1
        states.append(State(offset, keys, epoch or old_epoch, lineage or old_lineage, write, at))
        self.position += 1

    def save(self) -> None:
        """Write the RDB file. A primary without a backlog doesn't put its lineage in."""
        knows = self.backlog_first is not None or self.cached
        self.disk = Disk(self.stream, self.position, knows)

"""HAProxy in the model: its checks, its sessions and its runtime socket; and the clients behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation import commands
from tests.simulation.server import Connection, Request, Server

if TYPE_CHECKING:
    from tests.simulation.world import World

FALL = 2
PASSED = "L7OK"
PATIENCE_MILLISECONDS = 1000
"""How long a client waits for an answer before it connects anew."""


class Line:
    """A server line of the backend for writes."""

    __slots__ = ("check", "fails", "up")

    def __init__(self) -> None:
        # HAProxy begins with every server up, and one failed check is enough then.
        self.up, self.fails = True, FALL - 1
        self.check = ""


class Proxy:
    """One HAProxy: ``balance first`` over the servers in the order of their names."""

    __slots__ = ("lines", "name", "running")

    def __init__(self, name: str, servers: list[str]) -> None:
        self.name = name
        self.running = True
        self.lines = {server: Line() for server in servers}

    def start(self) -> None:
        self.running = True
        self.lines = {server: Line() for server in self.lines}

    def check(self, world: World) -> None:
        """One round of health checks; a server that falls loses its sessions (on-marked-down shutdown-sessions)."""
        for name, line in self.lines.items():
            server = world.servers[name]
            line.check = check_of(world, self.name, server)
            if line.check == PASSED:
                # The second check that it takes (rise 2) comes a tenth of a second later: the same moment here.
                line.up, line.fails = True, 0
                continue
            line.fails += 1
            if line.up and line.fails >= FALL:
                line.up = False
                self.cut_sessions(world, name)

    def cut_sessions(self, world: World, server: str) -> None:
        for client in (*world.clients, *world.passers):
            if client.place == self.name and client.session is not None and client.session.server == server:
                client.leave(world)

    def sessions(self, world: World, server: str) -> int:
        own = [client.session for client in (*world.clients, *world.passers) if client.place == self.name]
        return sum([session is not None and session.server == server for session in own])

    def choose(self, world: World) -> Server | None:
        """Where a new connection leads: the first server that is up and can be connected to."""
        if not self.running:
            return None
        for name, line in self.lines.items():
            server = world.servers[name]
            if line.up and server.running and not (world.cuts and world.is_cut(self.name, name)):
                return server
        return None

    def obey(self, world: World, text: str) -> str:
        """A line on the runtime socket."""
        words = text.split()
        if words[:2] == ["show", "stat"]:
            return self._statistics(world)
        if words[0] == "set" and words[1] == "server":
            line = self.lines[words[2].partition("/")[2]]
            line.up, line.fails = words[4] == "up", 0
            if not line.up:
                self.cut_sessions(world, words[2].partition("/")[2])
        else:
            assert words[:3] == ["shutdown", "sessions", "server"], text
            self.cut_sessions(world, words[3].partition("/")[2])
        return ""

    def _statistics(self, world: World) -> str:
        rows = ["# pxname,svname,status,check_status,scur"]
        for backend in ("write", "read"):
            rows.append(f"{world.group}-{backend},FRONTEND,OPEN,,0")
            for name, line in self.lines.items() if backend == "write" else ():
                status = "UP" if line.up else "DOWN"
                rows.append(f"{world.group}-{backend},{name},{status},{line.check},{self.sessions(world, name)}")
        return "\n".join(rows) + "\n"


def check_of(world: World, place: str, server: Server) -> str:
    """What the check of templates/haproxy.cfg.j2 says: a primary, and if it needs a replica, one that was heard."""
    if not server.running and not world.is_cut(place, server.name):
        return "L4CON"
    if not server.alive or world.is_cut(place, server.name):
        return "L7TOUT"
    if server.source is not None:
        return "L7RSP"
    return PASSED if not server.min_replicas or server.is_heard(world.now) else "L7RSP"


class Client:
    """Writes one value after the other, through a proxy or, if it is a stray one, to a server itself."""

    __slots__ = ("pending", "place", "server", "session", "since")

    def __init__(self, place: str, server: str | None = None) -> None:
        self.place = place
        self.server = server
        self.session: Connection | None = None
        self.pending: Request | None = None
        self.since = 0.0

    def go_on(self, world: World) -> None:
        """Take the answer that came, or write once more."""
        if self.pending is not None:
            if self.pending.answers or world.now - self.since > PATIENCE_MILLISECONDS:
                self.leave(world)
            return
        session = self.session
        if session is None or not session.open:
            session = self.session = self._connect(world)
            if session is None:
                return
        server = world.servers[session.server]
        if not server.running or server.run != session.run:
            self.session = None
            return
        if server.frozen or (world.cuts and world.is_cut(self.place, server.name)):
            self._send(world, server, session)
            return
        answer = commands.write(world, server)
        if answer is commands.HELD:
            self._send(world, server, session)
        elif isinstance(answer, int):
            world.acknowledge(answer, server, self.place)
        else:
            # Refused: it connects anew, as a client does that was told READONLY.
            self.leave(world)

    def _send(self, world: World, server: Server, session: Connection) -> None:
        """Send a write that nobody answers now."""
        self.pending, self.since = Request(session, (("WRITE",),), write=True), world.now
        if world.is_cut(self.place, server.name):
            return
        (server.inbox if server.frozen else server.held).append(self.pending)

    def _connect(self, world: World) -> Connection | None:
        if self.server is not None:
            server = world.servers[self.server]
            if not server.running or world.is_cut(self.place, server.name):
                return None
        else:
            chosen = world.proxies[self.place].choose(world)
            if chosen is None:
                return None
            server = chosen
        return world.connect(self.place, self.place, server)

    def leave(self, world: World) -> None:
        if self.session is not None:
            world.hang_up(self.session)
        self.session, self.pending = None, None

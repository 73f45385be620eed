"""The same events on the simulation's model and on real servers, and what is compared of both."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import redis
from bare_servers import BareServers
from kit import eventually

from tests.simulation import commands, processes, replication
from tests.simulation.checks import Watch
from tests.simulation.proxy import Client
from tests.simulation.server import GUARD, UP, Connection, Request, Server
from tests.simulation.stream import NO_IDENTITY
from tests.simulation.world import Shape, World

NAMES = ("keydb-1", "keydb-2", "keydb-3")
PROXY = "proxy-1"
SETTLE_MILLISECONDS = 3000

Event = tuple[str, ...]
Seen = dict[object, object]


SELECT_BYTES = 23
"""A SELECT is no write: it gets through a pause that holds the write behind it."""


def sign(number: int) -> str:
    if abs(number) <= SELECT_BYTES:
        return "equal"
    return "behind" if number < 0 else "ahead"


def words_of(kind: str, rest: list[str], address: Callable[[str], tuple[str, str]]) -> tuple[str, ...]:
    """The command that an event is."""
    if kind == "follow":
        return ("REPLICAOF", *address(rest[0]))
    return {
        "promote": ("REPLICAOF", "NO", "ONE"),
        "pause": ("CLIENT", "PAUSE", str(10**12), "WRITE"),
        "unpause": ("CLIENT", "UNPAUSE"),
        "rewrite": ("CONFIG", "REWRITE"),
        "lease": ("CONFIG", "SET", "min-replicas-to-write", *rest),
    }[kind]


def line_of(name: str, what: str) -> str:
    """What a verb tells a proxy of a server."""
    backend = f"demo-write/{name}"
    return f"shutdown sessions server {backend}" if what == "end" else f"set server {backend} health {what}"


class Unjudged(World):
    """A world whose events nobody meant as a runbook: whatever is acknowledged is right, and may be lost."""

    count = 0

    def acknowledge(self, write: int, server: Server, place: str) -> None:
        self.count += 1


class Idle(Client):
    """A client that does nothing by itself."""

    def go_on(self, world: World) -> None:
        pass

    def connect(self, world: Unjudged) -> str:
        self.session = self._connect(world)
        return "done" if self.session else "nobody"

    def write(self, world: Unjudged) -> str:
        """One value; whoever gets no answer hangs up."""
        before = world.count
        super().go_on(world)
        if self.pending is not None:
            self.leave(world)
            return "held"
        return "done" if world.count > before else "refused"


class Model:
    """The events on the model."""

    def __init__(self, engine: str, *, appends: bool) -> None:
        engine = "keydb" if engine == "keydb" else "redis"
        shape = Shape(engine=engine, min_replicas=0, pings=False, virgin=True, appends=appends)
        self.world = Unjudged(shape, Watch())
        self.client = Idle(PROXY)
        self.world.clients, self.world.passers = [self.client], []

    @property
    def session(self) -> Connection | None:
        return self.client.session

    def send(self, name: str, *words: str) -> str:
        connection = self.world.connect("test", "desk", self.world.servers[name])
        request = Request(connection, (words,))
        self.world.serve(self.world.servers[name], request)
        if not request.answers:
            self.world.hang_up(connection)
            return "held"
        answer = request.answers[0]
        return str(answer).split()[0] if isinstance(answer, Exception) else "done"

    def write(self, name: str) -> str:
        answer = commands.write(self.world, self.world.servers[name])
        if answer is commands.HELD:
            return "held"
        return str(answer).split()[0] if isinstance(answer, Exception) else "done"

    def address(self, name: str) -> tuple[str, str]:
        host, port = self.world.servers[name].address
        return host, str(port)

    def do(self, event: Event) -> str:
        kind, name, *rest = event
        told = ACTS[kind](self.world, name, *rest) if kind in ACTS else self._ask(kind, name, rest)
        self.world.advance(SETTLE_MILLISECONDS)
        return told or "done"

    def _ask(self, kind: str, name: str, rest: list[str]) -> str:
        if kind == "connect":
            return self.client.connect(self.world)
        if kind == "write through":
            return self.client.write(self.world)
        if kind == "leave":
            self.client.leave(self.world)
            return "done"
        return self.write(name) if kind == "write" else self.send(name, *words_of(kind, rest, self.address))

    def seen(self) -> Seen:
        """What is compared, of every server that answers."""
        alive = {name: server for name, server in self.world.servers.items() if server.alive}
        found: Seen = {name: self._one(server) for name, server in alive.items()}
        for one, other in permutations(alive, 2):
            found[one, other] = self._pair(alive[one], alive[other])
        proxy = self.world.proxies[PROXY]
        leads = {name: (line.up, proxy.sessions(self.world, name)) for name, line in proxy.lines.items()}
        return found | {f"leads to {name}": both for name, both in leads.items()}

    def _one(self, server: Server) -> object:
        source = "guard" if server.source == GUARD else "" if server.feed is None else server.feed.name
        online = sum(view.online for view in server.replicas.values())
        good = server.good if server.min_replicas else None
        return source, server.link == UP, server.state.keys, server.fulls, server.partials, online, good

    def _pair(self, one: Server, other: Server) -> object:
        if one.stream.identity == other.stream.identity:
            return "same", sign(other.offset - one.offset)
        if one.former == other.stream.identity:
            return "former", sign(other.offset - (one.second_offset - 1))
        return "other"


def _lose_disk(world: World, name: str) -> None:
    world.servers[name].disk = None


# What is no command to a server, on the model.
ACTS: dict[str, Callable[..., Any]] = {
    "kill": lambda world, name: processes.kill(world, world.servers[name]),
    "lose disk": _lose_disk,
    "start": lambda world, name, how: processes.start(world, world.servers[name], guarded=how == "guarded"),
    "freeze": lambda world, name: processes.freeze(world, world.servers[name]),
    "wake": lambda world, name: processes.wake(world, world.servers[name]),
    "save": lambda world, name: world.servers[name].save(),
    "reset": lambda world, name: replication.break_link(world, world.servers[name]),
    "cut": lambda world, one, other: world.cuts.update({frozenset((one, other)): ("lost", world.now)}),
    "mend": lambda world, one, other: processes.mend(world, frozenset((one, other))),
    "route": lambda world, name, what: world.proxies[PROXY].obey(world, line_of(name, what)),
}


class Real:
    """The events on real servers."""

    def __init__(self, engine: str, *, appends: bool) -> None:
        self.servers = BareServers(engine, NAMES, appends=appends)
        self.frozen: set[str] = set()
        self.writes = 0
        for name in NAMES:
            self.servers.start(name, guarded=True)
        self.servers.start_proxy()

    def send(self, name: str, *words: str) -> str:
        try:
            self.servers.ask(name, *words, timeout=0.5)
        except redis.TimeoutError:
            return "held"
        except redis.exceptions.ReadOnlyError:
            return "READONLY"
        except redis.ResponseError as error:
            return str(error).split()[0]
        return "done"

    def address(self, name: str) -> tuple[str, str]:
        host, port = self.servers.known_address(name)
        return host, str(port)

    def do(self, event: Event) -> str:
        kind, name, *rest = event
        acts: dict[str, Callable[[], object]] = {
            "kill": lambda: self._kill(name),
            "lose disk": lambda: self.servers.lose_disk(name),
            "start": lambda: self.servers.start(name, guarded=rest[0] == "guarded"),
            "freeze": lambda: self._freeze(name),
            "wake": lambda: self._wake(name),
            "save": lambda: self.servers.ask(name, "SAVE") and None,
            "reset": lambda: self.servers.ask(name, "CLIENT", "KILL", "TYPE", "master") and None,
            "cut": lambda: self.servers.network.cut(name, rest[0]),
            "mend": lambda: self.servers.network.slow(name, rest[0]),
            "route": lambda: self.servers.tell_proxy(line_of(name, rest[0])) and None,
            "connect": self.servers.connect,
            "write through": lambda: self.servers.write_through(*self._value()),
            "leave": self.servers.hang_up,
            "write": lambda: self.send(name, "SET", *self._value()),
        }
        act = acts.get(kind) or (lambda: self.send(name, *words_of(kind, rest, self.address)))
        return str(act() or "done")

    def _value(self) -> tuple[str, str]:
        self.writes += 1
        return f"test:{self.writes}", "x" * 100

    def _kill(self, name: str) -> None:
        if name not in self.frozen:
            # Behind a full resync an AOF is written anew: whoever dies before that is done comes back empty.
            eventually(lambda: self._has_written(name), f"{name} has written its AOF anew")
        self.servers.kill(name)
        self.frozen.discard(name)

    def _has_written(self, name: str) -> bool:
        info = self.servers.info(name)
        return not any(int(str(info[f"aof_rewrite_{what}"])) for what in ("in_progress", "scheduled"))

    def _freeze(self, name: str) -> None:
        self.servers.freeze(name)
        self.frozen.add(name)

    def _wake(self, name: str) -> None:
        self.servers.wake(name)
        self.frozen.discard(name)

    def seen(self) -> Seen:
        awake = [name for name in NAMES if name in self.servers.processes and name not in self.frozen]
        infos = {name: self.servers.info(name) for name in awake}
        found: Seen = {name: self._one(info) for name, info in infos.items()}
        for one, other in permutations(infos, 2):
            found[one, other] = self._pair(infos[one], infos[other])
        return found | {f"leads to {name}": both for name, both in self.servers.routes().items()}

    def _one(self, info: dict[str, object]) -> object:
        names = {str(port): name for name, port in self.servers.ports.items()}
        database = info.get("db0")
        return (
            "" if info["role"] == "master" else names.get(str(info["master_port"]), "guard"),
            info.get("master_link_status") == "up",
            database["keys"] if isinstance(database, dict) else 0,
            info["sync_full"],
            info["sync_partial_ok"],
            sum(isinstance(row, dict) and row.get("state") == "online" for row in info.values()),
            info.get("min_slaves_good_slaves"),
        )

    def _pair(self, one: dict[str, object], other: dict[str, object]) -> object:
        identity = other["master_replid"]
        if one["master_replid"] == identity:
            return "same", sign(self._offset(other) - self._offset(one))
        if one["master_replid2"] == identity != NO_IDENTITY:
            return "former", sign(self._offset(other) - (int(str(one["second_repl_offset"])) - 1))
        return "other"

    @staticmethod
    def _offset(info: dict[str, object]) -> int:
        own = int(str(info["master_repl_offset"]))
        told = int(str(info.get("slave_repl_offset", own)))
        return max(own, told) if told <= 1 else told

"""The simulation's model does what real servers do: the same events, one after the other, on both.

Compared are roles, links, what each data set is to each other one, the keys, how often a source went on with a replica or
began anew with it, and where a proxy leads. Every second story is of servers that keep an AOF.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from random import Random

import pytest
import redis
from bare_servers import BareServers
from kit import eventually

from tests.simulation import commands, processes
from tests.simulation.checks import Watch
from tests.simulation.server import GUARD, UP, Request, Server
from tests.simulation.stream import NO_IDENTITY
from tests.simulation.world import Shape, World

NAMES = ("keydb-1", "keydb-2", "keydb-3")
EVENTS = 12
SETTLE_MILLISECONDS = 3000

Event = tuple[str, ...]
Seen = dict[object, object]


SELECT_BYTES = 23
"""A SELECT is no write: it gets through a pause that holds the write behind it."""


def sign(number: int) -> str:
    if abs(number) <= SELECT_BYTES:
        return "equal"
    return "behind" if number < 0 else "ahead"


class Model:
    """The events on the model."""

    def __init__(self, engine: str, *, appends: bool) -> None:
        engine = "keydb" if engine == "keydb" else "redis"
        shape = Shape(engine=engine, min_replicas=0, pings=False, virgin=True, appends=appends)
        self.world = World(shape, Watch())
        self.world.clients, self.world.passers = [], []

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
        server = self.world.servers[name]
        answer = "done"
        if kind == "kill":
            processes.kill(self.world, server)
        elif kind == "lose disk":
            server.disk = None
        elif kind == "start":
            processes.start(self.world, server, guarded=rest[0] == "guarded")
        elif kind == "freeze":
            processes.freeze(self.world, server)
        elif kind == "wake":
            processes.wake(self.world, server)
        elif kind == "save":
            server.save()
        elif kind == "write":
            answer = self.write(name)
        else:
            answer = self.send(name, *words_of(kind, rest, self.address))
        self.world.advance(SETTLE_MILLISECONDS)
        return answer

    def seen(self) -> Seen:
        """What is compared, of every server that answers."""
        alive = {name: server for name, server in self.world.servers.items() if server.alive}
        found: Seen = {name: self._one(server) for name, server in alive.items()}
        for one, other in permutations(alive, 2):
            found[one, other] = self._pair(alive[one], alive[other])
        (proxy,) = self.world.proxies.values()
        return found | {f"writes to {name}": line.up for name, line in proxy.lines.items()}

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
        return "127.0.0.1", str(self.servers.ports[name])

    def do(self, event: Event) -> str:
        kind, name, *rest = event
        if kind == "kill":
            self.servers.kill(name)
            self.frozen.discard(name)
        elif kind == "lose disk":
            self.servers.lose_disk(name)
        elif kind == "start":
            self.servers.start(name, guarded=rest[0] == "guarded")
        elif kind == "freeze":
            self.servers.freeze(name)
            self.frozen.add(name)
        elif kind == "wake":
            self.servers.wake(name)
            self.frozen.discard(name)
        elif kind == "save":
            self.servers.ask(name, "SAVE")
        elif kind == "write":
            self.writes += 1
            return self.send(name, "SET", f"test:{self.writes}", "x" * 100)
        else:
            return self.send(name, *words_of(kind, rest, self.address))
        return "done"

    def seen(self) -> Seen:
        awake = [name for name in NAMES if name in self.servers.processes and name not in self.frozen]
        infos = {name: self.servers.info(name) for name in awake}
        found: Seen = {name: self._one(info) for name, info in infos.items()}
        for one, other in permutations(infos, 2):
            found[one, other] = self._pair(infos[one], infos[other])
        return found | {f"writes to {name}": up for name, up in self.servers.routes().items()}

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


def events_of(seed: int, model: Model) -> Iterator[Event]:
    """Events that a run or a fault could be, one after the other; the model tells which make sense now."""
    chance = Random(seed)
    yield from (("promote", "keydb-1"), ("write", "keydb-1"), ("follow", "keydb-2", "keydb-1"))
    yield from (("follow", "keydb-3", "keydb-1"), ("write", "keydb-1"), ("save", chance.choice(NAMES)))
    for _ in range(EVENTS):
        yield chance.choice(_possible(model.world, chance.choice(NAMES), chance))


def _possible(world: World, name: str, chance: Random) -> list[Event]:
    server = world.servers[name]
    if not server.running:
        return [("start", name, "guarded"), ("start", name, "guarded"), ("start", name, "plain"), ("lose disk", name)]
    if server.frozen:
        return [("wake", name), ("wake", name), ("kill", name)]
    sources = [one.name for one in world.servers.values() if one is not server and one.alive and one.is_primary]
    found: list[Event] = [("write", name), ("write", name), ("promote", name), ("save", name), ("rewrite", name)]
    found += [
        ("kill", name),
        ("freeze", name),
        ("pause", name),
        ("unpause", name),
        ("lease", name, chance.choice("01")),
    ]
    # Who refuses a replica makes KeyDB close its file descriptor 0 (keydb-facts), and a circle is nobody's plan.
    found += [("follow", name, source) for source in sources] * 3
    return found


FEW, MANY = range(3), range(3, 15)


@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MANY)])
@pytest.mark.every_engine
def test_the_model_does_what_real_servers_do(engine: str, seed: int) -> None:
    model = Model(engine, appends=seed % 2 == 1)
    happened: list[Event] = []
    real = Real(engine, appends=seed % 2 == 1)
    try:
        for event in events_of(seed, model):
            happened.append(event)
            answers = (model.do(event), real.do(event))
            assert answers[0] == answers[1], f"{happened}: the model says {answers[0]}, the server {answers[1]}"
            expected = model.seen()
            try:
                eventually(lambda expected=expected: real.seen() == expected, "both are alike", 15)
            except AssertionError:
                differ = {key: (value, real.seen().get(key)) for key, value in expected.items()}
                differ = {key: both for key, both in differ.items() if both[0] != both[1]}
                raise AssertionError(f"{happened}: model and server differ in {differ}") from None
    finally:
        real.servers.remove()

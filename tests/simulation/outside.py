"""The outside of operations/ and facts/ in the model: what they reach, the model's world answers.

``installed`` replaces the doors alone: links, runtime sockets, the clock, chance. Everything behind them is the code
that carries out a plan on real servers. Who is at work, and in which world, is told by ``SCENE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import redis

from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import LinkError
from keydb_runbooks.connectors.runtime import PROMPT, Runtime, RuntimeSocketError
from keydb_runbooks.facts import observation
from keydb_runbooks.facts.keydb import KeydbConfiguredPrimary, KeydbProcess
from keydb_runbooks.operations import lock, perform, runbook
from keydb_runbooks.runbooks.replication import Address, Rights
from tests.simulation.server import Connection, Request, Server
from tests.simulation.world import COMMAND_MILLISECONDS, TIMEOUT_MILLISECONDS, Shape

if TYPE_CHECKING:
    from tests.simulation.operator import Operator
    from tests.simulation.world import World

WRITE_PORT = 6380


class Scene:
    """Whose turn it is."""

    world: World
    operator: Operator


SCENE = Scene()


class Handle:
    """A link of redis-py's shape that holds one connection to a server of the model."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def connection_pool(self) -> Handle:
        return self

    def get_connection(self) -> Probe:
        return Probe(self.connection)

    def execute_command(self, *words: object) -> Any:
        return _checked(_ask(self.connection, (tuple(map(str, words)),))[0])

    def pipeline(self, transaction: bool = True) -> Pipeline:
        assert not transaction
        return Pipeline(self.connection)

    def close(self) -> None:
        SCENE.world.hang_up(self.connection)


class Pipeline:
    """Commands that are sent in one segment."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lines: list[tuple[str, ...]] = []

    def execute_command(self, *words: object) -> None:
        self.lines.append(tuple(map(str, words)))

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        answers = _ask(self.connection, tuple(self.lines))
        return [_checked(answer) for answer in answers] if raise_on_error else answers


class Probe:
    """The bare connection with which ``prove_pause`` sends a command and doesn't wait for its answer."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.request = Request(connection, ())

    def send_command(self, *words: object) -> None:
        line = tuple(map(str, words))
        if line[0] == "PFCOUNT":
            SCENE.operator.moment(COMMAND_MILLISECONDS)
        server = SCENE.world.servers[self.connection.server]
        if not server.running or server.run != self.connection.run or not self.connection.open:
            raise redis.ConnectionError("Connection closed by server.")
        self.request = Request(self.connection, (line,))
        if server.frozen:
            server.inbox.append(self.request)
        elif not SCENE.world.is_cut(self.connection.place, server.name):
            SCENE.world.serve(server, self.request)

    def read_response(self) -> Any:
        if not self.request.answered:
            SCENE.operator.moment(TIMEOUT_MILLISECONDS)
            raise redis.TimeoutError("Timeout reading from socket")
        return _checked(self.request.answers[0])

    def can_read(self, timeout: float) -> bool:
        if not self.request.answered:
            SCENE.operator.moment(timeout * 1000)
        return self.request.answered

    def disconnect(self) -> None:
        SCENE.world.hang_up(self.connection)


def _ask(connection: Connection, lines: tuple[tuple[str, ...], ...]) -> list[Any]:
    return SCENE.world.ask(connection, lines, SCENE.operator.moment)


def _checked(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


class HeldRuntime(Runtime):
    """A runtime socket whose prompt was asked for already: that much is the same each time."""

    def __init__(self, name: str, stream: Socket) -> None:
        self.name = name
        self._stream = stream
        self._buffer = b""


class Socket:
    """The stream below a real ``Runtime``: a proxy's runtime socket."""

    def __init__(self, proxy: str) -> None:
        self.proxy = proxy
        self.answer = b""

    def sendall(self, data: bytes) -> None:
        world, operator = SCENE.world, SCENE.operator
        text = data.decode().strip("\n")
        operator.moment(COMMAND_MILLISECONDS)
        proxy = world.proxies[self.proxy]
        if not proxy.running:
            raise ConnectionResetError("connection reset by peer")
        if world.is_cut(operator.place, self.proxy):
            operator.moment(TIMEOUT_MILLISECONDS)
            raise TimeoutError("timed out")
        world.watch.routed(operator, text)
        self.answer = f"{proxy.obey(world, text)}".encode() + PROMPT

    def recv(self, _size: int) -> bytes:
        answer, self.answer = self.answer, b""
        return answer

    def close(self) -> None:
        """Nothing of a runtime socket outlives it."""


def open_runtime(proxy: ProxyEntry) -> Runtime:
    world, operator = SCENE.world, SCENE.operator
    if world.is_cut(operator.place, proxy.name):
        operator.moment(TIMEOUT_MILLISECONDS)
        raise RuntimeSocketError("no-answer", f"HAProxy does not answer on {proxy.name}")
    if not world.proxies[proxy.name].running:
        raise RuntimeSocketError("refused", f"HAProxy does not listen on {proxy.name}")
    return HeldRuntime(proxy.name, Socket(proxy.name))


def open_link(node: NodeEntry, **_: object) -> Handle:
    return _open(SCENE.world.servers[node.name], SCENE.operator.place)


def open_link_to(host: Machine, address: Address, *_: object, **__: object) -> Handle:
    """A link to a proxy's port, and on to whatever server it leads to."""
    world = SCENE.world
    server = None if world.is_cut(SCENE.operator.place, host.name) else world.proxies[host.name].choose(world)
    if server is None:
        SCENE.operator.moment(COMMAND_MILLISECONDS)
        raise LinkError("no-answer", f"the link to {address} broke: Connection closed by server.")
    return _open(server, host.name)


def _open(server: Server, place: str) -> Handle:
    world, operator = SCENE.world, SCENE.operator
    where = f"{server.address[0]}:{server.address[1]}"
    if server.name in world.off:
        raise LinkError("unreachable-host", f"pyinfra has no connection to {server.name}")
    if server.frozen or world.is_cut(place, server.name):
        operator.moment(TIMEOUT_MILLISECONDS)
        raise LinkError("no-answer", f"{where} did not answer in time")
    if not server.running:
        raise LinkError("refused", f"nothing listens on {where}")
    if world.now < server.loading_until and server.engine != "keydb":
        raise LinkError("loading", f"{where} is loading its data")
    return Handle(world.connect(operator.name, place, server))


class Machine:
    """What pyinfra calls a host, as far as the runbooks ask it."""

    connected = True
    connector = None

    def __init__(self, name: str, data: dict[str, object], options: dict[str, object] | None = None) -> None:
        self.name = name
        self.data = data
        self.inventory = SimpleNamespace(override_data=options or {})

    def get_fact(self, fact: type, **_: object) -> object:
        world = SCENE.world
        server = world.servers[self.name]
        if server.name in world.off or world.is_cut(SCENE.operator.place, server.name):
            return None
        if fact is KeydbProcess:
            return server.run if server.running else 0
        assert fact is KeydbConfiguredPrimary, fact
        return f"{server.file_source[0]} {server.file_source[1]}" if server.file_source else ""

    def log_styled(self, sentence: str, **_: object) -> None:
        SCENE.operator.told.append(sentence)


def group_of(shape: Shape) -> Group:
    """The group as an inventory would name it."""
    common: dict[str, object] = {
        "keydb_group": "demo",
        "keydb_min_replicas_to_write": shape.min_replicas,
        "keydb_clients_only_through_proxies": shape.through_proxies,
        "keydb_users": {"operator": {"name": "operator", "password": "secret"}},
        "keydb_connect_timeout": 2,
        "keydb_command_timeout": 2,
        "keydb_config_directory": "/etc/keydb",
        "keydb_pid_file": "/run/keydb.pid",
        "keydb_tls_ca": None,
    }
    nodes = tuple(
        NodeEntry(Machine(f"keydb-{number}", common), Address(f"10.0.0.{number}", 6379))
        for number in range(1, shape.nodes + 1)
    )
    proxies = tuple(
        ProxyEntry(Machine(f"proxy-{number}", common), Address(f"10.0.1.{number}", WRITE_PORT))
        for number in range(1, shape.proxies + 1)
    )
    return Group("demo", nodes, proxies)


def permitted(client: Handle, _: object) -> Rights:
    """In the model the operator may do everything. As ``facts.rights`` does, the link is closed."""
    client.close()
    return Rights()


def _in_any_order(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What is done at once is done one after the other here, in an order that differs from time to time."""
    todo = list(enumerate(items))
    SCENE.operator.chance.shuffle(todo)
    done = {number: work(item) for number, item in todo}
    return [done[number] for number in range(len(done))]


def _tell(sentence: str) -> None:
    SCENE.operator.told.append(sentence)


CLOCK = SimpleNamespace(
    monotonic=lambda: SCENE.world.now / 1000,
    time=lambda: SCENE.world.now / 1000,
    sleep=lambda seconds: SCENE.operator.sleep(seconds),
)
CHANCE = SimpleNamespace(token_hex=lambda size=8: SCENE.operator.token(size))
LOGGER = SimpleNamespace(info=_tell, warning=_tell, error=_tell, debug=lambda sentence: None)

DOORS: dict[str, object] = {
    "link": open_link,
    "link_to": open_link_to,
    "runtime": open_runtime,
    "ask_rights": permitted,
    "in_parallel": _in_any_order,
    "time": CLOCK,
    "secrets": CHANCE,
    "logger": LOGGER,
}
MODULES: tuple[ModuleType, ...] = (observation, lock, perform, runbook)


@contextmanager
def installed() -> Iterator[None]:
    """Let the model answer whatever these modules reach, until the end of the block."""
    patches = [
        mock.patch.object(module, name, door)
        for module in MODULES
        for name, door in DOORS.items()
        if hasattr(module, name)
    ]
    patches.append(mock.patch.object(lock, "_who", lambda verb: f"{verb}/{SCENE.operator.name}"))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()

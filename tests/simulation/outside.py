"""What operations/ and facts/ reach over a network, in the model: links to servers, runtime sockets of proxies.

Who is at work, and in which world, is told by ``SCENE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from keydb_runbooks.connectors.group import NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import LinkError
from keydb_runbooks.connectors.runtime import PROMPT, Runtime, RuntimeSocketError
from keydb_runbooks.runbooks.replication import Address, Rights
from tests.simulation.server import Connection, Request, Server
from tests.simulation.world import COMMAND_MILLISECONDS, TIMEOUT_MILLISECONDS

if TYPE_CHECKING:
    from tests.simulation.operator import Operator
    from tests.simulation.world import World


class Scene:
    """Whose turn it is."""

    world: World
    operator: Operator


SCENE = Scene()


class Handle:
    """A link of redis-py's shape that holds one connection to a server of the model."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.response_callbacks: dict[str, object] = {}

    @property
    def connection_pool(self) -> Handle:
        return self

    def get_connection(self) -> Probe:
        return Probe(self.connection)

    def execute_command(self, *words: object) -> Any:
        return _checked(_ask(self.connection, (tuple(map(str, words)),))[0])

    def ping(self) -> object:
        return self.execute_command("PING")

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

    def execute_command(self, *words: str) -> None:
        self.lines.append(words)

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
        operator.moment(COMMAND_MILLISECONDS)
        proxy = world.proxies[self.proxy]
        if not proxy.running:
            raise ConnectionResetError("connection reset by peer")
        if world.is_cut(operator.place, self.proxy):
            operator.moment(TIMEOUT_MILLISECONDS)
            raise TimeoutError("timed out")
        for text in data.decode().splitlines():
            world.watch.routed(operator, text)
            self.answer += f"{proxy.obey(world, text)}".encode() + PROMPT

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


def open_link(node: NodeEntry, *, loading: bool = False, **_: object) -> Handle:
    return _open(SCENE.world.servers[node.name], SCENE.operator.place, loading=loading)


def open_link_through(proxy: ProxyEntry, port: Address, _: object) -> Handle:
    """A link to a proxy's port for writes, and on to whatever server it leads to."""
    world, name = SCENE.world, proxy.name
    server = None if world.is_cut(SCENE.operator.place, name) else world.proxies[name].choose(world)
    if server is None:
        SCENE.operator.moment(COMMAND_MILLISECONDS)
        raise LinkError("no-answer", f"the link to {port} broke: Connection closed by server.")
    return _open(server, name)


def _open(server: Server, place: str, *, loading: bool = False) -> Handle:
    world, operator = SCENE.world, SCENE.operator
    where = f"{server.address[0]}:{server.address[1]}"
    if server.name in world.off:
        raise LinkError("unreachable-host", f"pyinfra has no connection to {server.name}")
    if server.frozen or world.is_cut(place, server.name):
        operator.moment(TIMEOUT_MILLISECONDS)
        raise LinkError("no-answer", f"{where} did not answer in time")
    if not server.running:
        raise LinkError("refused", f"nothing listens on {where}")
    if world.now < server.loading_until and server.engine != "keydb" and not loading:
        raise LinkError("loading", f"{where} is loading its data")
    return Handle(world.connect(operator.name, place, server))


def permitted(client: Handle, _: object) -> Rights:
    """In the model the operator may do everything. As ``facts.rights`` does, the link is closed."""
    client.close()
    return Rights()


def permitted_behind_multi(client: Handle, commands: tuple[tuple[str, ...], ...]) -> Rights:
    """What the application may do: all or, on a node that is fenced, nothing that is asked for."""
    client.execute_command("PING")
    fenced = SCENE.world.servers[client.connection.server].fenced
    client.close()
    return Rights(forbidden=tuple(command[0] for command in commands) if fenced else ())

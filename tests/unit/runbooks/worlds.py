"""Groups made of values, and a world that performs the steps of a plan on them, without a server.

``primary``, ``replica`` and ``guarded`` make a node by its number: 1 is keydb-1 at 10.0.0.1:6379. Whatever is
given by name replaces a field. ``World`` knows just enough of a server to tell who acknowledges a write, and
where the write is afterwards.
"""

import ast
from dataclasses import dataclass, replace
from pathlib import Path

from keydb_runbooks.runbooks import replication
from keydb_runbooks.runbooks.condition import Condition, Machine
from keydb_runbooks.runbooks.lineage import relate
from keydb_runbooks.runbooks.plan import Plan
from keydb_runbooks.runbooks.proxy import Proxy, ProxyServer, UnreadProxy
from keydb_runbooks.runbooks.replication import (
    GUARD_ADDRESS,
    NO_REPLICATION_ID,
    Address,
    Ancestor,
    ClientUser,
    Link,
    Node,
    Rights,
    Role,
    Unread,
)
from keydb_runbooks.runbooks.service import Service, UnreadService
from keydb_runbooks.runbooks.steps import (
    ENDLESS_PAUSE_MILLISECONDS,
    CatchUp,
    ComeClose,
    Follow,
    Guard,
    InSync,
    Pause,
    Promote,
    RecordLineage,
    Reinstate,
    Route,
    SaveConfiguration,
    Step,
    Unpause,
    VerifyWrite,
)
from keydb_runbooks.runbooks.steps_clients import EndSessions
from keydb_runbooks.runbooks.steps_restart import BackInSync
from keydb_runbooks.runbooks.steps_save import SaveIfMore, StillHolds
from keydb_runbooks.runbooks.topology import Topology

FENCE = ("-@write", "-@scripting")
WRITES = (ClientUser("application", may_write=True, known=True, kept=False, fence=FENCE),)
"""The users of a node on which clients can write."""

HELD = (ClientUser("application", may_write=False, known=True, kept=False, fence=FENCE),)
"""The users of a node that is fenced."""

RUNBOOKS = Path(replication.__file__).parent
STREAM = "a" * 40
"""Replication id of everybody, unless a test says otherwise."""

GOOD = Condition(
    dataset_bytes=1_000_000,
    evicts=False,
    uncounted_bytes=0,
    saved=True,
    dumped=True,
    logged=True,
    saving=False,
    save_seconds=2,
    aof=False,
    clients=10,
    clients_limit=10_000,
    blocked_clients=0,
    commands_per_second=0,
    input_bytes_per_second=0,
    config_file="/etc/keydb/keydb.conf",
    clock_seconds=0.0,
    saves=True,
    stops=True,
    diskless_sync=True,
    diskless_load=False,
    client_descriptor=False,
)
"""A server in order."""
ROOMY = Machine(process=True, disk_free=10**10, disk_size=10**11, memory_available=10**10, descriptor="open")
"""A machine in order."""


def stream(letter: str) -> str:
    return letter * 40


def address(number: int) -> Address:
    return Address(f"10.0.0.{number}", 6379)


def primary(number: int, **changes) -> Node:
    fields = {
        "name": f"keydb-{number}",
        "address": address(number),
        "engine": "keydb",
        "version": "6.3.4",
        "run_id": f"run-{number}",
        "role": Role.PRIMARY,
        "replication_id": STREAM,
        "previous_replication_id": NO_REPLICATION_ID,
        "offset": 1000,
        "second_offset": -1,
        "backlog_first": 1,
        "backlog_size": 1_000_000,
        "replicas": (),
        "links": (),
        "keys": 5,
        "loading": False,
        "read_only": True,
        "priority": 100,
        "unsaved_changes": 0,
        "cluster": False,
        "epoch": 1,
        "paused": False,
        "sentinels": 0,
        "active_replica": False,
        "rights": Rights(),
        "clients": WRITES,
        "config_clients": WRITES,
        "acl_file": False,
        "condition": GOOD,
        "machine": ROOMY,
        "round_trip_seconds": 0.001,
    }
    fields = {**fields, **changes}
    links = fields["links"]
    saved = f"{links[0].primary.host} {links[0].primary.port}" if len(links) == 1 else ""
    return Node(**{"config_replicaof": saved, **fields})


def link(of: int, **changes) -> Link:
    return replace(Link(address(of), up=True, last_io_seconds=1, syncing=False), **changes)


def broken(of: int) -> Link:
    return link(of, up=False, last_io_seconds=None)


def replica(number: int, of: int = 1, **changes) -> Node:
    return primary(number, **{"role": Role.REPLICA, "links": (link(of),), **changes})


def orphan(number: int, of: int = 1, **changes) -> Node:
    """A replica whose primary is gone."""
    return replica(number, **{"links": (broken(of),), **changes})


def guarded(number: int, **changes) -> Node:
    nowhere = Link(Address(GUARD_ADDRESS, 1), up=False, last_io_seconds=None, syncing=False)
    return replica(number, **{"links": (nowhere,), "backlog_first": None, **changes})


def fenced(node: Node) -> Node:
    """The same node, on which no client can write."""
    return replace(node, clients=HELD, config_clients=HELD)


def virgin(number: int, **changes) -> Node:
    """A server that was just installed."""
    fields = {"keys": 0, "epoch": None, "offset": 0, "replication_id": stream(str(number))}
    return guarded(number, **{**fields, **changes})


def promoted(number: int, **changes) -> Node:
    """A primary that took over stream ``a`` up to offset 1000 and went on alone."""
    fields = {
        "replication_id": stream("b"),
        "previous_replication_id": STREAM,
        "second_offset": 1001,
        "offset": 1200,
        "epoch": 2,
        "ancestors": (Ancestor(STREAM, 1000),),
    }
    return primary(number, **{**fields, **changes})


def silent(number: int, code: str = "no-answer", *, stopped: bool = False) -> Unread:
    return Unread(f"keydb-{number}", address(number), code, "does not answer within 2 s", stopped=stopped)


def proxy(*up: int, number: int = 1, nodes: int = 3, sessions: int = 0) -> Proxy:
    """A proxy of ``nodes`` servers that sends writes to those named."""
    writers = tuple(
        ProxyServer(f"keydb-{n}", n in up, *(("UP", "L7OK") if n in up else ("DOWN", "L7RSP")), sessions)
        for n in range(1, nodes + 1)
    )
    return Proxy(f"proxy-{number}", "demo-write", "demo-read", writers, (), round_trip_seconds=0.002)


def silent_proxy(number: int = 1) -> UnreadProxy:
    return UnreadProxy(f"proxy-{number}", "no-socket", "has no runtime socket")


def service(to: int | None, **changes) -> Service:
    """A Service of Kubernetes that sends writes to a node."""
    name = None if to is None else f"keydb-{to}"
    return replace(Service("keydb-write", (name,) if name else (), name, round_trip_seconds=0.01), **changes)


def silent_service() -> UnreadService:
    return UnreadService("keydb-write", "not-permitted", "context c of k lacks a right (RBAC): services is forbidden")


def group(*members: Node | Unread | Proxy | UnreadProxy | Service | UnreadService, **changes) -> Topology:
    """A topology of whatever is given, each in its place."""

    def those(kind: type) -> tuple:
        return tuple(member for member in members if isinstance(member, kind))

    seen = Topology(
        "demo", those(Node), those(Unread), those(Proxy), those(UnreadProxy), those(Service), those(UnreadService)
    )
    return replace(seen, **changes)


def lines(plan: Plan) -> list[str]:
    """The steps of a plan as ``Step node``, in their order."""
    assert isinstance(plan, Plan), plan
    return [f"{step.code} {step.where}" for step in plan.steps]


def codes(kind: str, *modules: str) -> set[str]:
    """The codes of every ``Refusal(...)`` or ``Finding(...)`` in modules of runbooks/; a computed part reads ``*``.

    A code that is somebody else's, ``kind.code``, is left out: test_kinds has those. A test that reads code has
    ``has_a_case`` in its name: mutants are tried without it (tests/mutants/prepare.py).
    """
    found: set[str] = set()
    for module in modules:
        tree = ast.parse((RUNBOOKS / f"{module}.py").read_text())
        named = _constants(tree)
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == kind:
                found |= _values(call.args[0], named)
    return found


def _values(argument: ast.expr, named: dict[str, set[str]]) -> set[str]:
    if isinstance(argument, ast.Attribute):
        return set()
    if isinstance(argument, ast.Name):
        return named[argument.id]
    if isinstance(argument, ast.JoinedStr):
        return {"".join(part.value if isinstance(part, ast.Constant) else "*" for part in argument.values)}
    return {argument.value}


def _constants(tree: ast.Module) -> dict[str, set[str]]:
    """Every text that a name is given anywhere in a module, alone or in a tuple."""
    named: dict[str, set[str]] = {}
    for assign in ast.walk(tree):
        if not isinstance(assign, ast.Assign):
            continue
        target, value = assign.targets[0], assign.value
        both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
        pairs = zip(target.elts, value.elts, strict=True) if both else [(target, value)]
        for name, text in pairs:
            if isinstance(name, ast.Name) and isinstance(text, ast.Constant):
                named.setdefault(name.id, set()).add(text.value)
    return named


@dataclass
class Server:
    """A server of the world: what it would say of itself, and which acknowledged writes it holds."""

    node: Node
    disk: str
    log: tuple[str, ...] = ("first",)
    pause: int = 0
    alive: bool = True


class World:
    """Servers that do what they are told, and clients that write whenever somebody lets them."""

    def __init__(self, *nodes: Node, route: str | None = None) -> None:
        self.servers = {node.name: Server(node, self._line(node)) for node in nodes}
        self.route = {route} if route else set()
        self.acknowledged = ["first"]

    @staticmethod
    def _line(node: Node) -> str:
        return f"{node.link.primary.host} {node.link.primary.port}" if node.link else ""

    def topology(self) -> Topology:
        """What an observer sees now."""
        seen = [self._seen(server) for server in self.servers.values()]
        numbers = [int(name[-1]) for name in self.route]
        return group(*seen, proxy(*numbers, nodes=len(self.servers)), clients_only_through_proxies=True)

    def _seen(self, server: Server) -> Node | Unread:
        if not server.alive:
            return silent(int(server.node.name[-1]), "refused", stopped=True)
        return replace(server.node, paused=server.pause > 0, config_replicaof=server.disk)

    @property
    def writers(self) -> list[str]:
        return [name for name, one in self.servers.items() if one.alive and one.node.is_primary and not one.pause]

    def write(self) -> None:
        """Every node that takes writes acknowledges one; replicas receive it."""
        for name in self.writers:
            server = self.servers[name]
            self.acknowledged.append(f"write {len(self.acknowledged)} on {name}")
            server.log += (self.acknowledged[-1],)
            server.node = replace(server.node, offset=server.node.offset + 10)
        self._replicate()

    def pass_time(self) -> None:
        """A run died: short pauses run out, clients go on."""
        for server in self.servers.values():
            server.pause = server.pause if server.pause >= ENDLESS_PAUSE_MILLISECONDS else 0
        self.write()

    def kill(self, name: str) -> None:
        self.servers[name].alive = False
        for server in self.servers.values():
            if server.node.link and server.node.link.primary == self.servers[name].node.address:
                down = replace(server.node.link, up=False, last_io_seconds=None)
                server.node = replace(server.node, links=(down,))

    def perform(self, steps: tuple[Step, ...], *, clients: bool = True) -> None:
        """Do steps one after another; clients write behind each, unless the story has none."""
        for step in steps:
            getattr(self, f"_{step.code}")(step, self.servers.get(step.where))
            assert len(self.writers) <= 1, f"{self.writers} take writes after {step}"
            if clients:
                self.write()

    def _replicate(self) -> None:
        by_address = {one.node.address: one for one in self.servers.values() if one.alive}
        for server in self.servers.values():
            source = by_address.get(server.node.link.primary) if server.node.link else None
            # A paused replica applies nothing (docs/engines.md, "Pause").
            if source is None or server.pause or not server.alive:
                continue
            told = source.node
            server.log = source.log
            server.node = replace(
                server.node,
                replication_id=told.replication_id,
                previous_replication_id=told.previous_replication_id,
                second_offset=told.second_offset,
                offset=told.offset,
                keys=told.keys,
                epoch=told.epoch,
                ancestors=told.ancestors,
            )

    def _Pause(self, step: Pause, server: Server) -> None:
        server.pause = max(server.pause, step.milliseconds)

    def _Unpause(self, step: Unpause, server: Server) -> None:
        server.pause = 0
        self._replicate()

    def _Reinstate(self, step: Reinstate, server: Server) -> None:
        server.node = replace(server.node, epoch=step.epoch)
        server.pause = 0
        self._replicate()

    def _ComeClose(self, step: ComeClose, server: Server) -> None:
        assert self.servers[step.source].node.run_id == step.source_run_id

    def _CatchUp(self, step: CatchUp, server: Server) -> None:
        source = self.servers[step.source]
        assert source.node.run_id == step.source_run_id
        assert server.node.offset >= source.node.offset, f"{step.where} would never catch up"

    def _Promote(self, step: Promote, server: Server) -> None:
        old = server.node
        server.node = replace(
            old,
            role=Role.PRIMARY,
            links=(),
            replication_id=f"{step.epoch}{server.node.name[-1]}".rjust(40, "c"),
            previous_replication_id=old.replication_id,
            second_offset=old.offset + 1,
            offset=old.offset + 20,
            backlog_first=old.backlog_first or old.offset + 1,
            keys=max(old.keys, 1),
            epoch=step.epoch,
        )

    def _SaveConfiguration(self, step: SaveConfiguration, server: Server) -> None:
        server.disk = self._line(server.node)

    def _Follow(self, step: Follow, server: Server) -> None:
        assert relate(replace(server.node, paused=server.pause > 0), self.servers[step.primary].node).explained
        server.node = replace(
            server.node, role=Role.REPLICA, links=(Link(step.address, up=True, last_io_seconds=0, syncing=False),)
        )
        server.disk = self._line(server.node)
        self._replicate()

    def _BackInSync(self, step: BackInSync, server: Server) -> None:
        assert server.node.link and server.node.link.primary == step.address and server.node.link.up

    def _Guard(self, step: Guard, server: Server) -> None:
        nowhere = Link(Address(GUARD_ADDRESS, 1), up=False, last_io_seconds=None, syncing=False)
        server.node = replace(server.node, role=Role.REPLICA, links=(nowhere,))
        server.disk = self._line(server.node)

    def _SaveIfMore(self, step: SaveIfMore, server: Server) -> None:
        more = not server.node.empty if step.until is None else server.node.offset > step.until
        assert not more, f"{step.where} took writes in a story in which nobody wrote to it"

    def _StillHolds(self, step: StillHolds, server: Server) -> None:
        assert (server.node.run_id, server.node.empty) == (step.run_id, not step.keys)

    def _Route(self, step: Route, server: None) -> None:
        self.route = {step.primary}

    def _EndSessions(self, step: EndSessions, server: Server) -> None:
        """Clients find the primary by themselves when their connections are gone."""

    def _InSync(self, step: InSync, server: Server) -> None:
        assert server.node.link and server.node.link.primary == step.address and server.node.link.up

    def _VerifyWrite(self, step: VerifyWrite, server: None) -> None:
        assert self.route == {step.primary} == set(self.writers)

    def _RecordLineage(self, step: RecordLineage, server: Server) -> None:
        former = Ancestor(server.node.previous_replication_id, server.node.second_offset - 1)
        if former not in server.node.ancestors:
            server.node = replace(server.node, ancestors=(former, *server.node.ancestors))
        self._replicate()

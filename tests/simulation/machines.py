"""The inventory of the model, and what its machines answer to whoever has a shell there: files, processes, disks."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

from pyinfra.connectors.local import LocalConnector

from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.facts.keydb import Configured, KeydbConfigured, KeydbProcess
from keydb_runbooks.facts.machine import MachineState, State
from keydb_runbooks.operations.dump import Kept
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.runbooks.replication import Address
from keydb_runbooks.runbooks.rescue import Room
from keydb_runbooks.schemas import SECRETS
from tests.simulation.commands import user_rows
from tests.simulation.outside import SCENE

if TYPE_CHECKING:
    from tests.simulation.world import Shape

WRITE_PORT = 6380
PLENTY = 1 << 40
ROLES = ("application", "replication", "operator", "monitoring", "check")


class Stage:
    """What pyinfra calls the state of a run: here nothing is known of it."""


class Machine:
    """What pyinfra calls a host, as far as the runbooks ask it."""

    connected = True
    state = Stage()
    connector = None
    connector_cls = LocalConnector

    def __init__(self, name: str, data: dict[str, object], options: dict[str, object] | None = None) -> None:
        self.name = name
        self.data = data
        self.inventory = SimpleNamespace(override_data=options or {})

    @property
    def reached(self) -> bool:
        world = SCENE.world
        return self.name not in world.off and not world.is_cut(SCENE.operator.place, self.name)

    def get_fact(self, fact: type, **_: object) -> object:
        server = SCENE.world.servers[self.name]
        if not self.reached:
            return None
        if fact is KeydbProcess:
            return server.run if server.running else 0
        assert fact is KeydbConfigured, fact
        source = server.file_source
        return Configured(
            replicaof=f"{source[0]} {source[1]}" if source else "", users=user_rows(fenced=server.file_fenced)
        )

    def log_styled(self, sentence: str, **_: object) -> None:
        SCENE.operator.told.append(sentence)


def get_quietly(host: Machine, fact: type, **_: object) -> State | None:
    """A machine that can be reached has a process or none, and room for everything."""
    assert fact is MachineState, fact
    if not host.reached:
        return None
    running = SCENE.world.servers[host.name].running
    return State(
        process=running,
        disk_free=PLENTY,
        disk_size=PLENTY,
        memory_available=PLENTY,
        descriptor="open" if running else None,
    )


def group_of(shape: Shape) -> Group:
    """The group as an inventory would name it."""
    return _group(shape.nodes, shape.proxies, shape.min_replicas, shape.through_proxies)


@cache
def _group(servers: int, fronts: int, min_replicas: int, through_proxies: bool) -> Group:
    common: dict[str, object] = {
        "keydb_group": "demo",
        "keydb_min_replicas_to_write": min_replicas,
        "keydb_clients_only_through_proxies": through_proxies,
        SECRETS: {role: {"name": role, "password": "secret"} for role in ROLES},
        "keydb_connect_timeout": 2,
        "keydb_command_timeout": 2,
        "keydb_config_directory": "/etc/keydb",
        "keydb_data_directory": "/var/lib/keydb",
        "keydb_pid_file": "/run/keydb.pid",
        "keydb_tls_ca": None,
        "keydb_zone": "",
        "keydb_preferred_zones": (),
    }
    nodes = tuple(
        NodeEntry(Machine(f"keydb-{number}", common), Address(f"10.0.0.{number}", 6379))
        for number in range(1, servers + 1)
    )
    proxies = tuple(
        ProxyEntry(Machine(f"proxy-{number}", common), Address(f"10.0.1.{number}", WRITE_PORT))
        for number in range(1, fronts + 1)
    )
    return Group("demo", nodes, proxies)


def room(*_: object) -> Room:
    return Room(0, PLENTY)


def keep(_dump: str, place: Kept, node: str) -> tuple[int, str]:
    """A node's dump file is kept under a name of its own: what is in it can be had back, whatever becomes of the node.

    :raises StepFailed: if the machine can't be reached, or nothing is there
    """
    assert isinstance(place.host, Machine)
    disk = SCENE.world.servers[node].disk
    if not place.host.reached or disk is None:
        raise StepFailed(f"{node}: no shell answers there")
    SCENE.world.kept.append((node, disk.stream, disk.position))
    return 0, ""


def bring(place: Kept, *_: object) -> Kept:
    """Which machine a kept file is on makes no difference here."""
    return place


def note(place: Kept, ending: str, _: object) -> str:
    return f"{place.stem}{ending}"


def nobody_reads(*_: object) -> tuple[list[object], list[object]]:
    """Proxies have no port for reads in the model."""
    return [], []


def compared(*_: object) -> None:
    """Keys and values are no part of the model; a signal is heard all the same."""
    SCENE.operator.check_signal()


def unwritten(*_: object) -> None:
    """What is there for people alone."""

"""Which programs run on a node: what the inventory says, else what is on the node's PATH."""

from __future__ import annotations

from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.connectors.local import LocalConnector
from pyinfra.facts.server import Which

from keydb_runbooks.connectors.group import NodeEntry, ProxyEntry

SERVERS = {
    "keydb": ("keydb-server",),
    "valkey": ("valkey-server",),
    "redis": ("redis-server",),
}


def server(node: NodeEntry) -> str:
    """Path of the server's program on a node.

    One that a package brings lies where Debian has programs, and may not be there yet.

    :raises OperationError: if the inventory names none and none is on PATH
    """
    named = node.data("keydb_server")
    names = SERVERS[node.data("keydb_engine")]
    if not named and node.data("keydb_package"):
        return f"/usr/bin/{names[0]}"
    return str(named) if named else _which(node.host, names, "keydb_server")


def on_path(node: NodeEntry) -> str:
    """What a shell on a node finds the server's program by, without asking whether it is there."""
    return str(node.data("keydb_server") or SERVERS[node.data("keydb_engine")][0])


def proxy(entry: ProxyEntry) -> str:
    """Path of HAProxy's program on a node.

    :raises OperationError: if the inventory names none and none is on PATH, or if nothing there opens a runtime socket
    """
    named = entry.data("haproxy_program")
    if entry.data("haproxy_package"):
        return str(named or "/usr/sbin/haproxy")
    if not issubclass(entry.host.connector_cls, LocalConnector) and not entry.host.get_fact(Which, command="socat"):
        told = "no socat on PATH, and only by it the runtime socket is reached; install it (apt-get install socat)"
        raise OperationError(f"{entry.host.name}: {told}")
    return str(named) if named else _which(entry.host, ("haproxy",), "haproxy_program")


def _which(host: Host, names: tuple[str, ...], key: str) -> str:
    for name in names:
        found = host.get_fact(Which, command=name)
        if found:
            return str(found)
    raise OperationError(f"{host.name}: no {' or '.join(names)} on PATH; install it, or set {key} in the inventory")

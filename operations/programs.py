"""Which programs run on a node: what the inventory says, else what is on the node's PATH."""

from __future__ import annotations

from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.connectors.local import LocalConnector
from pyinfra.facts.server import Which

from keydb_runbooks.connectors.ahead import Question, answer
from keydb_runbooks.connectors.group import NodeEntry, ProxyEntry

SERVERS = {
    "keydb": ("keydb-server",),
    "valkey": ("valkey-server",),
    "redis": ("redis-server",),
}

ARCHIVES = "/usr/local/lib/keydb-runbooks"


def server(node: NodeEntry) -> str:
    """Path of the server's program on a node.

    One that a package or install itself brings may not be there yet.

    :raises OperationError: if the inventory names none and none is on PATH
    """
    named = node.data("keydb_server")
    names = SERVERS[node.data("keydb_engine")]
    if not named and node.data("keydb_program_source"):
        return from_archive(node)
    if not named and node.data("keydb_package"):
        return f"/usr/bin/{names[0]}"
    return str(named) if named else _which(node.host, names, "keydb_server")


def from_archive(node: NodeEntry) -> str:
    """Where install puts the program that it brings itself: each has a directory of its own."""
    return f"{ARCHIVES}/{str(node.data('keydb_program_sha256'))[:16].lower()}/{SERVERS[node.data('keydb_engine')][0]}"


def questions_of_server(node: NodeEntry) -> tuple[Question, ...]:
    """What ``server`` will want to know of a node's machine at first, for ``ahead.ask``."""
    if node.data("keydb_server") or node.data("keydb_program_source") or node.data("keydb_package"):
        return ()
    return (path_of(SERVERS[node.data("keydb_engine")][0]),)


def questions_of_proxy(entry: ProxyEntry) -> tuple[Question, ...]:
    """What ``proxy`` will want to know of a proxy's machine, for ``ahead.ask``."""
    if entry.data("haproxy_package"):
        return ()
    named = entry.data("haproxy_program")
    return tuple(map(path_of, ("socat",) if named else ("socat", "haproxy")))


def path_of(program: str) -> Question:
    """What a machine is asked for to tell where a shell finds a program."""
    return Which, {"command": program}


def nft(entry: NodeEntry) -> str:
    """Path of nftables' program on a node.

    :raises OperationError: if there is none
    """
    found = answer(entry.host, path_of("nft"))
    if not found:
        told = "no nft on PATH, which keydb_firewall needs; install it (apt-get install nftables), or leave that out"
        raise OperationError(f"{entry.host.name}: {told}")
    return str(found)


def for_tls(entry: NodeEntry) -> None:
    """See that a node of a group that speaks TLS has what its boot guard and facts speak it with.

    :raises OperationError: if it has not
    """
    if not answer(entry.host, path_of("openssl")):
        told = "no openssl on PATH, and by it the boot guard asks other nodes; install it (apt-get install openssl)"
        raise OperationError(f"{entry.host.name}: {told}")


def on_path(node: NodeEntry) -> str:
    """What a shell on a node finds the server's program by, without asking whether it is there."""
    if node.data("keydb_program_source") and not node.data("keydb_server"):
        return from_archive(node)
    return str(node.data("keydb_server") or SERVERS[node.data("keydb_engine")][0])


def proxy(entry: ProxyEntry) -> str:
    """Path of HAProxy's program on a node.

    :raises OperationError: if the inventory names none and none is on PATH, or if nothing there opens a runtime socket
    """
    named = entry.data("haproxy_program")
    if entry.data("haproxy_package"):
        return str(named or "/usr/sbin/haproxy")
    if not issubclass(entry.host.connector_cls, LocalConnector) and not answer(entry.host, path_of("socat")):
        told = "no socat on PATH, and only by it the runtime socket is reached; install it (apt-get install socat)"
        raise OperationError(f"{entry.host.name}: {told}")
    return str(named) if named else _which(entry.host, ("haproxy",), "haproxy_program")


def _which(host: Host, names: tuple[str, ...], key: str) -> str:
    for name in names:
        found = answer(host, path_of(name))
        if found:
            return str(found)
    raise OperationError(f"{host.name}: no {' or '.join(names)} on PATH; install it, or set {key} in the inventory")

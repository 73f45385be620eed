"""Read a whole group at once, through links opened in parallel, and tell what is there: a ``Topology``.

A node that can't be read becomes an ``Unread`` with a code, never a missing row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import redis

from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import Client, LinkError, explain, in_parallel, link
from keydb_runbooks.connectors.runtime import RuntimeSocketError, runtime
from keydb_runbooks.facts.keydb import KeydbConfiguredPrimary, KeydbProcess
from keydb_runbooks.runbooks.proxy import Proxy, StatisticsError, UnreadProxy, proxy_from_statistics
from keydb_runbooks.runbooks.replication import InfoError, Node, Unread, is_number, node_from_info, read_ancestors
from keydb_runbooks.runbooks.steps import EPOCH_KEY, LINEAGE_KEY
from keydb_runbooks.runbooks.topology import Topology

PROBE_KEY = "runbook:probe:none"
"""A key that never exists: PFCOUNT of it is held by a pause, moves no offset and works on replicas
(convergence-facts, "Seeing a pause")."""


def observe(group: Group) -> Topology:
    """Read every node, what its configuration file says of its role, and every proxy of a group."""
    work: list[Callable[[], Node | Unread | Proxy | UnreadProxy]] = [
        *(partial(_observe_node, node) for node in group.nodes),
        *(partial(_observe_proxy, proxy, group.name) for proxy in group.proxies),
    ]
    seen = in_parallel(lambda read: read(), work)
    return Topology(
        group=group.name,
        nodes=tuple(item for item in seen if isinstance(item, Node)),
        unread=tuple(item for item in seen if isinstance(item, Unread)),
        proxies=tuple(item for item in seen if isinstance(item, Proxy)),
        unread_proxies=tuple(item for item in seen if isinstance(item, UnreadProxy)),
        clients_only_through_proxies=bool(group.nodes[0].data("keydb_clients_only_through_proxies")),
    )


def _observe_node(entry: NodeEntry) -> Node | Unread:
    try:
        client = link(entry)
        try:
            return _read(entry, client)
        finally:
            client.close()
    except (LinkError, InfoError, redis.RedisError, OSError) as error:
        return _unread(entry, error)


def _read(entry: NodeEntry, client: Client) -> Node:
    text = client.execute_command("INFO")
    node = node_from_info(entry.name, entry.address, text, config_replicaof=_configured_primary(entry))
    return node if node.loading else _read_more(entry, client, node)


def _read_more(entry: NodeEntry, client: Client, node: Node) -> Node:
    """What INFO doesn't tell. A loading server can't be asked for it."""
    pipeline = client.pipeline(transaction=False)
    pipeline.execute_command("GET", EPOCH_KEY)
    pipeline.execute_command("GET", LINEAGE_KEY)
    pipeline.execute_command("CONFIG GET", "replica-read-only")
    epoch, lineage, read_only = pipeline.execute()
    return replace(
        node,
        epoch=int(epoch) if epoch is not None and is_number(epoch) else None,
        ancestors=read_ancestors(lineage),
        read_only=read_only.get("replica-read-only") != "no",
        paused=prove_pause(entry, client),
    )


def prove_pause(entry: NodeEntry, observer: Client) -> bool | None:
    """Whether writes are paused on a server, proved instead of timed (convergence-facts, "Seeing a pause").

    A second connection sends a command that a pause holds; while it hangs, ``observer`` looks at it. Blocked
    means paused, answered means not paused.

    :returns: None if there was no proof within the command time-out
    """
    probe = link(entry)
    with suppress(redis.RedisError, OSError):
        connection = probe.connection_pool.get_connection()
        try:
            return _hangs_blocked(connection, observer, time.monotonic() + entry.data("keydb_command_timeout"))
        finally:
            # A held probe that is closed is dropped: it is never executed later.
            connection.disconnect()
    return None


def _hangs_blocked(connection: redis.Connection, observer: Client, deadline: float) -> bool | None:
    connection.send_command("CLIENT", "ID")
    identity = connection.read_response()
    connection.send_command("PFCOUNT", PROBE_KEY)
    while time.monotonic() < deadline:
        if connection.can_read(timeout=0.005):
            return False
        row = str(observer.execute_command("CLIENT", "LIST", "ID", identity))
        fields = dict(part.partition("=")[::2] for part in row.split())
        if "b" in fields.get("flags", "") and fields.get("cmd", "").startswith("pfcount"):
            return True
    return None


def _configured_primary(entry: NodeEntry) -> str | None:
    path = f"{entry.data('keydb_config_directory')}/keydb.conf"
    answer: str | None = entry.host.get_fact(KeydbConfiguredPrimary, path=path)
    return answer


def _unread(entry: NodeEntry, error: Exception) -> Unread:
    if isinstance(error, InfoError):
        return Unread(entry.name, entry.address, "not-a-server", str(error))
    told = explain(error, entry.address)
    stopped = told.code == "refused" and _is_stopped(entry)
    return Unread(entry.name, entry.address, told.code, told.detail, stopped=stopped)


def _is_stopped(entry: NodeEntry) -> bool:
    """Ask the node's own machine whether the server's process is gone; unknown is not stopped."""
    if not entry.host.connected:
        return False
    found = entry.host.get_fact(KeydbProcess, pid_file=entry.data("keydb_pid_file"))
    return found == 0


def _observe_proxy(entry: ProxyEntry, group: str) -> Proxy | UnreadProxy:
    try:
        socket = runtime(entry)
        try:
            return proxy_from_statistics(entry.name, group, socket.command("show stat"))
        finally:
            socket.close()
    except RuntimeSocketError as error:
        return UnreadProxy(entry.name, error.code, error.detail)
    except StatisticsError as error:
        return UnreadProxy(entry.name, "no-backend", str(error))

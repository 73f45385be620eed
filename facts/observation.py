"""Read a whole group at once, through links opened in parallel, and tell what is there: a ``Topology``.

A node that can't be read becomes an ``Unread`` with a code, never a missing row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from contextlib import suppress
from functools import partial

import gevent
import redis

from keydb_runbooks.connectors.ahead import Question, answer
from keydb_runbooks.connectors.group import Credentials, Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import Client, LinkError, explain, in_parallel, link, link_as
from keydb_runbooks.connectors.pulse import ENDED
from keydb_runbooks.connectors.runtime import RuntimeSocketError, runtime
from keydb_runbooks.facts.anew import with_anew
from keydb_runbooks.facts.condition import (
    QUESTIONS,
    look_again,
    moment,
    read_condition,
    read_machine,
    round_trip,
    state_of,
)
from keydb_runbooks.facts.keydb import Configured, KeydbConfigured, KeydbProcess
from keydb_runbooks.facts.made import read_made
from keydb_runbooks.facts.proxies import newcomers
from keydb_runbooks.facts.rights import ask_rights
from keydb_runbooks.facts.service import read_service, with_stragglers
from keydb_runbooks.facts.users import read_clients
from keydb_runbooks.runbooks.kinds import PROBE_KEY, kind_by_info, kind_of
from keydb_runbooks.runbooks.proxy import Proxy, StatisticsError, UnreadProxy, proxy_from_statistics
from keydb_runbooks.runbooks.replication import InfoError, Node, Unread, is_number, node_from_info, read_ancestors
from keydb_runbooks.runbooks.service import Service, UnreadService
from keydb_runbooks.runbooks.steps import EPOCH_KEY, LINEAGE_KEY
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.values import changed

SENTINELS_CHANNEL = "__sentinel__:hello"
"""Every Sentinel subscribes to it on each server that it watches, and without that it moves no role."""

NOBODY = Credentials("", "")
"""Does not log in."""


PROXY_LOOK_SECONDS = 0.1
"""Between two looks at proxies that still lead to a node that doesn't answer."""

RETURN_SECONDS = 0.3
"""How long a node that was silent a moment ago is waited for, to see whether it has come back."""


def observe(group: Group, patience_seconds: float = 0, silent: Container[str] = ()) -> Topology:
    """Read every node, what its configuration file says of its role, and every proxy of a group.

    :param patience_seconds: for how long links to a primary that doesn't answer are watched for their silence, and then
        the proxies' ways to it for their end
    :param silent: names of nodes that did not answer within ``keydb_connect_timeout`` a moment ago
    """
    work: list[Callable[[], Node | Unread | Proxy | UnreadProxy]] = [
        *(partial(_observe_node, node, RETURN_SECONDS if node.name in silent else None) for node in group.nodes),
        *(partial(_observe_proxy, proxy, group.name) for proxy in group.proxies),
    ]
    reading = [gevent.spawn(read_service, service, group) for service in group.services]
    coming = gevent.spawn(newcomers, group)
    seen = in_parallel(lambda read: read(), work)
    nodes = look_again(group, tuple(item for item in seen if isinstance(item, Node)), patience_seconds)
    fronts = [item for item in seen if isinstance(item, Proxy | UnreadProxy)]
    if unread := {item.name for item in seen if isinstance(item, Unread)}:
        # Meanwhile their checks may have found out what the operator waited for.
        fronts = _observe_proxies_again(group, unread, patience_seconds)
    fronts += coming.get()
    led = [with_stragglers(*greenlet.get(), group, nodes) for greenlet in reading]
    return Topology(
        group=group.name,
        nodes=nodes,
        unread=tuple(item for item in seen if isinstance(item, Unread)),
        proxies=tuple(item for item in fronts if isinstance(item, Proxy)),
        unread_proxies=tuple(item for item in fronts if isinstance(item, UnreadProxy)),
        services=tuple(item for item in led if isinstance(item, Service)),
        unread_services=tuple(item for item in led if isinstance(item, UnreadService)),
        behind_proxies=group.pod_proxies is not None,
        clients_only_through_proxies=bool(group.nodes[0].data("keydb_clients_only_through_proxies")),
        preferred_zones=tuple(group.nodes[0].data("keydb_preferred_zones")),
    )


def _observe_proxies_again(group: Group, unread: set[str], patience_seconds: float) -> list[Proxy | UnreadProxy]:
    """The proxies as soon as none leads to a node that can't be read any more, or when time is up."""
    deadline = time.monotonic() + patience_seconds
    while True:
        fronts = in_parallel(lambda proxy: _observe_proxy(proxy, group.name), group.proxies)
        ways = [way for front in fronts if isinstance(front, Proxy) for way in front.writers if way.node in unread]
        if time.monotonic() > deadline or not any(way.up or way.sessions for way in ways):
            return fronts
        time.sleep(PROXY_LOOK_SECONDS)


def _observe_node(entry: NodeEntry, patience: float | None) -> Node | Unread:
    """The server and its machine at the same time: what the one can't tell, the other may."""
    asking, looking = gevent.spawn(read_machine, entry), gevent.spawn(read_made, entry)
    seen = _observe_server(entry, patience)
    if isinstance(seen, Node):
        seen = changed(seen, made=looking.get(), machine=asking.get())
    else:
        seen = changed(seen, machine=asking.get(), observed_at=seen.observed_at or moment(time.time()))
    return with_anew(entry, seen)


def _observe_server(entry: NodeEntry, patience: float | None) -> Node | Unread:
    try:
        client = link(entry, patience=patience)
        try:
            return _read(entry, client)
        finally:
            client.close()
    except (LinkError, InfoError, redis.RedisError, OSError) as error:
        return _unread(entry, error)


def _read(entry: NodeEntry, client: Client) -> Node:
    trip, before = round_trip(client), time.time()
    text = client.execute_command("INFO")
    seen_at = (before + time.time()) / 2
    configured = _configured(entry)
    node = node_from_info(entry.name, entry.address, text)
    served, uptime = node.condition.server_time, node.condition.uptime_seconds
    node = changed(
        node,
        round_trip_seconds=trip,
        observed_at=moment(seen_at),
        zone=entry.data("keydb_zone") or "",
        config_replicaof=configured and configured["replicaof"],
        condition=changed(
            node.condition,
            clock_seconds=None if served is None else served - seen_at,
            began_seconds=None if uptime is None else seen_at - uptime,
        ),
        config_clients=configured and read_clients(entry, configured["users"]),
    )
    return node if node.loading else _read_more(entry, client, node)


def _read_more(entry: NodeEntry, client: Client, node: Node) -> Node:
    """What INFO doesn't tell. A loading server can't be asked for it.

    What one of these commands could have told is unknown if the server doesn't know or permit it, and nothing else:
    ``rights`` say so.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.execute_command("GET", EPOCH_KEY)
    pipeline.execute_command("GET", LINEAGE_KEY)
    pipeline.execute_command("CONFIG", "GET", "active-replica")
    pipeline.execute_command("PUBSUB", "NUMSUB", SENTINELS_CHANNEL)
    pipeline.execute_command("ACL LIST")
    pipeline.execute_command("CONFIG", "GET", "aclfile")
    for question in QUESTIONS:
        pipeline.execute_command(*question)
    answers = [None if isinstance(answer, Exception) else answer for answer in pipeline.execute(raise_on_error=False)]
    epoch, lineage, active, watching, users, acl_file, *condition = answers
    node = changed(
        node,
        condition=read_condition(node.condition, condition),
        epoch=int(epoch) if epoch is not None and is_number(epoch) else None,
        ancestors=read_ancestors(lineage),
        active_replica=None if active is None else "yes" in active,
        sentinels=None if watching is None else int(watching[1]),
        paused=prove_pause(entry, client),
        clients=None if users is None else read_clients(entry, users),
        acl_file=None if acl_file is None else any(acl_file[1:]),
    )
    return changed(node, rights=ask_rights(client, node))


def prove_pause(entry: NodeEntry, observer: Client) -> bool | None:
    """Whether writes are paused on a server, proved instead of timed (convergence-facts, "Seeing a pause").

    A second connection sends a command that a pause holds, that moves no offset and that works on replicas; while it
    hangs, ``observer`` looks at it. Blocked means paused, answered means not paused.

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
            # An error is no answer: a server without this command would never look paused.
            connection.read_response()
            return False
        row = str(observer.execute_command("CLIENT", "LIST", "ID", identity))
        fields = dict(part.partition("=")[::2] for part in row.split())
        if "b" in fields.get("flags", "") and fields.get("cmd", "").startswith("pfcount"):
            return True
    return None


def configured_of(entry: NodeEntry) -> Question:
    """How a node's machine is asked what its configuration file says of its role."""
    return KeydbConfigured, {"path": entry.config_file}


def questions_of(entry: NodeEntry) -> tuple[Question, ...]:
    """What ``observe`` will want to know of a node's machine, for ``ahead.ask``."""
    return state_of(entry), configured_of(entry)


def _configured(entry: NodeEntry) -> Configured | None:
    found: Configured | None = answer(entry.host, configured_of(entry))
    return found


def _unread(entry: NodeEntry, error: Exception) -> Unread:
    if isinstance(error, InfoError):
        return Unread(entry.name, entry.address, error.code, str(error))
    told = explain(error, entry.address)
    if told.code == "wrong-password":
        return _unread_without_login(entry) or Unread(entry.name, entry.address, told.code, told.detail)
    stopped = told.code == "refused" and _is_stopped(entry)
    return Unread(entry.name, entry.address, told.code, told.detail, stopped=stopped)


def _unread_without_login(entry: NodeEntry) -> Unread | None:
    """What refuses the operator's login may be of another kind, without any users, and say so to whoever asks."""
    try:
        client = link_as(entry, NOBODY)
        kind = kind_by_info(node_from_info(entry.name, entry.address, client.execute_command("INFO")))
    except InfoError as error:
        kind = kind_of(Unread(entry.name, entry.address, error.code, str(error)))
    except (LinkError, redis.RedisError, OSError):
        return None
    return None if kind is None else Unread(entry.name, entry.address, kind.code, kind.sentence)


def _is_stopped(entry: NodeEntry) -> bool:
    """Ask the node's own machine whether the server's process is gone; unknown is not stopped."""
    if not entry.host.connected:
        return False
    try:
        found = entry.host.get_fact(KeydbProcess, pid_file=entry.data("keydb_pid_file"))
    except ENDED:
        return False
    return found == 0


def _observe_proxy(entry: ProxyEntry, group: str) -> Proxy | UnreadProxy:
    try:
        socket = runtime(entry)
        try:
            before = time.time()
            seen = proxy_from_statistics(entry.name, group, socket.command("show stat"))
            return changed(seen, observed_at=moment(before), round_trip_seconds=time.time() - before)
        finally:
            socket.close()
    except RuntimeSocketError as error:
        return UnreadProxy(entry.name, error.code, error.detail, moment(time.time()))
    except StatisticsError as error:
        return UnreadProxy(entry.name, "no-backend", str(error), moment(time.time()))

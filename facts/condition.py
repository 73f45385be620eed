"""Read in which condition a server and its machine are, beside what INFO tells of roles: ``runbooks.condition``.

Nothing is changed. What a server doesn't permit, or a machine can't say in time, is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from statistics import median
from typing import Any

import gevent
import redis

from keydb_runbooks.connectors.ahead import Question, get_quietly
from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import Client, LinkError, in_parallel, link, ping
from keydb_runbooks.facts.machine import MachineState
from keydb_runbooks.runbooks.condition import SETTINGS, Condition, Machine, has_client_descriptor, with_settings
from keydb_runbooks.runbooks.replication import Address, InfoError, Node, node_from_info
from keydb_runbooks.runbooks.steps import Command
from keydb_runbooks.runbooks.values import changed

QUESTIONS: tuple[Command, ...] = (*(("CONFIG", "GET", name) for name in SETTINGS), ("CLIENT", "LIST"))
"""What is asked of a server besides INFO, each in a command of its own."""

PINGS = 3
LOOK_SECONDS = 0.01
CATCH_UP_SECONDS = 0.25
"""For so long a replica may lack what its primary had before it counts as behind."""


def moment(seconds: float) -> str:
    """A time of the operator's clock as text, UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def round_trip(client: Client) -> float:
    """The median of some PINGs, in seconds.

    :raises redis.RedisError: if one isn't answered
    """
    return median(_ping(client) for _ in range(PINGS))


def _ping(client: Client) -> float:
    before = time.perf_counter()
    ping(client)
    return time.perf_counter() - before


def read_condition(condition: Condition, answers: Sequence[Any]) -> Condition:
    """Add the answers to ``QUESTIONS``; one that is an error or None leaves what it would tell unknown."""
    *settings, clients = answers
    pairs = [answer for answer in settings if isinstance(answer, list) and len(answer) == 2]
    descriptor = has_client_descriptor(clients) if isinstance(clients, str) else None
    return with_settings(condition, {str(name): str(value) for name, value in pairs}, descriptor)


def state_of(entry: NodeEntry) -> Question:
    """What a node's machine is asked for."""
    return MachineState, {"pid_file": entry.data("keydb_pid_file"), "directory": entry.data("keydb_data_directory")}


def read_machine(entry: NodeEntry) -> Machine | None:
    """Ask the node's own machine; None if it can't be asked, says nothing in time, or ends the connection."""
    if not entry.host.connected:
        return None
    fact, arguments = state_of(entry)
    ask = partial(get_quietly, entry.host, fact, **arguments)
    state = None
    with suppress(OSError):
        state = gevent.with_timeout(entry.data("keydb_command_timeout"), ask, timeout_value=None)
    return None if state is None else Machine(**state)


def look_again(group: Group, nodes: tuple[Node, ...], patience_seconds: float = 0) -> tuple[Node, ...]:
    """Look a second time at replicas, behind everybody else: at what they lack, and at their links.

    Nodes are read at the same time, not at one moment. Under writes a replica in order seems to be behind, and has it a
    moment later; and while the operator waits for a silent primary in vain, its replicas' silence grows.

    :param patience_seconds: for how long a link to a silent primary is watched, until it counts as silent, too
    """
    primaries = {node.address: node for node in nodes if node.is_primary}
    return tuple(in_parallel(partial(_second_look, group, primaries, patience_seconds), nodes))


def _second_look(group: Group, primaries: dict[Address, Node], patience_seconds: float, node: Node) -> Node:
    if node.link is None or node.link.guarded or node.loading:
        return node
    entry, primary = group.node(node.name), primaries.get(node.link.primary)
    if primary is None:
        later = _later(entry, lambda now: now.link is None or not now.link.alive, patience_seconds)
        return node if later is None else changed(node, links=later.links, observed_at=moment(time.time()))
    if node.replication_id != primary.replication_id:
        return node
    offset, wanted = node.offset, primary.offset
    if offset < wanted and (later := _later(entry, lambda now: now.offset >= wanted, CATCH_UP_SECONDS)):
        offset = later.offset
    return changed(node, condition=changed(node.condition, behind_bytes=max(wanted - offset, 0)))


def _later(entry: NodeEntry, enough: Callable[[Node], bool], seconds: float) -> Node | None:
    """What INFO says as soon as it is enough, or when time is up; None if the server no longer answers."""
    deadline = time.monotonic() + seconds
    with suppress(LinkError, InfoError, redis.RedisError, OSError):
        client = link(entry)
        try:
            while True:
                now = node_from_info(entry.name, entry.address, client.execute_command("INFO"))
                if enough(now) or time.monotonic() > deadline:
                    return now
                time.sleep(LOOK_SECONDS)
        finally:
            client.close()
    return None

"""Read in which condition a server and its machine are, beside what INFO tells of roles: ``runbooks.condition``.

Nothing is changed. What a server doesn't permit, or a machine can't say in time, is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from statistics import median
from typing import Any

import gevent
import redis

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import Client, LinkError, in_parallel, link
from keydb_runbooks.connectors.quiet import get_quietly
from keydb_runbooks.facts.machine import MachineState
from keydb_runbooks.runbooks.condition import SETTINGS, Condition, Machine, has_client_descriptor, with_settings
from keydb_runbooks.runbooks.replication import InfoError, Node, node_from_info
from keydb_runbooks.runbooks.steps import Command

QUESTIONS: tuple[Command, ...] = (*(("CONFIG", "GET", name) for name in SETTINGS), ("CLIENT", "LIST"))
"""What is asked of a server besides INFO, each in a command of its own."""

PINGS = 3
SECOND_LOOK_SECONDS = 0.25


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
    client.ping()
    return time.perf_counter() - before


def read_condition(condition: Condition, answers: Sequence[Any]) -> Condition:
    """Add the answers to ``QUESTIONS``; one that is an error or None leaves what it would tell unknown."""
    *settings, clients = answers
    pairs = [answer for answer in settings if isinstance(answer, list) and len(answer) == 2]
    known = with_settings(condition, {str(name): str(value) for name, value in pairs})
    return replace(known, client_descriptor=has_client_descriptor(clients) if isinstance(clients, str) else None)


def read_machine(entry: NodeEntry) -> Machine | None:
    """Ask the node's own machine; None if it can't be asked or says nothing in time."""
    if not entry.host.connected:
        return None
    with gevent.Timeout(entry.data("keydb_command_timeout"), False):
        state = get_quietly(
            entry.host,
            MachineState,
            pid_file=entry.data("keydb_pid_file"),
            directory=entry.data("keydb_data_directory"),
        )
        return None if state is None else Machine(**state)
    return None


def look_again(group: Group, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Tell of each replica of the one primary what it lacks of what that had when it was read.

    Nodes are read at the same time, not at one moment: under writes a replica in order seems to be behind, and has it a
    moment later.
    """
    primaries = [node for node in nodes if node.is_primary]
    if len(primaries) != 1:
        return nodes
    return tuple(in_parallel(lambda node: _behind(group, node, primaries[0]), nodes))


def _behind(group: Group, node: Node, primary: Node) -> Node:
    if not node.follows(primary) or node.replication_id != primary.replication_id:
        return node
    offset = node.offset
    if offset < primary.offset:
        with suppress(LinkError, InfoError, redis.RedisError, OSError):
            offset = _later_offset(group.node(node.name), primary.offset)
    return replace(node, condition=replace(node.condition, behind_bytes=max(primary.offset - offset, 0)))


def _later_offset(entry: NodeEntry, wanted: int) -> int:
    client, deadline = link(entry), time.monotonic() + SECOND_LOOK_SECONDS
    try:
        while True:
            offset = node_from_info(entry.name, entry.address, client.execute_command("INFO")).offset
            if offset >= wanted or time.monotonic() > deadline:
                return offset
            time.sleep(0.01)
    finally:
        client.close()

"""A node that joins a group, or leaves it: what add-node and remove-node ask first, and the part that is a plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from functools import partial

from pyinfra import host
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.facts.data import DataFiles
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import asked, keydb, pod_objects, runbook, scope, together
from keydb_runbooks.operations.pod_objects import are_pods, is_pod, runs
from keydb_runbooks.operations.service import has_systemd
from keydb_runbooks.runbooks import add_node, remove_node
from keydb_runbooks.runbooks.add_node import Joining, Place
from keydb_runbooks.runbooks.configuration import in_bytes
from keydb_runbooks.runbooks.plan import Answer, NothingToDo, Refusal
from keydb_runbooks.runbooks.remove_node import Leaving
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.values import changed

Commands = Generator[PyinfraCommand, None, None]

SETTLE_SECONDS = 5.0
"""For how long a new node's boot guard may take to decide, and a proxy's old process to go on answering."""

POLL_SECONDS = 0.1


def joining(target: Host, group: Group) -> Joining:
    """The node that joins, as ``node`` names it.

    :raises SystemExit: after a refusal was printed
    """
    request = asked.request_for(target, group, "add-node", "node")
    return together.decided(
        target, group, lambda: add_node.welcome(_seen(group, request.node), request, _place(group, request.node))
    )


def _seen(group: Group, name: str | None) -> Topology:
    """The group, in which a pod that its StatefulSet has yet to make is known not to run."""
    topology = observe(group)
    unread = tuple(
        changed(one, code="refused", stopped=True) if one.name == name and pod_objects.is_new(group.node(name)) else one
        for one in topology.unread
    )
    return changed(topology, unread=unread)


def leaving(target: Host, group: Group) -> Leaving:
    """The node that leaves, as ``node`` names it.

    :raises SystemExit: after a refusal was printed
    """
    request = asked.request_for(target, group, "remove-node", "node")
    names = [one.name for one in group.nodes]

    def decide() -> Leaving | Refusal:
        refusal = remove_node.refuse_number(group.name, request.node, names) if are_pods(group) else None
        return refusal or remove_node.farewell(observe(group), request, _min_replicas(group))

    return together.decided(target, group, decide)


@operation()
def join(group: Group) -> Commands:
    """Let the node that joins follow the primary, and wait until it has all that the primary has.

    + group: the nodes and proxies, see ``connectors.group``
    """
    request = asked.request_for(host, group, "add-node", "node")
    entry = group.node(str(request.node))
    yield from _carried_out(group, lambda seen: add_node.plan(seen, request), partial(_has_decided, entry))


@operation()
def leave(group: Group) -> Commands:
    """Let clients go from the node that leaves, and end its server.

    + group: the nodes and proxies, see ``connectors.group``
    """
    request, needed = asked.request_for(host, group, "remove-node", "node"), _min_replicas(group)
    decide = partial(remove_node.plan, request=request, min_replicas=needed)
    yield from _carried_out(group, decide, lambda: not _is_led(decide(observe(group))))


def _carried_out(group: Group, decide: Callable[[Topology], Answer], settled: Callable[[], bool]) -> Commands:
    """By one host; to the others it is what they wait for."""
    if not scope.conducts(host, group):
        return
    answer = decide(observe(group))
    if isinstance(answer, NothingToDo):
        if host.state.is_executing:
            together.note(host.state, host, group)
        host.noop(str(answer))
        return
    yield FunctionCommand(_settle, (settled,), {})
    yield from runbook.run._inner(group, decide)
    yield FunctionCommand(together.note, (group,), {})


def _settle(state: State, host: Host, settled: Callable[[], bool]) -> bool:
    """Wait for what ends by itself in a moment; if it doesn't, what is decided then says so."""
    end = time.monotonic() + SETTLE_SECONDS
    while not settled() and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return True


def _has_decided(entry: NodeEntry) -> bool:
    """Whether a node has read its data, and its boot guard has let it follow; where none runs nobody waits for it."""
    try:
        node = keydb.read_role(entry)
    except OperationError:
        return False
    return not node.loading and not (node.guarded and (has_systemd(entry.host) or is_pod(entry)))


def _is_led(answer: Answer) -> bool:
    return isinstance(answer, Refusal) and answer.code == "proxy-leads"


def _place(group: Group, name: str | None) -> Place:
    entry = next((node for node in group.nodes if node.name == name), None)
    if entry is None:
        return Place(0, None, aof=False)
    limit = in_bytes(str(entry.data("keydb_maxmemory")))
    if is_pod(entry) and not runs(entry.host):
        # What a volume holds that it had before is seen when it runs, guarded.
        return Place(limit if isinstance(limit, int) else 0, (), aof=entry.data("keydb_persistence") == "aof")
    there = entry.host.connected
    data = entry.host.get_fact(DataFiles, path=entry.data("keydb_data_directory")) if there else None
    files = None if data is None else tuple(data)
    return Place(limit if isinstance(limit, int) else 0, files, aof=entry.data("keydb_persistence") == "aof")


def _min_replicas(group: Group) -> int:
    return int(group.nodes[0].data("keydb_min_replicas_to_write"))

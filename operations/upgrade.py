"""What an upgrade asks of each node before it decides: which program is there, and what it can read."""

from __future__ import annotations

from collections.abc import Callable

from pyinfra.api.exceptions import OperationError

from keydb_runbooks.connectors.ahead import get_quietly
from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import in_parallel
from keydb_runbooks.facts.program import ServerProgram
from keydb_runbooks.operations import pods_restart, programs
from keydb_runbooks.operations.pod_objects import are_pods
from keydb_runbooks.runbooks import upgrade
from keydb_runbooks.runbooks.plan import Answer, Request
from keydb_runbooks.runbooks.topology import Topology


def asked(group: Group) -> Callable[[Topology, Request, int], Answer]:
    """The verb for the programs that the nodes of a group have now."""
    if are_pods(group):
        try:
            return upgrade.of_pods(pods_restart.outdated(group))
        except ClusterError as error:
            return upgrade.of_pods(frozenset(), unread=error.detail)
    found = in_parallel(_program, group.nodes)
    return upgrade.planned({node.name: program for node, program in zip(group.nodes, found, strict=True)})


def _program(node: NodeEntry) -> upgrade.Program:
    if not node.host.connected:
        return upgrade.Program(f"{node.name}'s program")
    try:
        path = programs.server(node)
    except OperationError:
        return upgrade.Program(f"{node.data('keydb_engine')}-server, which is not on PATH,")
    told = get_quietly(node.host, ServerProgram, program=path, pid_file=node.data("keydb_pid_file"))
    return upgrade.Program(path, **told) if told else upgrade.Program(path)

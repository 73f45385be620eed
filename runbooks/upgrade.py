"""Upgrade: every node runs the program that is on its disk, one after the other, and no write waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from keydb_runbooks.runbooks.plan import Answer, Refusal, Request
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.rolling import ENGINES, Wish, roll, runs
from keydb_runbooks.runbooks.steps_restart import UseProgram
from keydb_runbooks.runbooks.topology import Topology

NAME_LENGTH = 15
"""So much of a program's name Linux keeps as its process's."""


@dataclass(frozen=True)
class Program:
    """A node's program as it is on its disk, asked by running it aside from the server.

    ``path`` is where it is. ``format`` is the version of the RDB files that it writes, ``running_format`` that of the
    process that runs. None is unknown.
    """

    path: str
    engine: str | None = None
    version: str | None = None
    format: int | None = None
    running_format: int | None = None


def planned(programs: Mapping[str, Program]) -> Callable[[Topology, Request, int], Answer]:
    """The verb for these programs, by node name."""

    def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
        """Decide who is restarted with another program and when.

        :param min_replicas: ``min-replicas-to-write`` that a new primary has after its promotion
        """
        refusals = (_refuse(node, programs[node.name], request) for node in topology.nodes)
        refusal = next(filter(None, refusals), None) or _refuse_several(topology, programs)
        return refusal or roll(_wish(programs), topology, request, min_replicas)

    return plan


def of_pods(outdated: frozenset[str], unread: str = "") -> Callable[[Topology, Request, int], Answer]:
    """The verb for pods: Kubernetes knows which of them run as they were installed before.

    What a new image's program reads can't be asked before a pod runs it: the first replica shows it, and if that one
    doesn't come back in sync, nobody else is touched.

    :param outdated: names of the nodes that do
    :param unread: why that can't be told, "" if it can
    """

    def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
        """Decide which pods are replaced and when.

        :param min_replicas: ``min-replicas-to-write`` that a new primary has after its promotion
        """

        if unread:
            hint = "get the right to read pods and statefulsets (docs/kubernetes.md, Rights); or run restart"
            return Refusal("pods-unread", topology.group, unread, hint)

        def due(node: Node) -> bool:
            return node.name in outdated if request.processes is None else node.run_id in request.processes

        told = "as it was installed before"
        wish = Wish("upgrade", due, lambda node: f"{runs(node)} {told}", "runs as it was installed last")
        return roll(wish, topology, request, min_replicas)

    return plan


def _wish(programs: Mapping[str, Program]) -> Wish:
    return Wish(
        "upgrade",
        due=lambda node: node.version != programs[node.name].version,
        told=lambda node: f"{runs(node)} -> {programs[node.name].version}",
        done="runs what its program is",
        version=lambda node: programs[node.name].version,
        prepare=lambda node: (UseProgram(node.name, programs[node.name].path),),
    )


def _refuse(node: Node, program: Program, request: Request) -> Refusal | None:
    """Why a node can't be started with its program."""
    if program.engine is None or program.version is None:
        told = f"its program {program.path} does not say its version"
        return Refusal("program-unknown", node.name, told, "is it there, and may it be executed? See keydb_server")
    if not any(engine in program.path.rpartition("/")[2][:NAME_LENGTH] for engine in ENGINES):
        told = f"its program {program.path} has a name by which nobody would know its process as a server's"
        return Refusal("program-unknown", node.name, told, f"let its name begin with {program.engine}-server")
    if program.engine != node.engine:
        told = f"runs {runs(node)}, and {program.path} is {ENGINES[program.engine]} {program.version}"
        return Refusal("other-engine", node.name, told, "name a program of its engine by keydb_server")
    if program.version == node.version or "older-format" in request.accept:
        return None
    if program.format is None or program.running_format is None:
        told = (
            f"whether {program.version} reads what {node.version} writes is unknown: the one or the other did not tell"
        )
        return Refusal("format-unknown", node.name, told, "try the program there, or accept=older-format")
    if program.format < program.running_format:
        told = f"writes RDB version {program.running_format}, and {program.version} reads {program.format} at most"
        hint = "it would neither load its file nor a full resync; accept=older-format if you know better"
        return Refusal("older-format", node.name, told, hint)
    return None


def _refuse_several(topology: Topology, programs: Mapping[str, Program]) -> Refusal | None:
    """A primary that is newer than its replicas may write what they can't read."""
    versions = {programs[node.name].version: node.name for node in topology.nodes}
    if len(versions) < 2:
        return None
    told = " and ".join(f"{version} on {name}" for version, name in versions.items())
    return Refusal("several-versions", topology.group, f"the programs are {told}", "give all nodes the same one")

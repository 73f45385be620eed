"""What a rolling run stays with: the processes that it set out to replace, and the next primary that it chose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import in_parallel
from keydb_runbooks.facts.unit import State, Unit
from keydb_runbooks.operations import options, service
from keydb_runbooks.runbooks.plan import Answer, Plan, Refusal, Request, Since
from keydb_runbooks.runbooks.restart import INEXACT_SECONDS
from keydb_runbooks.runbooks.steps_restart import Restart, RestartAlone
from keydb_runbooks.runbooks.topology import Topology

Verb = Callable[[Topology, Request, int], Answer]


def staying(plan: Verb) -> Verb:
    """A verb that looks again and again, and means what its first plan meant, however ages and candidates change.

    Without ``since=`` it is all that runs at the first look.
    """
    meant: list[Request] = []

    def decide(topology: Topology, request: Request, min_replicas: int) -> Answer:
        request = meant[0] if meant else replace(request, since=request.since or _behind_all(topology))
        answer = plan(topology, request, min_replicas)
        if isinstance(answer, Plan) and not meant:
            processes = frozenset(step.run_id for step in answer.steps if isinstance(step, Restart | RestartAlone))
            meant.append(replace(request, to=answer.primary, processes=processes))
        return answer

    return decide


def startable(group: Group, plan: Verb) -> Verb:
    """A verb that is refused where nothing here could end a server and start another one."""
    refusals = filter(None, in_parallel(_refuse_node, group.nodes))
    refusal = next(refusals, None)
    return plan if refusal is None else lambda *_: refusal


def _refuse_node(node: NodeEntry) -> Refusal | None:
    if not node.host.connected or not service.has_systemd(node.host):
        return None
    unit = service.server_unit(node)
    return refuse_start(node.name, unit, node.host.get_fact(Unit, unit=unit))


def refuse_start(name: str, unit: str, state: State | None) -> Refusal | None:
    """Why a machine's server can't be restarted, by what its systemd says of the unit; None if it can."""
    if state is None or not state["systemd"]:
        hint = "do it as it is done there, replicas first, and switchover before the primary's turn"
        return Refusal("no-systemd", name, "no systemd there starts servers, and nothing else is known here to", hint)
    if not state["root"]:
        return Refusal("no-root", name, "only root can restart a unit", "set _sudo = True in the inventory's data")
    if not state["file"]:
        told = f"there is no {unit}: something else started the server that runs"
        return Refusal("no-unit", name, told, "run install, or restart it by what started it")
    return None


def _behind_all(topology: Topology) -> Since:
    """The earliest moment before which everybody began: by it another run knows best whom this one restarted."""
    began = [node.condition.began_seconds for node in topology.nodes]
    known = [seconds for seconds in began if seconds is not None]
    seconds = max(known) + 2 * INEXACT_SECONDS if len(known) == len(began) and known else time.time()
    return Since(float(math.ceil(seconds)), options.written(math.ceil(seconds)))

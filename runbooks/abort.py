"""Abort: the way back from a run that died before its promotion; and the verb for a pause that was left behind.

Before the promotion a switchover has changed nothing but the pause, so ending that undoes it. Afterwards the way back
is closed: clients may have written to the new primary.
"""

from __future__ import annotations

from dataclasses import replace

from keydb_runbooks.runbooks.attach import release, strays, verify
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import (
    refuse_empty,
    refuse_loading,
    refuse_mode,
    refuse_nobody,
    refuse_older,
    refuse_rivals,
)
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.superseded import lost_silently, refuse_superseded, reinstate
from keydb_runbooks.runbooks.topology import Topology


def plan(topology: Topology, request: Request, min_replicas: int) -> Answer:
    """Decide how everybody goes on as before a run that died.

    That no run is alive is proved by its lock, which this verb takes before it acts.

    :param min_replicas: ``min-replicas-to-write`` of the primary
    """
    refusal = refuse_mode(topology) or refuse_nobody(topology) or refuse_rivals(topology)
    if refusal is not None:
        return refusal
    primary = topology.rightful_primary()
    if primary is None:
        return Refusal("no-primary", topology.group, "there is no primary to go back to", "run failover")
    if refusal := refuse_loading(primary) or _refuse_promoted(topology, primary) or refuse_empty(topology, primary):
        return refusal
    # Unknown is taken for a pause: to end one that isn't there harms nobody.
    held = tuple(node for node in topology.nodes if node.paused or (node is primary and node.paused is None))
    away = strays(topology, primary)
    if not held and away:
        names = " and ".join(node.name for node in away)
        told = f"nobody holds writes back, but {names} does not follow {primary.name}: there is nothing to undo"
        return Refusal("nothing-to-undo", topology.group, told, "run rejoin")
    if not held:
        told = f"nobody holds writes back, and everybody who answers follows {primary.name}"
        return NothingToDo("nothing-to-undo", topology.group, told)
    refusal = refuse_superseded(topology, primary, request) or refuse_older(topology, primary)
    if refusal is not None and primary in held:
        return refusal
    return _plan(topology, primary, held, away, min_replicas)


def _refuse_promoted(topology: Topology, primary: Node) -> Refusal | None:
    """The run that died had promoted somebody."""
    for node in topology.primaries:
        if node is not primary:
            told = f"was promoted after {node.name}, and may have taken writes: the way back is closed"
            hint = f"run rejoin to finish; then switchover to={node.name} if you want it back"
            return Refusal("promoted", primary.name, told, hint)
    return None


def _plan(topology: Topology, primary: Node, held: tuple[Node, ...], away: tuple[Node, ...], min_replicas: int) -> Plan:
    ends = reinstate(topology, primary, min_replicas) if primary in held else ()
    others = release(node for node in held if node is not primary)
    proxies = tuple(proxy for proxy in topology.proxies if proxy.writes_go_to == (primary.name,))
    services = tuple(service for service in topology.services if service.writes_go_to == (primary.name,))
    return Plan(
        verb="abort",
        group=topology.group,
        primary=primary.name,
        former=primary.name,
        steps=(*ends, *others, *verify(replace(topology, proxies=proxies, services=services), primary, ())),
        loss=lost_silently(ends) or Loss(0, "no role moves; what waits is executed now"),
        proof=f"{primary.name} is the only primary",
        gap="it ends with the first step",
        warnings=tuple(f"{node.name} does not follow {primary.name}: run rejoin" for node in away),
    )

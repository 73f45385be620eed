"""What a plan costs: how long writers wait, how many writes may be lost, and what full resyncs need.

Each figure has its source, or is unknown; the formulas are docs/checks.md, "Costs".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps import CatchUp, Follow, Pause, Promote, Route, SaveConfiguration, Step
from keydb_runbooks.runbooks.steps_clients import EndStragglers
from keydb_runbooks.runbooks.steps_service import MoveService
from keydb_runbooks.runbooks.topology import Topology

TRIPS: Mapping[str, int] = {"Promote": 2, "RecordLineage": 2}
"""Round trips of a step to its own node, where it isn't one: as ``operations/perform.py`` sends them."""

END_SECONDS = 0.05
"""What the rules on a node's machine take to follow a Service that moved (kubernetes-facts, "Moving the write Service";
28 to 54 ms). Whoever comes back before is ended once more."""

SAVE_SECONDS = 0.004
"""What writing a configuration file takes, about (docs/checks.md, "Costs": measured)."""


@dataclass(frozen=True)
class Gap:
    """For how long writers wait: ``seconds``, None if a round trip is unknown, and what that is made of."""

    seconds: float | None
    trips: int
    saves: int

    def __str__(self) -> str:
        made_of = f"{self.trips} round trips and {self.saves} configuration files to save"
        if self.seconds is None:
            return f"unknown ({made_of}; not every round trip was measured)"
        return f"about {self.seconds * 1000:.0f} ms ({made_of}, by the round trips measured just now)"


def predict_gap(steps: tuple[Step, ...], topology: Topology) -> Gap:
    """Add up the round trips of all steps that clients wait for.

    They wait from the first pause on, or, where nothing is held back, from the first step; and up to the last route, or
    without a proxy up to the promotion.
    """
    moved = [
        number for number, step in enumerate(steps) if isinstance(step, Route | Promote | MoveService | EndStragglers)
    ]
    begin = next((number for number, step in enumerate(steps) if isinstance(step, Pause)), 0)
    waited = steps[begin : moved[-1] + 1] if moved else ()
    measured = {node.name: node.round_trip_seconds for node in topology.nodes}
    measured.update({front.name: front.round_trip_seconds for front in topology.fronts})
    trips = [trip for step in waited for trip in _trips(step)]
    saves = sum(isinstance(step, SaveConfiguration | Follow) for step in waited)
    known = [seconds for name in trips if (seconds := measured.get(name)) is not None]
    if len(known) < len(trips):
        return Gap(None, len(trips), saves)
    ends = END_SECONDS if any(isinstance(step, EndStragglers) for step in waited) else 0.0
    return Gap(sum(known) + saves * SAVE_SECONDS + ends, len(trips), saves)


def _trips(step: Step) -> list[str]:
    """Whom a step talks to, once for each round trip; where nobody waits for anything, a catch-up looks once."""
    if isinstance(step, CatchUp):
        return [step.source, step.where]
    if isinstance(step, Route | MoveService):
        # First it is seen that the primary still is one.
        return [step.primary, step.where]
    return [step.where] * TRIPS.get(step.code, 1)


def writes_in(count: int, node: Node) -> int | None:
    """About how many writes some bytes of the stream are, by what a node received and executed in the last second."""
    per_write = _bytes_per_write(node)
    return None if per_write is None else max(round(count / per_write), 1)


def _bytes_per_write(node: Node) -> float | None:
    received, executed = node.condition.input_bytes_per_second, node.condition.commands_per_second
    return received / executed if received and executed else None


def rate_of_stream(node: Node) -> str:
    """What a second of the missing stream would be, where a server counts that alone (Redis 7, Valkey); "" elsewhere.

    Its other rates count health checks and our own questions too, of which a group without a primary has nothing else.
    """
    received = node.condition.stream_bytes_per_second
    return f"; {node.name} last got {received:,} bytes of the stream a second" if received else ""


def resyncs(topology: Topology, source: Node, nodes: Iterable[Node], catching_up: frozenset[str]) -> tuple[str, ...]:
    """What each full resync from ``source`` needs, a sentence each.

    :param catching_up: names of those that are in the same stream as the source now, and will be when it is promoted
    """
    needing = [node for node in nodes if not _partial(topology, node, source, catching_up)]
    return tuple(f"full resync of {node.name} from {source.name}: {full_resync(node, source)}" for node in needing)


def _partial(topology: Topology, node: Node, source: Node, catching_up: frozenset[str]) -> bool:
    if node.name in catching_up and node.replication_id == source.replication_id:
        return source.backlog_first is not None and source.backlog_first <= node.offset + 1
    return topology.relation(node, source).partial


def full_resync(node: Node, source: Node) -> str:
    """What a full resync of a node needs.

    Memory: a fork that every page is written to in doubles it. Disk: an RDB is no larger than the data in memory.
    """
    data, seconds = source.condition.dataset_bytes, source.condition.save_seconds
    if data is None:
        return "time, memory and disk are unknown (it did not tell how much data it has)"
    if seconds is None:
        time = "time unknown (it never saved or sent its data)"
    elif seconds == 0:
        time = "under 1 s (as its last save or sync took)"
    else:
        time = f"about {seconds} s at {data // seconds:,} bytes/s (its last save or sync)"
    memory = f"up to {source.memory_used:,} bytes of memory on {source.name} while it forks"
    return f"{data:,} bytes; {time}; {memory}; {_disk(node, source, data)}"


def _disk(node: Node, source: Node, data: int) -> str:
    writing = [
        one.name
        for one, diskless in ((source, source.condition.diskless_sync), (node, node.condition.diskless_load))
        if not diskless
    ]
    return f"up to {data:,} bytes of disk on {' and '.join(writing)}" if writing else "no disk"

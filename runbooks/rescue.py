"""What only one node holds, before it is thrown away: who is concerned, what is done first, and whether there is room.

Only ``rejoin`` throws anything away, since saving takes as long as it takes. The verbs that clients wait for leave such
a node guarded instead (docs/rejoin.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keydb_runbooks.runbooks.lineage import may_hold_until
from keydb_runbooks.runbooks.plan import Plan, Refusal, Request
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps import Follow, Guard, Step, Unpause
from keydb_runbooks.runbooks.steps_save import Compare, SaveData, SaveIfMore
from keydb_runbooks.runbooks.topology import Topology


@dataclass(frozen=True)
class Room:
    """Bytes that saving a node's data needs at most, and bytes that are free where they would be saved.

    None is unknown.
    """

    needed: int | None
    free: int | None

    @property
    def lacking(self) -> bool:
        """Whether it is known to be too small."""
        return self.needed is not None and self.free is not None and self.free < self.needed


def sole_holders(topology: Topology, nodes: Iterable[Node], primary: Node) -> tuple[Node, ...]:
    """The nodes that hold, or may hold, writes that the primary lacks."""
    return tuple(node for node in nodes if not topology.relation(node, primary).harmless)


def settle(nodes: Iterable[Node], held: tuple[Node, ...], primary: Node) -> tuple[Step, ...]:
    """Steps by which each node follows the primary, and those that hold something alone take no more writes.

    A node that went on taking writes would hold more than was saved of it.
    """
    steps: list[Step] = []
    for node in nodes:
        if node not in held:
            steps.append(Follow(node.name, primary.name, primary.address))
        elif not node.guarded or node.read_only is False:
            steps.append(Guard(node.name))
    return tuple(steps)


def step_down(node: Node, primary: Node, request: Request) -> tuple[Step, ...]:
    """Steps by which a node that is guarded by now follows, and what it got behind the look at it is saved.

    Its pause ends behind that: a run that dies before finds the node as this one did.
    """
    until = may_hold_until(node, primary)
    ends = (Unpause(node.name),) if node.paused else ()
    follow = Follow(node.name, primary.name, primary.address)
    return (SaveIfMore(node.name, request.save, request.save_to, until), follow, *ends)


def rescue(held: tuple[Node, ...], primary: Node, request: Request) -> tuple[Step, ...]:
    """Steps that keep what only these nodes hold, and tell what it is, as far as it was asked for."""
    steps: list[Step] = []
    for node in held:
        if request.save != "no":
            steps.append(SaveData(node.name, request.save, request.save_to))
        if request.compare:
            steps.append(Compare(node.name, primary.name, request.listed))
    return tuple(steps)


def warnings(topology: Topology, held: tuple[Node, ...], primary: Node, request: Request) -> tuple[str, ...]:
    """What a person should know before the data of these nodes are thrown away, a sentence each."""
    kept = {
        "node": "they are saved on the node first",
        "fetch": f"they are saved into {request.save_to} of this machine first",
        "no": "nothing of them is saved (save=no)",
    }[request.save]
    return tuple(
        f"the data of {node.name} are replaced, {_what(topology, node, primary)}; "
        f"{node.keys:,} keys are there and {primary.keys:,} on {primary.name}; {kept}"
        for node in held
    )


def left_out(held: tuple[Node, ...]) -> tuple[str, ...]:
    """What becomes of these nodes in a verb that throws nothing away, a sentence each."""
    return tuple(
        f"{node.name} is left out, and takes no writes: it holds some that only it has; "
        f"rejoin accept_loss={node.name} saves and attaches it"
        for node in held
    )


def refuse_room(plan: Plan, rooms: Mapping[str, Room]) -> Refusal | None:
    """A node whose data don't fit to where they shall be saved; what is not known is looked at by the step itself."""
    for step in plan.steps:
        room = rooms.get(step.where)
        if isinstance(step, SaveData) and room is not None and room.lacking:
            place = f"{step.directory} of this machine" if step.to == "fetch" else "its data directory"
            told = f"saving its data needs up to {room.needed:,} bytes, and {place} has {room.free:,}"
            hint = "make room there; or save=no, and what only it holds is gone"
            return Refusal("no-room", step.where, told, hint)
    return None


def file_name(node: str, time: str, replication_id: str, offset: int) -> str:
    """The name of a saved file, without its ending: what it is of, when, and which state of which stream.

    >>> file_name("keydb-1", "20260102T030405Z", "8ac1", 1042)
    'keydb-1-20260102T030405Z-8ac1-1042'
    """
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', node).lstrip('.')}-{time}-{replication_id}-{offset}"


def _what(topology: Topology, node: Node, primary: Node) -> str:
    lost = topology.relation(node, primary).lost_bytes
    if lost is None:
        return f"which share no known history with {primary.name}'s"
    return f"{lost:,} bytes of which {primary.name} never had"

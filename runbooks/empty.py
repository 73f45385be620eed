"""A primary that came up without its data while others still hold theirs: it is nobody's source, and gives up its role.

Nothing can be lost with it, if it still holds nothing once its clients have to wait. Everything else can be lost by
one replica that reaches it: both replicas of a restarted empty primary were empty after 0.12 s (keydb-facts, "Empty
primary"). So whoever would follow it is sent nowhere first, and only then looked at once more.
"""

from __future__ import annotations

from keydb_runbooks.runbooks.attach import release, routes, verify
from keydb_runbooks.runbooks.cost import resyncs
from keydb_runbooks.runbooks.leading import end_latecomers, end_stragglers, lead, left_by
from keydb_runbooks.runbooks.lineage import Kinship
from keydb_runbooks.runbooks.plan import Loss, Plan, Refusal
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.rescue import left_out, settle, sole_holders
from keydb_runbooks.runbooks.steps import (
    ENDLESS_PAUSE_MILLISECONDS,
    Guard,
    Pause,
    Promote,
    RecordLineage,
    SaveConfiguration,
    Unpause,
)
from keydb_runbooks.runbooks.steps_save import StillHolds
from keydb_runbooks.runbooks.topology import Topology


def lost_its_data(topology: Topology, primary: Node) -> bool:
    """Whether a primary holds nothing and somebody else holds something."""
    return primary.empty and any(not node.empty for node in topology.nodes)


def refuse_emptied(topology: Topology, primary: Node) -> Refusal | None:
    """A primary whose stream goes on was emptied by a command, perhaps on purpose: no verb may bring the keys back."""
    for node in topology.nodes:
        if not node.empty and topology.relation(node, primary).kinship is not Kinship.UNRELATED:
            told = (
                f"holds no keys, but knows the history of {node.name}, which holds {node.keys:,}: a command emptied it"
            )
            hint = f"if that was a mistake, stop it, then run failover; if not, empty {node.name} as well"
            return Refusal("emptied-primary", primary.name, told, hint)
    return None


def replace_empty(topology: Topology, primary: Node, candidate: Node, min_replicas: int, proof: str) -> Plan:
    """The plan by which ``candidate`` takes the role, and the empty primary follows it.

    :param proof: why no other node acknowledges writes
    """
    others = tuple(node for node in topology.nodes if node not in (primary, candidate))
    ordered = (*sorted((node for node in others if not node.loading), key=lambda node: node.name), primary)
    endangered = tuple(node for node in (candidate, *ordered) if node.follows(primary) and not node.empty)
    held = sole_holders(topology, ordered[:-1], candidate)
    joining = tuple(node.name for node in ordered if node not in held)
    former = left_by(topology, (primary,))
    return Plan(
        verb="failover",
        group=topology.group,
        primary=candidate.name,
        former=primary.name,
        steps=(
            *release((candidate, *others)),
            Pause(primary.name, ENDLESS_PAUSE_MILLISECONDS),
            StillHolds(primary.name, primary.run_id, keys=False),
            *(Guard(node.name) for node in endangered),
            StillHolds(candidate.name, candidate.run_id, keys=True),
            Promote(candidate.name, topology.highest_epoch() + 1, min_replicas),
            *lead(topology, candidate),
            RecordLineage(candidate.name, min_replicas),
            SaveConfiguration(candidate.name),
            *settle(ordered, held, candidate),
            *routes(topology, candidate),
            *end_stragglers(topology, former, candidate),
            Unpause(primary.name),
            *verify(topology, candidate, joining),
            *end_latecomers(topology, former, candidate),
        ),
        loss=Loss(None, f"what {primary.name} acknowledged last before it lost its data can't be counted"),
        proof=f"{primary.name} holds no keys, and holds writes back until it is a replica; {proof}",
        gap="since the primary lost its data; it ends when the routes have moved",
        undo=(Unpause(primary.name),),
        warnings=left_out(held),
        needs=resyncs(topology, candidate, tuple(node for node in ordered if node not in held), frozenset()),
    )

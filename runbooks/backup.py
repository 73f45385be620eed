"""Backup: whose data are saved, where to, and which older backups go; no server and no role is touched."""

from __future__ import annotations

from keydb_runbooks.runbooks.kinds import kind_of
from keydb_runbooks.runbooks.plan import Answer, Loss, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import in_sync, refuse_loading, refuse_nobody
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.rescue import Room
from keydb_runbooks.runbooks.shelf import Backup, Shelf, expired
from keydb_runbooks.runbooks.steps_backup import HERE, BringBackup, ExpireBackups, MakeBackup
from keydb_runbooks.runbooks.topology import Topology

FAR_BEHIND_BYTES = 16 * 1024**2
"""A replica that lacks more than this is saved only if all do."""


def plan(topology: Topology, request: Request, _min_replicas: int, shelf: Shelf) -> Answer:
    """Decide which node is saved. Who is silent needn't be asked: nothing is changed.

    :param shelf: the directory that gets the backup
    """
    node = _chosen(topology, request)
    if isinstance(node, Refusal):
        return node
    primary = topology.rightful_primary()
    name = None if primary is None else primary.name
    # The new one counts as well when it is there.
    gone = expired((*shelf.backups, Backup("", 0.0)), request.keep, request.keep_days)
    expected = (*shelf.interrupted, *(backup.name for backup in gone))
    return Plan(
        verb="backup",
        group=topology.group,
        primary=name,
        former=name,
        steps=(
            MakeBackup(node.name, node.engine, node.run_id),
            BringBackup(node.name, shelf.directory),
            ExpireBackups(HERE, shelf.directory, request.keep, request.keep_days, expected),
        ),
        loss=Loss(0, "nothing is changed"),
        proof="it makes no node a primary",
        gap="none: clients are not held back",
        warnings=_warnings(topology, node, primary),
        node=node.name,
        outcome=f"{shelf.directory} has a backup of {node.name}",
        locks=False,
    )


def refuse_room(plan: Plan, directory: str, room: Room) -> Refusal | None:
    """A backup that is known not to fit; what is not known is found out by the save itself, which harms nobody."""
    if not room.lacking:
        return None
    told = f"a backup needs up to {room.needed:,} bytes on its disk and in {directory}, and {room.free:,} are free"
    return Refusal("no-room", plan.about, told, "make room there, or name another directory by save_to=")


def _chosen(topology: Topology, request: Request) -> Node | Refusal:
    if refusal := refuse_nobody(topology):
        return refusal
    node = _named(topology, request.node) if request.node is not None else _best(topology)
    if isinstance(node, Refusal):
        return node
    if kind := kind_of(node):
        return Refusal(kind.code, node.name, kind.sentence, kind.hint)
    return refuse_loading(node) or node


def _named(topology: Topology, name: str) -> Node | Refusal:
    if name not in topology.names:
        allowed = ", ".join(topology.names)
        return Refusal("unknown-node", name, f"is no node of {topology.group}", f"allowed are {allowed}")
    silent = next((one for one in topology.unread if one.name == name), None)
    if silent is not None:
        return Refusal("node-unread", name, silent.detail, "mend that, or name another node")
    node = topology.node(name)
    assert node is not None
    return node


def _best(topology: Topology) -> Node | Refusal:
    """A replica that is in sync; the primary itself only in a group of one.

    The choice must not differ between two looks, so bytes that are on their way don't count. Who is meant to become the
    primary last, or never (``replica-priority`` 0), is the one that clients miss least while it forks.
    """
    primary = topology.rightful_primary()
    if primary is not None and topology.names == (primary.name,):
        return primary
    if primary is not None:
        follow = [node for node in topology.nodes if in_sync(node, primary) and not node.loading]
        if follow:
            return min(follow, key=lambda node: (primary.offset - node.offset > FAR_BEHIND_BYTES, *_rank(node)))
    told = "no replica is in sync with a primary, so none is known to have everything"
    return Refusal("no-replica-in-sync", topology.group, told, f"node=NAME saves one all the same: {_states(topology)}")


def _rank(node: Node) -> tuple[bool, int, str]:
    return node.priority != 0, -node.priority, node.name


def _states(topology: Topology) -> str:
    return ", ".join(f"{node.name} ({node.keys:,} keys)" for node in topology.nodes)


def _warnings(topology: Topology, node: Node, primary: Node | None) -> tuple[str, ...]:
    if node is primary:
        why = "it is the only node" if len(topology.names) == 1 else "you named it"
        return (f"{node.name} is the primary, and is saved since {why}: it forks while clients write",)
    if primary is None:
        return (f"no node is known to be the primary, so {node.name} may lack what others have",)
    if not in_sync(node, primary):
        return (f"{node.name} is not in sync with {primary.name}: its data are older, or others",)
    return ()

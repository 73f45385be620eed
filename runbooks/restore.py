"""Restore: the data of a backup take the place of a group's, on one node first, and nothing is destroyed silently.

A replica takes them over while the primary goes on. Only when all of them are loaded and counted the primary is paused
and the replica promoted; then the others follow, one full resync at a time, the old primary last and only after all
that it held was saved beside its data (docs/restore.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from keydb_runbooks.runbooks.anew import formers
from keydb_runbooks.runbooks.attach import finish, release, routes, verify
from keydb_runbooks.runbooks.leading import end_latecomers, end_stragglers, label, lead, left_by
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import (
    in_sync,
    refuse_loading,
    refuse_mode,
    refuse_nobody,
    refuse_rivals,
    refuse_target,
    refuse_unknown,
    refuse_unread_proxies,
)
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.silence import Proof, prove_silence, refuse_followed, refuse_split
from keydb_runbooks.runbooks.steps import (
    ENDLESS_PAUSE_MILLISECONDS,
    STALLED_SECONDS,
    Follow,
    Guard,
    InSync,
    Pause,
    RecordLineage,
    SaveConfiguration,
    Step,
    Unpause,
)
from keydb_runbooks.runbooks.steps_restore import (
    EndOffer,
    LoadBackup,
    NoWayBack,
    OfferBackup,
    PromoteRestored,
    PutBackup,
)
from keydb_runbooks.runbooks.steps_save import SaveData, SaveInstead
from keydb_runbooks.runbooks.topology import Topology


@dataclass(frozen=True)
class Source:
    """A backup as its description tells it; ``trouble`` is why it can't be used, "" if its file is as described."""

    path: str
    sha256: str = ""
    size: int = 0
    keys: int = 0
    engine: str = ""
    version: str = ""
    saved_at: str = ""
    trouble: str = ""


@dataclass(frozen=True)
class Held:
    """What a node holds besides: ``keys`` that are not the runbooks' own, and the backup that it was restored from.

    ``free`` are the bytes that its disk has, None if that is unknown; ``offer`` is whether a run that died left a
    second server there, or its files.
    """

    keys: int
    restored: str | None = None
    free: int | None = None
    offer: bool = False


COPIES = 3
"""Of a backup's file on the node that loads it: what was brought, what its server receives, and its own dump file."""


def plan(
    topology: Topology,
    request: Request,
    min_replicas: int,
    source: Source | None,
    held: Mapping[str, Held],
    first_primary: str,
) -> Answer:
    """Decide which node loads the backup, and how the group comes to follow it.

    :param source: the backup that was named, None if none was
    :param held: what each node that answers holds
    :param first_primary: who loads it in a group that never had a primary
    """
    if source is None:
        return Refusal("no-backup-named", topology.group, "which backup is not said", "add backup=FILE.rdb")
    if source.trouble:
        hint = "nothing was changed; name another backup"
        return Refusal("bad-backup", source.path, source.trouble, hint)
    if refusal := _refuse_group(topology, request):
        return refusal
    primary = topology.rightful_primary()
    if primary is not None and held[primary.name].restored == source.sha256 and not request.accept_again:
        return _finish(topology, primary, source, request, min_replicas, held)
    target = _target(topology, primary, request, first_primary)
    if refusal := _refuse_target(topology, target, source) or _refuse_data(topology, request, source, held):
        return refusal
    assert isinstance(target, Node)
    if refusal := _refuse_room(target, source, held[target.name]):
        return refusal
    return _plan(topology, primary, target, source, held, min_replicas)


def _refuse_room(target: Node, source: Source, held: Held) -> Refusal | None:
    needed = COPIES * source.size
    if held.free is None or held.free >= needed:
        return None
    told = f"needs up to {needed:,} bytes of disk to load it, and {held.free:,} are free"
    return Refusal("no-room", target.name, told, "make room there, or name another node by to=")


def _refuse_group(topology: Topology, request: Request) -> Refusal | None:
    refusal = refuse_mode(topology) or refuse_nobody(topology) or refuse_unknown(topology, request)
    if refusal := refusal or refuse_rivals(topology):
        return refusal
    for node in topology.nodes:
        if refusal := refuse_loading(node):
            return refusal
    for silent in topology.unread:
        if silent.name not in request.allow_unread:
            told = f"{silent.detail}; it may hold a newer promotion, or come back with the old data"
            hint = f"start it, or allow_unread={silent.name} if it may be left out"
            return Refusal(f"node-{silent.code}", silent.name, told, hint)
    return refuse_unread_proxies(topology, request) or _refuse_writers(topology, request)


def _refuse_writers(topology: Topology, request: Request) -> Refusal | None:
    """The restore makes a second primary where the first one is only out of reach."""
    if topology.rightful_primary() is None and (refusal := refuse_followed(topology)):
        return refusal
    doubt = _doubt(topology)
    return None if doubt is None or request.accept_split else refuse_split(doubt)


def _doubt(topology: Topology) -> Proof | None:
    """Without a primary that answers, a silent node may be it; who ran in a pod's place before may be so always."""
    proof = prove_silence(topology)
    asked = formers(topology) or topology.rightful_primary() is None
    return proof if asked and not proof.sufficient else None


def _target(topology: Topology, primary: Node | None, request: Request, first_primary: str) -> Node | Refusal:
    """A replica, so that the primary goes on until all is loaded; itself only if none is in sync."""
    if request.to is not None:
        named = topology.node(request.to)
        if named is None:
            return Refusal("target-unread", request.to, "does not answer", "choose another target")
        return named
    if primary is not None:
        follow = [node for node in topology.nodes if in_sync(node, primary) and refuse_target(node) is None]
        return min(follow, key=lambda node: (node.priority, node.name), default=primary)
    return topology.node(first_primary) or min(topology.nodes, key=lambda node: node.name)


def _refuse_target(topology: Topology, target: Node | Refusal, source: Source) -> Refusal | None:
    if isinstance(target, Refusal):
        return target
    others = [node.name for node in topology.primaries if node is not topology.rightful_primary()]
    if others:
        told = f"{' and '.join(others)} is a primary too"
        return Refusal("several-primaries", topology.group, told, "run rejoin first, then this again")
    if target.engine != source.engine:
        told = f"is {target.engine}, and the backup is {source.engine}'s: whether one loads all of the other is unknown"
        return Refusal("other-engine", target.name, told, "restore it into a group of its own engine")
    mine, its = _version(target.version), _version(source.version)
    if mine is None or its is None or mine < its:
        told = f"is {target.engine} {target.version}, and the backup was made by {source.version or 'an unknown one'}"
        return Refusal("older-server", target.name, told, "a server of that version or a newer one loads it")
    return refuse_target(target)


def _version(text: str) -> tuple[int, ...] | None:
    """A version as numbers, None if it has none: what can't be compared is unknown."""
    return tuple(map(int, text.split("."))) if re.fullmatch(r"\d{1,9}(\.\d{1,9})*", text) else None


def _refuse_data(topology: Topology, request: Request, source: Source, held: Mapping[str, Held]) -> Refusal | None:
    fullest = max(topology.nodes, key=lambda node: held[node.name].keys)
    keys = held[fullest.name].keys
    if keys == 0 or request.accept_replace:
        return None
    told = f"{fullest.name} holds {keys:,} keys, which would be replaced by the {source.keys:,} of {source.saved_at}"
    hint = "accept_replace=yes replaces them, and saves them in a file on their node first"
    return Refusal("holds-data", topology.group, told, hint)


def _plan(
    topology: Topology,
    primary: Node | None,
    target: Node,
    source: Source,
    held: Mapping[str, Held],
    min_replicas: int,
) -> Plan:
    beside = primary is not None and target is not primary and in_sync(target, primary)
    others = sorted((node for node in topology.nodes if node not in (target, primary)), key=lambda node: node.name)
    last = () if primary is None or primary is target else (primary,)
    # A node that is alone keeps the setting with which it takes writes.
    needed = min_replicas if len(topology.nodes) > 1 else 0
    former = left_by(topology, last)
    before = (
        _keep(target, primary, others, held) if primary is not None and beside else _give_up(topology, target, held)
    )
    return Plan(
        verb="restore",
        group=topology.group,
        primary=target.name,
        former=None if primary is None else primary.name,
        steps=(
            *_end_offers(held, besides=target),
            PutBackup(target.name, source.path, source.sha256, source.size),
            OfferBackup(target.name, source.keys),
            *before,
            LoadBackup(target.name, STALLED_SECONDS),
            *(Pause(node.name, ENDLESS_PAUSE_MILLISECONDS) for node in last),
            PromoteRestored(target.name, topology.highest_epoch() + 1, needed, source.sha256),
            *lead(topology, target),
            RecordLineage(target.name, needed),
            SaveConfiguration(target.name),
            *routes(topology, target),
            *end_stragglers(topology, former, target),
            EndOffer(target.name),
            *release((target, *others)),
            # It is paused, so that is all that it will ever have; from the next step on nobody else may hold it.
            *(SaveData(node.name, "node", "") for node in last),
            *(step for node in others for step in _join(node, target, primary, held)),
            *(step for node in last for step in _step_down(node, target)),
            *verify(topology, target, ()),
            *end_latecomers(topology, former, target),
            *label(topology, target, (node.name for node in topology.nodes if node is not target)),
        ),
        loss=Loss(None, f"all that was written since the backup, {source.saved_at}; {_saved(primary, before)}"),
        proof=_proof(topology, primary, target),
        gap=_gap(primary, target, len(topology.nodes)),
        undo=_undo(target, primary, beside=beside),
        warnings=_warnings(topology, source, held, beside=beside, target=target, primary=primary),
    )


def _keep(target: Node, primary: Node, others: list[Node], held: Mapping[str, Held]) -> tuple[Step, ...]:
    """Save what it has, if from the next step on the primary alone has it: that may die before its own save."""
    if not held[target.name].keys or any(in_sync(node, primary) for node in others):
        return ()
    return (SaveData(target.name, "node", ""),)


def _give_up(topology: Topology, target: Node, held: Mapping[str, Held]) -> tuple[Step, ...]:
    """It takes no writes any more, and what it holds is saved: from the next step on it is nowhere else.

    Who follows it leaves first: it would meet a source that refuses it, or copy the backup before its own data are
    saved.
    """
    leave = tuple(Guard(node.name) for node in topology.nodes if node.follows(target))
    guard = () if target.guarded and target.read_only is not False else (Guard(target.name),)
    return (*leave, *guard, *((SaveData(target.name, "node", ""),) if held[target.name].keys else ()))


def _join(node: Node, target: Node, primary: Node | None, held: Mapping[str, Held]) -> tuple[Step, ...]:
    """Follow, and be in sync before the next one begins. What the old primary has too is saved with that one."""
    return (*_save(node, target, primary, held), *_follow(node, target))


def _save(node: Node, target: Node, primary: Node | None, held: Mapping[str, Held]) -> tuple[Step, ...]:
    if not held[node.name].keys:
        return ()
    if primary is not None and primary is not target and in_sync(node, primary):
        return (SaveInstead(node.name, "node", "", primary.name),)
    return (SaveData(node.name, "node", ""),)


def _step_down(primary: Node, target: Node) -> tuple[Step, ...]:
    return (Guard(primary.name), Unpause(primary.name), *_follow(primary, target))


def _follow(node: Node, target: Node) -> tuple[Step, ...]:
    return (
        Follow(node.name, target.name, target.address),
        InSync(node.name, target.name, target.address, STALLED_SECONDS),
    )


def _undo(target: Node, primary: Node | None, *, beside: bool) -> tuple[Step, ...]:
    if beside:
        assert primary is not None
        return (Unpause(primary.name), Follow(target.name, primary.name, primary.address))
    return (NoWayBack(target.name),)


def _saved(primary: Node | None, before: tuple[Step, ...]) -> str:
    if primary is None:
        return "what nodes hold now is saved beside their data first"
    also = [step.where for step in before if isinstance(step, SaveData) and step.where != primary.name]
    return f"saved first on {primary.name}{''.join(f', and before it loads on {name}' for name in also)}"


def _proof(topology: Topology, primary: Node | None, target: Node) -> str:
    if primary is None:
        return prove_silence(topology).sentence
    if primary is target:
        return f"{primary.name} is the only primary, takes no writes while it loads, and is it again afterwards"
    return f"{primary.name} holds writes back from before the promotion until it is a replica"


def _gap(primary: Node | None, target: Node, nodes: int) -> str:
    if primary is None:
        return "no node that answers takes writes now"
    behind = "" if nodes == 1 else "until the first replica has all of it by a full resync"
    if primary is target:
        return " and ".join(filter(None, ("while it saves and loads", behind)))
    resync = f"{behind}, which begins when {primary.name}'s data are saved"
    return f"from the promotion on {resync}, if min-replicas-to-write asks for one"


def _warnings(
    topology: Topology,
    source: Source,
    held: Mapping[str, Held],
    *,
    beside: bool,
    target: Node,
    primary: Node | None,
) -> tuple[str, ...]:
    keys = max(held[node.name].keys for node in topology.nodes)
    told = [f"accepted by accept_split: {doubt.sentence}"] if (doubt := _doubt(topology)) else []
    told += [f"{keys:,} keys are replaced by the {source.keys:,} of the backup of {source.saved_at}"] if keys else []
    if primary is target:
        told.append(f"{target.name} itself loads it, and takes no writes meanwhile")
    if beside:
        told.append(f"reads through a proxy may meet the backup's data on {target.name} before writes do")
    return (*told, f"{target.name} needs memory for both, its own data and a second server with the backup's")


def _end_offers(held: Mapping[str, Held], besides: Node) -> tuple[Step, ...]:
    """What a run that died left on a node that another one doesn't choose again."""
    return tuple(EndOffer(name) for name in sorted(held) if held[name].offer and name != besides.name)


def _finish(
    topology: Topology,
    primary: Node,
    source: Source,
    request: Request,
    min_replicas: int,
    held: Mapping[str, Held],
) -> Answer:
    """A run died behind the promotion: the data are there, and only the others are left."""
    offers = (EndOffer(primary.name), *_end_offers(held, besides=primary))
    others = frozenset(node.name for node in topology.nodes if node is not primary)
    wish = replace(request, to=None, save="node", compare=False)
    if request.accept_replace:
        wish = replace(wish, accept_loss=others)
    answer = finish("rejoin", topology, primary, wish, min_replicas)
    if isinstance(answer, NothingToDo):
        if any(one.offer for one in held.values()):
            return _tidy(topology, primary, offers)
        told = f"the data descend from the backup of {source.saved_at}, and everybody follows {primary.name}; "
        told += "accept_again=yes with accept_replace=yes restores it once more, and what was written since is replaced"
        return NothingToDo("already-restored", topology.group, told)
    if isinstance(answer, Plan):
        return replace(answer, verb="restore", steps=(*offers, *one_at_a_time(answer.steps)))
    return answer


def _tidy(topology: Topology, primary: Node, offers: tuple[Step, ...]) -> Plan:
    """Everybody follows, by another verb perhaps, and a second server is still there."""
    return Plan(
        verb="restore",
        group=topology.group,
        primary=primary.name,
        former=primary.name,
        steps=(*offers, *verify(topology, primary, ())),
        loss=Loss(0, "no role moves, and no data are replaced"),
        proof=f"{primary.name} is the only primary",
        gap="nobody waits",
    )


def one_at_a_time(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same steps, each wait for a replica straight behind what made it follow."""
    waits = {step.where: step for step in steps if isinstance(step, InSync)}
    ordered: list[Step] = []
    for step in steps:
        if isinstance(step, Follow) and step.where in waits:
            ordered += [step, waits.pop(step.where)]
        elif not isinstance(step, InSync) or waits.pop(step.where, None) is not None:
            ordered.append(step)
    return tuple(ordered)

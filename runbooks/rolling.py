"""One node after the other: what restart and upgrade have in common.

Replicas first, each back in sync before the next one is touched; the primary last, as a replica of one that was
restarted already. So no write waits for a restart, at most one node needs a full resync at a time, and nobody reads
what a newer program wrote before the end. The role is not moved back.

The plan is made of what is seen, and never of what a run before it did: what is left is the same plan, begun later.
That is how another run goes on, and how a run looks again before each node (``steps_restart.LookAgain``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from keydb_runbooks.runbooks import switchover
from keydb_runbooks.runbooks.attach import finish, routes, strays, verify
from keydb_runbooks.runbooks.checks_group import BACKLOG_SECONDS
from keydb_runbooks.runbooks.cost import full_resync
from keydb_runbooks.runbooks.grounds import Evidence, Verdict
from keydb_runbooks.runbooks.leading import label
from keydb_runbooks.runbooks.plan import Answer, Loss, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.refusals import (
    in_sync,
    refuse_loading,
    refuse_mode,
    refuse_rivals,
    refuse_unknown,
    refuse_unread,
)
from keydb_runbooks.runbooks.replication import Link, Node, Role
from keydb_runbooks.runbooks.steps import (
    ENDLESS_PAUSE_MILLISECONDS,
    Pause,
    Promote,
    RecordLineage,
    SaveConfiguration,
    Step,
    Unpause,
    VerifyWrite,
)
from keydb_runbooks.runbooks.steps_restart import BackInSync, LookAgain, Restart, RestartAlone, SaveToDisk
from keydb_runbooks.runbooks.steps_service import LabelPods
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.values import changed

ENGINES = {"keydb": "KeyDB", "valkey": "Valkey", "redis": "Redis"}

CODES = ("cannot-save", "older-format")
"""Refusals that ``accept=CODE`` overrides."""

PASSING = ("node-refused", "node-no-answer", "loading", "not-in-sync")
"""Refusals of a state that a run which died a moment ago may have left, and that ends by itself."""


@dataclass(frozen=True)
class Wish:
    """What a rolling verb wants: its name, which nodes it has to restart, and in words what each of them runs then.

    ``done`` says of a node that is left alone why. ``version`` is what a node must run then, None for whatever it is.
    ``prepare`` are steps before its restart, ``again`` the options with which another run goes on.
    """

    verb: str
    due: Callable[[Node], bool]
    told: Callable[[Node], str]
    done: str
    again: tuple[tuple[str, str], ...] = ()
    version: Callable[[Node], str | None] = field(default=lambda _: None)
    prepare: Callable[[Node], tuple[Step, ...]] = field(default=lambda _: ())


@dataclass(frozen=True)
class _Case:
    """What a plan is made of: the group as it will be when nothing is left of another run, and who is restarted."""

    wish: Wish
    topology: Topology
    primary: Node
    due: tuple[Node, ...]
    request: Request
    min_replicas: int


def runs(node: Node) -> str:
    """What a node runs, for people."""
    return f"{ENGINES[node.engine]} {node.version}"


def roll(wish: Wish, topology: Topology, request: Request, min_replicas: int) -> Answer:
    """Decide in which order nodes are restarted, and how the role moves meanwhile.

    :param min_replicas: ``min-replicas-to-write`` that a new primary has after its promotion
    """
    answer = _decide(wish, topology, request, min_replicas)
    if isinstance(answer, Refusal) and answer.code in PASSING:
        return replace(answer, passing=True)
    return answer


def _decide(wish: Wish, topology: Topology, request: Request, min_replicas: int) -> Answer:
    primary = _primary(topology, request)
    if isinstance(primary, Refusal):
        return primary
    # To name a node here doesn't say that its data are the right ones.
    left = finish(wish.verb, topology, primary, replace(request, to=None), min_replicas)
    if isinstance(left, Refusal):
        return left
    seen = _mended(topology, primary)
    primary = seen.node(primary.name) or primary
    if refusal := _refuse_state(wish, topology, seen, primary, request):
        return refusal
    mend = left.steps if isinstance(left, Plan) else ()
    due = tuple(sorted(filter(wish.due, seen.nodes), key=lambda node: (in_sync(node, primary), node.name)))
    if primary not in due and request.to not in (None, primary.name):
        told = f"{wish.done}, so the role stays there"
        return Refusal("role-stays", primary.name, told, "leave to= out, and run switchover afterwards")
    if not due and isinstance(left, Plan):
        return replace(left, again=wish.again)
    if not due:
        return NothingToDo("already-done", topology.group, f"every node {wish.done}; {primary.name} is the primary")
    case = _Case(wish, seen, primary, due, request, min_replicas)
    if len(seen.everybody) == 1:
        answer: Plan | Refusal = _alone(case, mend)
    else:
        answer = _moving(case, mend) if primary in due else _staying(case, mend)
    return _with_costs(answer, left) if isinstance(answer, Plan) and isinstance(left, Plan) else answer


def _with_costs(plan: Plan, left: Plan) -> Plan:
    """The same plan, which tells as well what it costs to finish what another run left."""
    return replace(
        plan,
        loss=plan.loss if left.loss.bytes == 0 else left.loss,
        needs=(*left.needs, *plan.needs),
        warnings=(*left.warnings, *plan.warnings),
    )


def _primary(topology: Topology, request: Request) -> Node | Refusal:
    """The primary of a group in which everybody answers who must, or why nothing can be done to it."""
    refusal = refuse_mode(topology) or refuse_unread(topology, request) or _refuse_stopped(topology, request)
    if refusal := refusal or refuse_unknown(topology, request) or refuse_rivals(topology):
        return refusal
    primary = topology.rightful_primary()
    if primary is None:
        return Refusal("no-primary", topology.group, "nobody is primary", "run failover")
    return refuse_loading(primary) or primary


def _refuse_stopped(topology: Topology, request: Request) -> Refusal | None:
    for node in topology.unread:
        if node.name not in request.allow_unread:
            hint = f"run start, then this again, which lets it follow; or allow_unread={node.name} to leave it out"
            return Refusal(f"node-{node.code}", node.name, node.detail, hint)
    return None


def _refuse_state(wish: Wish, topology: Topology, seen: Topology, primary: Node, request: Request) -> Refusal | None:
    """Why nobody may be restarted now: others are not as they should be, or who is restarted might not come back."""
    alone = (node for node in strays(topology, primary) if not topology.relation(node, primary).explained)
    for node in alone:
        told = f"does not follow {primary.name}, and holds what only it has"
        return Refusal("sole-holder", node.name, told, f"rejoin accept_loss={node.name} saves and attaches it")
    for node in seen.nodes:
        if node is not primary and not wish.due(node) and not in_sync(node, primary):
            told = f"is not in sync with {primary.name}, and one node at a time is away"
            return Refusal("not-in-sync", node.name, told, "wait until status says that it is")
    if not any(map(wish.due, seen.nodes)):
        return None
    size, answering = len(seen.everybody), len(seen.nodes)
    if size > 1 and 2 * (answering - 1) < size:
        names = " and ".join(node.name for node in topology.unread)
        told = f"{answering} of {size} nodes answer: without one more no majority keeps the lock"
        return Refusal("no-majority", topology.group, told, f"start or reach {names} first")
    return next((refusal for node in filter(wish.due, seen.nodes) if (refusal := _refuse_save(node, request))), None)


def _refuse_save(node: Node, request: Request) -> Refusal | None:
    """A server saves its data when it ends, so that it comes back with them: only then a partial resync is enough."""
    condition, free = node.condition, node.machine.disk_free if node.machine is not None else None
    if condition.aof or "cannot-save" in request.accept:
        return None
    if condition.saved is False:
        told = "could not save its data last time, and would come back with old ones"
    elif free is not None and condition.dataset_bytes is not None and free < condition.dataset_bytes:
        told = f"saves {condition.dataset_bytes:,} bytes of data when it ends, and its disk has {free:,} free"
    else:
        return None
    hint = "look at its log and its disk, or accept=cannot-save for a full resync"
    return Refusal("cannot-save", node.name, told, hint)


def _mended(topology: Topology, primary: Node) -> Topology:
    """The group as it is when what an interrupted run left has been finished (``attach.finish``)."""
    link = Link(primary.address, up=True, last_io_seconds=0, syncing=False)
    nodes = []
    for node in topology.nodes:
        stays = node is primary or node.follows(primary)
        there = node if stays else changed(node, role=Role.REPLICA, links=(link,))
        nodes.append(changed(there, paused=False, config_replicaof=there.running_replicaof))
    return changed(topology, nodes=tuple(nodes))


def _staying(case: _Case, mend: tuple[Step, ...]) -> Plan:
    """The replicas' turns; the primary goes on."""
    primary, replicas = case.primary, tuple(node for node in case.due if node is not case.primary)
    return Plan(
        verb=case.wish.verb,
        group=case.topology.group,
        primary=primary.name,
        former=primary.name,
        steps=(*mend, *(step for node in replicas for step in _one(case.wish, node, primary)), *_label(case, primary)),
        loss=Loss(0, f"{primary.name} goes on and has everything"),
        proof=f"{primary.name} is the only rightful primary, and nobody else is promoted",
        gap=_waits(case) or "none for clients of the primary; who reads from a replica is sent to another one",
        needs=tuple(_resyncs(replicas, primary)),
        warnings=(*_go_on(case.wish), *_backlog(primary)),
        evidence=tuple(_versions(case.wish, case.topology)),
        again=case.wish.again,
    )


def _moving(case: _Case, mend: tuple[Step, ...]) -> Plan | Refusal:
    """The same, then a switchover to one of them, and the turn of who was the primary."""
    primary, first = case.primary, _staying(case, mend)
    move = _move(case)
    if isinstance(move, Refusal):
        return move
    target = case.topology.node(move.primary or "") or primary
    waits = _waits(case)
    return replace(
        first,
        primary=target.name,
        steps=(
            *(step for step in first.steps if not isinstance(step, LabelPods)),
            LookAgain(primary.name),
            *_unbound(step for step in move.steps if not isinstance(step, LabelPods)),
            *_one(case.wish, primary, target),
            *_label(case, target),
        ),
        loss=move.loss,
        proof=f"{primary.name} goes on while its replicas are restarted; then {move.proof}",
        gap=f"{waits}; {move.gap}" if waits else move.gap,
        undo=move.undo,
        needs=(*first.needs, *move.needs, *_resyncs((primary,), target)),
        warnings=(*first.warnings, *move.warnings, f"{target.name} stays the primary: switchover moves the role back"),
        ranking=move.ranking,
    )


def _label(case: _Case, primary: Node) -> tuple[Step, ...]:
    """Pods that were made anew have lost their labels."""
    return label(case.topology, primary, (node.name for node in case.topology.nodes if node.name != primary.name))


def _alone(case: _Case, mend: tuple[Step, ...]) -> Plan:
    """The only node's turn: nobody can take its role meanwhile, so everybody waits, and it is promoted again.

    Its writes are held back first: what it acknowledges is what it saves.
    """
    node, wish = case.primary, case.wish
    save = () if node.condition.saves else (SaveToDisk(node.name),)
    written = _unbound(verify(case.topology, node, ()))
    return replace(
        _staying(case, mend),
        steps=(
            *mend,
            LookAgain(node.name),
            *wish.prepare(node),
            Pause(node.name, ENDLESS_PAUSE_MILLISECONDS),
            *save,
            RestartAlone(node.name, node.run_id, wish.told(node), wish.version(node), not node.empty),
            Promote(node.name, case.topology.highest_epoch() + 1, 0),
            RecordLineage(node.name, 0),
            SaveConfiguration(node.name),
            *routes(case.topology, node),
            *written,
        ),
        loss=Loss(0, f"{node.name} saves all that it acknowledged when it ends"),
        proof=f"{node.name} is the only node",
        gap=f"nobody can read or write while {node.name} restarts and loads its data: no other node can take its role",
        undo=(Unpause(node.name),),
    )


def _move(case: _Case) -> Plan | Refusal:
    """The switchover away from the primary, before its own turn."""
    if case.request.to == case.primary.name:
        told = "is the primary now, and must be a replica while it restarts"
        return Refusal("target-restarts", case.primary.name, told, "leave to= out, and run switchover afterwards")
    move = switchover.plan(_renewed(case), case.request, case.min_replicas)
    assert not isinstance(move, NothingToDo)
    return move


def _renewed(case: _Case) -> Topology:
    """The group as it is when the replicas had their turns: a new process has its file descriptor 0."""
    names = {node.name for node in case.due if node is not case.primary}
    return changed(
        case.topology,
        nodes=tuple(_with_descriptor(node) if node.name in names else node for node in case.topology.nodes),
    )


def _with_descriptor(node: Node) -> Node:
    machine = None if node.machine is None else changed(node.machine, descriptor="open")
    return changed(node, machine=machine, condition=changed(node.condition, client_descriptor=False))


def _one(wish: Wish, node: Node, primary: Node) -> Iterator[Step]:
    """One node's turn."""
    yield LookAgain(node.name)
    yield from wish.prepare(node)
    if not node.condition.saves:
        yield SaveToDisk(node.name)
    yield Restart(node.name, node.run_id, primary.name, primary.address, wish.told(node), wish.version(node))
    yield BackInSync(node.name, primary.name, primary.address)


def _unbound(steps: Iterable[Step]) -> Iterator[Step]:
    """The same steps where the new primary is another process than the one that was seen."""
    for step in steps:
        yield replace(step, primary_run_id=None) if isinstance(step, VerifyWrite) else step


def _waits(case: _Case) -> str:
    """Which writes wait while one replica is away; "" if none do."""
    if len(case.topology.nodes) - 2 >= case.min_replicas:
        return ""
    told = "1 replica" if case.min_replicas == 1 else f"{case.min_replicas} replicas"
    return f"nobody can write while a node restarts: who is primary takes writes only with {told}"


def _versions(wish: Wish, topology: Topology) -> Iterator[Evidence]:
    for node in topology.nodes:
        uptime = node.condition.uptime_seconds
        since = "for an unknown time" if uptime is None else f"for {uptime:,} s"
        told = f"runs {runs(node)} {since}{'' if wish.due(node) else f', is left alone: it {wish.done}'}"
        yield Evidence("the operator", node.name, told, node.observed_at, Verdict.ALIVE)


def _resyncs(nodes: Iterable[Node], source: Node) -> Iterator[str]:
    """Which of these come back without their place in the stream: a start from an AOF forgets it."""
    for node in nodes:
        if node.condition.aof:
            yield (
                f"full resync of {node.name} from {source.name}, as always behind a start from an AOF: "
                + full_resync(node, source)
            )


def _go_on(wish: Wish) -> Iterator[str]:
    """What a person needs if this run is killed, and so can't say it any more."""
    if wish.again:
        yield f"another run goes on with this one by {' '.join(f'{key}={value}' for key, value in wish.again)}"


def _backlog(primary: Node) -> Iterator[str]:
    rate, size = primary.condition.input_bytes_per_second, primary.backlog_size
    if rate and size < rate * BACKLOG_SECONDS:
        yield (
            f"the backlog of {primary.name} holds {size // rate} s of writes at {rate:,} bytes/s: "
            "who restarts for longer needs a full resync"
        )

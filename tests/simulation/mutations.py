"""Runbooks that are broken on purpose, in ways that were thought of or made once; the simulation must find each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

from keydb_runbooks.operations import lock, run
from keydb_runbooks.runbooks import (
    abort,
    attach,
    candidate,
    evidence,
    failover,
    lineage,
    rescue,
    silence,
    steps_fence,
    switchover,
    topology,
    unfence,
)
from keydb_runbooks.runbooks.lineage import Kinship
from keydb_runbooks.runbooks.plan import Plan
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.steps import (
    SHORT_PAUSE_MILLISECONDS,
    CatchUp,
    Follow,
    Pause,
    SaveConfiguration,
    Step,
    Unpause,
)

Steps = tuple[Step, ...]


class Mutation(NamedTuple):
    """A way to break the runbooks: where, by what, the checks of which one must fail, and what finds it.

    ``start`` is the small world that finds it with that many faults, "" if random runs do.
    """

    patches: tuple[tuple[object, str, object], ...]
    checks: tuple[str, ...]
    start: str = ""
    faults: int = 1


def _steps(module: Any, change: Callable[[Steps], Steps]) -> tuple[object, str, object]:
    """Change the steps of every plan that a verb makes."""
    honest = module.plan

    def plan(*arguments: Any, **named: Any) -> Any:
        answer = honest(*arguments, **named)
        return replace(answer, steps=change(answer.steps)) if isinstance(answer, Plan) else answer

    return (module, "plan", plan)


def _without_second_catch_up(steps: Steps) -> Steps:
    seen = [number for number, step in enumerate(steps) if isinstance(step, CatchUp)]
    return tuple(step for number, step in enumerate(steps) if number not in seen[1:])


def _without_catching_up(steps: Steps) -> Steps:
    return tuple(step for step in steps if not isinstance(step, CatchUp))


def _short_pauses(steps: Steps) -> Steps:
    return tuple(
        replace(step, milliseconds=SHORT_PAUSE_MILLISECONDS) if isinstance(step, Pause) else step for step in steps
    )


def _unpause_first(steps: Steps) -> Steps:
    """The old primary's pause ends before it follows."""
    ends = [step for step in steps if isinstance(step, Unpause)][-1:]
    rest = [step for step in steps if step not in ends]
    place = next((number for number, step in enumerate(rest) if isinstance(step, Follow)), len(rest))
    return (*rest[:place], *ends, *rest[place:])


def _no_release(steps: Steps) -> Steps:
    """Pauses that are known before the role moves stay."""
    place = next((number for number, step in enumerate(steps) if step.commits), 0)
    return tuple(step for number, step in enumerate(steps) if number > place or not isinstance(step, Unpause))


def _held_means_nothing(_ahead: int, held: bool) -> Kinship:
    return Kinship.PINGED if held else Kinship.DIVERGED


def _follow_at_once(node: Node, primary: Node, _request: object) -> Steps:
    ends = (Unpause(node.name),) if node.paused else ()
    return (Follow(node.name, primary.name, primary.address), *ends)


def _supersedes_whoever_is_paused(newer: Node, older: Node) -> bool:
    return topology.descends(newer, older) and bool(older.paused)


def _nothing(*_: object, **__: object) -> None:
    """No refusal."""


MUTATIONS: dict[str, Mutation] = {
    "no second catch-up": Mutation(
        (_steps(switchover, _without_second_catch_up),), ("lossy-switchover",), "switchover"
    ),
    "no catch-up at all": Mutation((_steps(switchover, _without_catching_up),), ("lossy-switchover",)),
    "short pauses only": Mutation((_steps(switchover, _short_pauses),), ("two-writers", "lossy-switchover")),
    "unpause before follow": Mutation((_steps(switchover, _unpause_first),), ("two-writers",)),
    "a paused node is not released": Mutation(
        (_steps(failover, _no_release),), ("lossy-failover", "wiped-write", "never-healed", "unhealthy")
    ),
    "the candidate's lineage is not asked": Mutation(((candidate, "_refuse_behind", _nothing),), ("lossy-failover",)),
    "a returned node is a candidate like any other": Mutation(
        ((candidate, "_refuse_returned", _nothing), (evidence, "PLACES_NEEDED", 0)),
        ("wiped-write", "empty-source", "superseded-source"),
        "failover among returned nodes",
    ),
    "who is silent needs not be named": Mutation(
        ((switchover, "refuse_unread", _nothing), (attach, "refuse_superseded", _nothing)),
        ("two-writers",),
        "switchover back behind half a switchover",
    ),
    "half a switchover is not looked for": Mutation(
        ((attach, "refuse_superseded", _nothing), (switchover, "refuse_unsettled", _nothing)),
        ("two-writers", "superseded-source"),
        "rejoin behind half a switchover",
    ),
    "no proof is asked for": Mutation(
        ((failover, "prove_silence", lambda _: silence.Proof(True, "it is believed")),),
        ("two-writers",),
        "failover of a frozen primary that others can reach",
    ),
    "harm is not looked for": Mutation(((attach, "refuse_harm", _nothing),), ("wiped-write", "empty-source")),
    "the older primary is the rightful one, and harm is not looked for": Mutation(
        (
            (topology, "supersedes", lambda newer, older: (newer.epoch or 0) < (older.epoch or 0)),
            (attach, "refuse_harm", _nothing),
            (attach, "refuse_older", _nothing),
        ),
        ("superseded-source", "wiped-write", "two-writers"),
    ),
    "nobody looks who else holds the lock": Mutation(((lock, "_others", lambda *_: []),), ("two-runs",)),
    "nothing is undone": Mutation(((run.Run, "_undo", lambda *_: True),), ("unchanged-changed",), "switchover"),
    "roles are not saved": Mutation(
        ((Follow, "commands", property(lambda step: (("REPLICAOF", step.address.host, str(step.address.port)),))),),
        ("unhealthy",),
    ),
    "a run doesn't look again": Mutation(
        ((run, "same", lambda *_: True),),
        ("two-writers", "wiped-write", "lossy-switchover", "lossy-failover", "superseded-source"),
        "switchover",
    ),
    "one place is enough to call a primary gone, and a link may be silent": Mutation(
        (
            (evidence, "PLACES_NEEDED", 0),
            (failover, "refuse_reached", _nothing),
            (failover, "refuse_followed", _nothing),
            (failover, "prove_silence", lambda _: silence.Proof(True, "it is believed")),
        ),
        ("two-writers", "lossy-failover"),
    ),
    "nothing is saved": Mutation(((attach, "rescue", lambda *_: ()),), ("unsaved-write",)),
    "who holds something alone goes on taking writes": Mutation(
        ((rescue, "Guard", lambda where: SaveConfiguration(where)),), ("two-writers", "unsaved-write", "wiped-write")
    ),
    "failover attaches whoever holds something alone": Mutation(
        ((failover, "sole_holders", lambda *_: ()),), ("wiped-write",)
    ),
    "a fence is not saved": Mutation(
        ((steps_fence.Fence, "commands", property(lambda step: tuple(step._set()))),), ("fenced-writer",)
    ),
    "a second writer may be unfenced": Mutation(
        ((unfence, "_refuse_second_writer", _nothing),),
        ("second-writer", "two-writers"),
        "unfence of a primary that was replaced",
    ),
    "a fenced node is promoted": Mutation(
        ((candidate, "refuse_target", _nothing), (switchover, "refuse_target", _nothing)), ("fenced-target",)
    ),
    "abort goes back behind a promotion": Mutation(
        ((abort, "refuse_superseded", _nothing), (abort, "_refuse_promoted", _nothing)),
        ("two-writers",),
        "abort behind half a switchover",
    ),
    "a pause is a proof that nothing was written": Mutation(
        ((lineage, "_beyond", _held_means_nothing), (attach, "step_down", _follow_at_once)),
        ("wiped-write", "unsaved-write"),
        "rejoin of a superseded primary that somebody paused",
    ),
    "whoever holds writes back has given its role away": Mutation(
        (
            (topology, "supersedes", _supersedes_whoever_is_paused),
            (lineage, "_beyond", _held_means_nothing),
            (attach, "step_down", _follow_at_once),
        ),
        ("wiped-write",),
        "rejoin beside a primary that somebody paused behind a promotion by hand",
    ),
}


@contextmanager
def broken(name: str) -> Iterator[None]:
    """Let the runbooks be broken in this way until the end of the block."""
    patches = [mock.patch.object(*patch) for patch in MUTATIONS[name].patches]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()

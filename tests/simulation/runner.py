"""Runs the simulation: many seeds in several processes, and the story of each that fails.

    python -m tests.simulation.runner --runs 1000000 --jobs 2

--runs N    how many, one for each seed (20000)
--seed S    the first seed (0)
--jobs N    processes (2)
--one S     one seed: its story, whether it fails or not
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation import events, healing
from tests.simulation.checks import CHECKS, KnownHole, Violation, Watch
from tests.simulation.doors import installed
from tests.simulation.outside import SCENE
from tests.simulation.scripts import Script, script_of
from tests.simulation.world import World

CHUNK = 500
PROGRESS = 50_000


@dataclass
class Failure:
    """A script that ended in a violation."""

    script: Script
    check: str
    seen: str
    seed: int | None = None


@dataclass
class Summary:
    """What many runs came to."""

    runs: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Summary) -> None:
        self.runs += other.runs
        self.tally += other.tally
        self.failures += other.failures


def play(script: Script, story: list[str] | None = None, tally: Counter[str] | None = None) -> Failure | None:
    """Let a script happen, heal the world, let a person recover it; the violation, if there is one."""
    watch = Watch()
    world = World(script.shape, watch)
    world.story = story
    SCENE.world = world
    try:
        for act in script.acts:
            events.perform(world, act)
        healing.heal(world)
        healing.recover(world, *script.last)
    except Violation as violation:
        world.tell(f"!! {violation}")
        return Failure(script, violation.check, violation.seen)
    except KnownHole as hole:
        watch.count(f"known hole: {hole}")
    finally:
        for operator in world.operators.values():
            operator.die()
        if tally is not None:
            tally.update(watch.tally)
    return None


def play_seeds(seeds: Iterable[int]) -> Summary:
    """Play one script after the other."""
    summary = Summary()
    with installed():
        for seed in seeds:
            failure = play(script_of(seed), tally=summary.tally)
            summary.runs += 1
            if failure is not None:
                failure.seed = seed
                summary.failures.append(failure)
    return summary


def shrink(failure: Failure) -> Failure:
    """Take out of a script whatever its violation doesn't need, as long as the same check fails."""
    while (smaller := next(_smaller(failure), None)) is not None:
        failure = smaller
    return failure


def _smaller(failure: Failure) -> Iterator[Failure]:
    acts = failure.script.acts
    for size in (8, 4, 2, 1):
        for begin in range(0, len(acts) - size + 1):
            yield from _same(failure, failure.script._replace(acts=acts[:begin] + acts[begin + size :]))
    plain = type(failure.script.shape)()
    for name, value in plain._asdict().items():
        if getattr(failure.script.shape, name) != value:
            yield from _same(failure, failure.script._replace(shape=failure.script.shape._replace(**{name: value})))
    if failure.script.last != ("rejoin", None):
        yield from _same(failure, failure.script._replace(last=("rejoin", None)))


def _same(failure: Failure, script: Script) -> Iterator[Failure]:
    found = play(script)
    if found is not None and found.check == failure.check:
        found.seed = failure.seed
        yield found


def tell(failure: Failure) -> str:
    """The story of a failure in its smallest form."""
    with installed():
        small, story = shrink(failure), []
        play(small.script, story)
    head = [
        f"seed {failure.seed}: {small.check}",
        f"  must hold: {CHECKS[small.check]}",
        f"  was seen:  {small.seen}",
        f"  the world: {small.script.shape}",
        f"  the acts:  {small.script.acts}, then {small.script.last}",
    ]
    return "\n".join([*head, *(f"    {line}" for line in story)])


def play_many(runs: int, seed: int, jobs: int) -> Summary:
    """Play many seeds in several processes."""
    chunks = [range(begin, min(begin + CHUNK, seed + runs)) for begin in range(seed, seed + runs, CHUNK)]
    summary = Summary()
    with ProcessPoolExecutor(jobs) as pool:
        for part in pool.map(play_seeds, chunks):
            summary.add(part)
            for failure in part.failures:
                print(f"seed {failure.seed}: {failure.check}: {failure.seen}", file=sys.stderr, flush=True)
            if summary.runs % PROGRESS == 0:
                print(
                    f"{summary.runs:,} of {runs:,} runs, {len(summary.failures):,} failed", file=sys.stderr, flush=True
                )
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.runner", description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--one", type=int)
    arguments = parser.parse_args()
    if arguments.one is not None:
        return _tell_one(arguments.one)
    began = time.monotonic()
    summary = play_many(arguments.runs, arguments.seed, arguments.jobs)
    for what, count in sorted(summary.tally.items()):
        print(f"{count:>10,}  {what}")
    kinds = Counter(failure.check for failure in summary.failures)
    for check in kinds:
        first = next(failure for failure in summary.failures if failure.check == check)
        print(f"\n{kinds[check]:,} runs failed in {check}; the first of them:\n{tell(first)}")
    seconds = time.monotonic() - began
    print(
        f"{summary.runs:,} runs, {len(summary.failures):,} failed, {seconds:.1f} s ({_busy():.1f} s of processor time)"
    )
    return 1 if summary.failures else 0


def _busy() -> float:
    """Processor time of all processes that played, seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tell_one(seed: int) -> int:
    story: list[str] = []
    with installed():
        failure = play(script_of(seed), story)
    print(*story, sep="\n")
    print(f"seed {seed}: {failure.check}: {failure.seen}" if failure else f"seed {seed}: no check failed")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())

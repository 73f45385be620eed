"""20,000 random runs, one for each seed: no check fails in any of them, and together they go everywhere."""

from collections import Counter

import pytest

from tests.simulation.checks import HOLES
from tests.simulation.doors import installed
from tests.simulation.operator import VERBS
from tests.simulation.runner import play, play_seeds, tell
from tests.simulation.scripts import script_of

RUNS = 20_000
MANY = 1500
"""So many of them, the first ones, are looked at together: where do they go."""

PARTS = 20
SIZE = (RUNS - MANY) // PARTS
LITTLE = ("abort", "demote", "promote", "unfence")
"""Verbs of so few commands that hardly a run dies between them."""

RARE = 0.01
"""What share of the runs may end in a known hole: what happens behind it isn't seen."""


@pytest.mark.parametrize("part", range(PARTS))
def test_no_check_fails(part):
    without_failure(range(MANY + part * SIZE, MANY + (part + 1) * SIZE))


def without_failure(seeds: range) -> Counter[str]:
    summary = play_seeds(seeds)
    assert not summary.failures, "\n\n".join(tell(failure) for failure in summary.failures[:1])
    holes = sum(summary.tally[f"known hole: {hole}"] for hole in HOLES)
    assert holes <= len(seeds) * RARE
    return summary.tally


def test_the_runs_go_everywhere():
    tally = without_failure(range(MANY))
    for verb in VERBS:
        ends = {what.split(": ")[1].split(" ")[0] for what in tally if what.startswith(f"{verb}: ")}
        assert {"done", "refused"} <= ends, verb
        assert verb in LITTLE or "incomplete" in ends, verb
    assert tally["switchover: failed and unchanged"]
    codes = {what.split("refused ")[1] for what in tally if "refused " in what}
    assert {"locked:", "no-majority:", "plan-differs", "not-fenced", "one-witness", "perhaps-superseded"} <= codes
    assert {"still-followed", "still-reached", "target-fenced", "primary-fenced", "replicas-attached"} <= codes


def test_a_seed_is_a_run_to_the_last_byte():
    for seed in range(40):
        stories: list[list[str]] = []
        for _ in range(2):
            stories.append([])
            with installed():
                play(script_of(seed), stories[-1], Counter())
        assert stories[0] == stories[1]

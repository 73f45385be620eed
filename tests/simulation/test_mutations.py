"""The simulation can fail: each way of breaking the runbooks that was thought of is found, by a check that is meant for it."""

import pytest

from tests.simulation.checks import Violation
from tests.simulation.doors import installed
from tests.simulation.mutations import MUTATIONS, Mutation, broken
from tests.simulation.runner import play
from tests.simulation.scripts import script_of
from tests.simulation.small_worlds import STARTS, Search

RUNS = 3000

EVERY = 5
"""``make test`` tries the first one, ``make test-ci`` each fifth of the others, ``make test-all`` all."""

TRIED = [
    pytest.param(name, marks=[] if number == 0 else [pytest.mark.slow if number % EVERY else pytest.mark.in_ci])
    for number, name in enumerate(MUTATIONS)
]


@pytest.mark.parametrize("name", TRIED)
def test_a_broken_runbook_is_found(name):
    mutation = MUTATIONS[name]
    with installed(), broken(name):
        check = in_small_world(mutation) if mutation.start else in_random_runs(mutation)
    assert check in mutation.checks


def in_small_world(mutation: Mutation) -> str:
    try:
        Search(STARTS[mutation.start], faults=mutation.faults, every=100).go()
    except Violation as violation:
        return violation.check
    return "nothing was found"


def in_random_runs(mutation: Mutation) -> str:
    for seed in range(RUNS):
        failure = play(script_of(seed))
        if failure is not None and failure.check in mutation.checks:
            return failure.check
    return f"nothing was found in {RUNS} runs"

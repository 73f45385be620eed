"""Every order of events in small worlds: one fault at every point, and a second one at a part of those behind it, or at all."""

import pytest

from tests.simulation.checks import Violation, Watch
from tests.simulation.copies import Copy
from tests.simulation.doors import installed
from tests.simulation.events import perform
from tests.simulation.mutations import broken
from tests.simulation.outside import SCENE
from tests.simulation.scripts import script_of
from tests.simulation.small_worlds import STARTS, Search, key_of
from tests.simulation.world import World

SPREAD = 100
"""In ``make test`` a second fault is tried at every n-th point behind the first, in ``make test-all`` at each."""


@pytest.mark.parametrize("every", [SPREAD, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", STARTS)
def test_no_check_fails_whatever_the_order(name, every):
    with installed():
        found = Search(STARTS[name], every=every).go()
    assert found.points > 250
    assert found.ends > 30


def test_a_copy_of_a_world_goes_on_like_the_world():
    """A search looks at copies only: what happens to one must be what would have happened to the original."""
    for seed in range(60):
        script = script_of(seed)
        with installed():
            world = World(script.shape, Watch())
            for act in script.acts:
                SCENE.world = world
                if act[0] in ("begin", "go", "until", "end", "die", "drop"):
                    continue
                copy = Copy(world).world
                try:
                    SCENE.world = copy
                    perform(copy, act)
                    SCENE.world = world
                    perform(world, act)
                except Violation as violation:
                    raise AssertionError(seed) from violation
                assert key_of(copy, None) == key_of(world, None), (seed, act)
                assert [s.offset for s in copy.servers.values()] == [s.offset for s in world.servers.values()]


def test_a_search_says_how_it_got_where_a_check_fails():
    with installed(), broken("no second catch-up"), pytest.raises(Violation) as caught:
        Search(STARTS["switchover"], faults=1).go()
    assert caught.value.check == "lossy-switchover"
    assert "the way there" in caught.value.seen
    assert "('pass', 4000)" in caught.value.seen

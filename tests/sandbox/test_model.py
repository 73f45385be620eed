"""The simulation's model does what real servers do: the same events, one after the other, on both.

Compared are roles, links, what each data set is to each other one, the keys, how often a source went on with a replica or
began anew with it, where a proxy leads, and who is connected through it. Every second story is of servers that keep an
AOF, and every third one has a network that is cut and mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from both_worlds import NAMES, PROXY, Event, Model, Real
from kit import eventually

from tests.simulation.world import World

EVENTS = 12


def events_of(seed: int, model: Model) -> Iterator[Event]:
    """Events that a run or a fault could be, one after the other; the model tells which make sense now."""
    chance = Random(seed)
    yield from (("promote", "keydb-1"), ("write", "keydb-1"), ("follow", "keydb-2", "keydb-1"))
    yield from (("follow", "keydb-3", "keydb-1"), ("write", "keydb-1"), ("save", chance.choice(NAMES)))
    for _ in range(EVENTS):
        name = chance.choice(NAMES)
        possible = _of_server(model.world, name, chance) + _of_client(model)
        yield chance.choice(possible + _of_network(model.world, name, chance) if seed % 3 == 0 else possible)


def _of_server(world: World, name: str, chance: Random) -> list[Event]:
    server = world.servers[name]
    # The model's replicas know at once of a death behind a cut (docs/simulation.md, "What it leaves out").
    kill: list[Event] = [] if any(name in pair for pair in world.cuts) else [("kill", name)]
    if not server.running:
        return [("start", name, "guarded"), ("start", name, "guarded"), ("start", name, "plain"), ("lose disk", name)]
    if server.frozen:
        return [("wake", name), ("wake", name), *kill]
    sources = [one.name for one in world.servers.values() if one is not server and one.alive and one.is_primary]
    found: list[Event] = [("write", name), ("write", name), ("promote", name), ("save", name), ("rewrite", name)]
    found += [*kill, ("freeze", name), ("pause", name), ("unpause", name), ("reset", name)]
    found += [("lease", name, chance.choice("01")), ("route", name, chance.choice(("up", "down", "end")))]
    # Who refuses a replica makes KeyDB close its file descriptor 0 (keydb-facts), and a circle is nobody's plan.
    found += [("follow", name, source) for source in sources] * 3
    return found


def _of_client(model: Model) -> list[Event]:
    session = model.session
    if session is None:
        return [("connect", PROXY), ("write through", PROXY)]
    return [("write through", PROXY), ("write through", PROXY), ("leave", PROXY)]


def _of_network(world: World, name: str, chance: Random) -> list[Event]:
    other = chance.choice([one for one in (*NAMES, PROXY) if one != name])
    return [("mend" if world.is_cut(name, other) else "cut", name, other)] * 3


FEW, MANY = range(3), range(3, 15)


@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MANY)])
@pytest.mark.every_engine
def test_the_model_does_what_real_servers_do(engine: str, seed: int) -> None:
    model = Model(engine, appends=seed % 2 == 1)
    happened: list[Event] = []
    real = Real(engine, appends=seed % 2 == 1)
    try:
        for event in events_of(seed, model):
            happened.append(event)
            answers = (model.do(event), real.do(event))
            assert answers[0] == answers[1], f"{happened}: the model says {answers[0]}, the server {answers[1]}"
            expected = model.seen()
            try:
                eventually(lambda expected=expected: real.seen() == expected, "both are alike", 15)
            except AssertionError:
                differ = {key: (value, real.seen().get(key)) for key, value in expected.items()}
                differ = {key: both for key, both in differ.items() if both[0] != both[1]}
                raise AssertionError(f"{happened}: model and server differ in {differ}") from None
    finally:
        real.servers.remove()

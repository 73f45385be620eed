"""Every verb is killed straight after each command that it sends, and straight after its answer; another run finishes.

Each round begins with a healthy group under writers. ``make test`` tries a spread of the moments, others on each
engine; ``make test-all`` tries all, and the same with all power lost at that moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from kit import NODES, Result, Sandbox, Writer, writing
from moments import Moment, changes, commands, list_of, moments, run_at, spread
from verbs import VERBS, World, places_of

from demo.measure import find_lost, read_journal
from keydb_runbooks.connectors.programs import engines

CHUNKS = 6
"""Into how many tests all moments of a verb are divided."""

IN_CI = {"switchover": 5, "failover": 3, "rejoin": 2, "start": 1}
IN_CI_WITHOUT_POWER = {"switchover": 2, "failover": 1, "rejoin": 1}


@pytest.fixture
def listed(group: Sandbox) -> Iterator[dict[str, list[Moment]]]:
    """The moments of each verb that was looked at so far, by one run of it to which nothing happens."""
    known = _KNOWN.setdefault(group.engine, {})
    yield known
    list_of(group).unlink(missing_ok=True)


_KNOWN: dict[str, dict[str, list[Moment]]] = {}


def moments_of(group: Sandbox, verb: str, known: dict[str, list[Moment]]) -> list[Moment]:
    if verb not in known:
        world = VERBS[verb].world(group, places_of(group))
        run_at(group, VERBS[verb].deploy, None, "", world.places.names, **world.data).ok()
        known[verb] = moments(commands(group))
        finish(group, verb, world)
    return known[verb]


def finish(group: Sandbox, verb: str, world: World) -> None:
    """Run what a verb leaves to others, and see that all is well."""
    for deploy in VERBS[verb].then:
        group.run(deploy).ok()
    group.healthy(world.primary)


@dataclass
class Rounds:
    """Rounds of one verb in one group under one writer."""

    group: Sandbox
    verb: str
    writer: Writer
    tried: list[str] = field(default_factory=list)
    lossy: list[tuple[float, float]] = field(default_factory=list)

    def killed(self, moment: Moment) -> World:
        """A world in which a run of the verb was killed at this moment."""
        world = VERBS[self.verb].world(self.group, places_of(self.group))
        if world.lossy:
            self.lossy.append(world.lossy)
        died = run_at(self.group, VERBS[self.verb].deploy, moment, "kill", world.places.names, **world.data)
        # How often something is polled is another number each time; what changes something is always there.
        assert died.code in (-9, 0 if moment.command.endswith("#1") is False else -9), f"{moment}:\n{died.text}"
        self.tried.append(f"{moment}{'' if died.code == -9 else ': not reached'}")
        return world

    def lost(self) -> int:
        """How many acknowledged writes are gone that no dead primary took with it."""
        self.writer.stop()
        writes = read_journal(self.writer.journal)
        assert len(writes) > 100, "too few writes to tell anything"
        server = self.group.client("proxy-1", "application")
        try:
            lost = find_lost(writes, server)
        finally:
            server.connection_pool.disconnect()
        return sum(1 for one in lost if not any(begin <= one.seconds <= end for begin, end in self.lossy))


def kill_and_run_again(group: Sandbox, verb: str, chosen: list[Moment], all_of_them: list[Moment]) -> None:
    with writing(group) as writer:
        rounds = Rounds(group, verb, writer)
        for moment in chosen:
            world = rounds.killed(moment)
            again = group.run(VERBS[verb].deploy, **world.data)
            assert again.code == 0, f"killed at {moment}, then:\n{again.text}"
            finish(group, verb, world)
            writer.write_on(0.1)
        report(rounds, all_of_them)
        assert rounds.lost() == 0, rounds.tried


def lose_power_and_recover(group: Sandbox, verb: str, chosen: list[Moment], all_of_them: list[Moment]) -> None:
    with writing(group) as writer:
        rounds = Rounds(group, verb, writer)
        for moment in chosen:
            rounds.killed(moment)
            group.kill_all()
            group.run("start").ok()
            most = max(group.keys(node) for node in NODES)
            told = recovered(group)
            group.healthy(group.primaries()[0])
            writer.write_on(0.1)
            assert "accept_loss" in told or min(group.keys(node) for node in NODES) >= most, f"{moment}: {told}"
        report(rounds, all_of_them)


def recovered(group: Sandbox) -> str:
    """What a person does after a power loss: status, failover as it advises, rejoin. Returns what was advised."""
    advised = ""
    for _ in range(3):
        result = group.run("failover", **dict(re.findall(r"(accept_loss|to)=(keydb-\d)", advised)))
        if result.code == 0:
            break
        advised += f"{_advice(result)}\n"
    else:
        raise AssertionError(f"failover goes on refusing:\n{advised}")
    group.run("rejoin", **dict(re.findall(r"(accept_loss)=(keydb-\d)", advised))).ok()
    return advised


def _advice(result: Result) -> str:
    refused = re.search(r"refused: .*", result.text)
    assert refused, result.text
    return refused[0]


def report(rounds: Rounds, all_of_them: list[Moment]) -> None:
    """Shown by ``pytest -rP`` and whenever the test fails."""
    print(f"{rounds.verb} has {len(all_of_them)} moments; tried were {len(rounds.tried)}:", *rounds.tried, sep="\n  ")


def turn(group: Sandbox) -> int:
    return list(engines()).index(group.engine)


@pytest.mark.parametrize("verb", IN_CI)
def test_a_verb_that_was_killed_is_finished_by_the_next_run(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str
) -> None:
    there = moments_of(group, verb, listed)
    kill_and_run_again(group, verb, spread(there, IN_CI[verb], turn(group)), there)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_may_be_killed_at_every_moment(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str, chunk: int
) -> None:
    there = moments_of(group, verb, listed)
    kill_and_run_again(group, verb, there[chunk::CHUNKS], there)


@pytest.mark.parametrize("verb", IN_CI_WITHOUT_POWER)
def test_a_verb_is_killed_and_all_nodes_lose_their_power(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str
) -> None:
    there = moments_of(group, verb, listed)
    lose_power_and_recover(group, verb, spread(there, IN_CI_WITHOUT_POWER[verb], turn(group)), there)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_may_be_killed_at_every_change_and_all_nodes_lose_their_power(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str, chunk: int
) -> None:
    """A look leaves nothing behind, so the power loss after it is the one after the change before it."""
    there = [moment for moment in moments_of(group, verb, listed) if changes(moment.command)]
    lose_power_and_recover(group, verb, there[chunk::CHUNKS], there)

"""Every verb is killed straight after each command that it sends, and straight after its answer; another run finishes.

Each round begins with a healthy group under writers. ``make test`` tries a spread of the moments, others on each
engine; ``make test-all`` tries all, and the same with all power lost at that moment.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from kit import NODES, Result, Sandbox, Writer, eventually, writing
from moments import TRIAL, Moment, changes, commands, list_of, moments, run_at, spread
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
        assert died.code == -9 or (died.code == 0 and not changes(moment.command)), f"{moment}:\n{died.text}"
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


def turn_of(engine: str) -> int:
    return list(engines()).index(engine)


@pytest.mark.parametrize("verb", IN_CI)
def test_a_verb_that_was_killed_is_finished_by_the_next_run(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str
) -> None:
    there = moments_of(group, verb, listed)
    kill_and_run_again(group, verb, spread(there, IN_CI[verb], turn_of(group.engine)), there)


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
    lose_power_and_recover(group, verb, spread(there, IN_CI_WITHOUT_POWER[verb], turn_of(group.engine)), there)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_may_be_killed_at_every_change_and_all_nodes_lose_their_power(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str, chunk: int
) -> None:
    """A look leaves nothing behind, so the power loss after it is the one after the change before it."""
    there = [moment for moment in moments_of(group, verb, listed) if changes(moment.command)]
    lose_power_and_recover(group, verb, there[chunk::CHUNKS], there)


# Founding


@contextmanager
def killed_install(engine: str, moment: Moment) -> Iterator[Sandbox]:
    """A sandbox in which an install was killed at a moment."""
    sandbox = Sandbox(engine)
    try:
        died = run_at(sandbox, "install", moment, "kill", {})
        assert died.code == -9 or (died.code == 0 and not changes(moment.command)), f"{moment}:\n{died.text}"
        yield sandbox
    finally:
        list_of(sandbox).unlink(missing_ok=True)
        sandbox.remove()


def founding(engine: str) -> list[Moment]:
    """The moments of a group's first install, by one to which nothing happens."""
    known = _KNOWN.setdefault(engine, {})
    if "install" not in known:
        sandbox = Sandbox(engine)
        try:
            run_at(sandbox, "install", None, "", {}).ok()
            known["install"] = moments(commands(sandbox))
        finally:
            list_of(sandbox).unlink(missing_ok=True)
            sandbox.remove()
    return known["install"]


def kill_an_install_and_run_it_again(engine: str, chosen: list[Moment], *, power_loss: bool) -> None:
    for moment in chosen:
        print(f"install was killed at {moment}, one of {len(founding(engine))} moments")
        with killed_install(engine, moment) as sandbox:
            if power_loss:
                sandbox.kill_all()
            sandbox.install().ok()
            if power_loss and not sandbox.primaries():
                sandbox.run("failover").ok()
                sandbox.run("rejoin").ok()
            sandbox.healthy(sandbox.primaries()[0])
            if not power_loss:
                assert sandbox.primaries() == ["keydb-1"]
            assert sandbox.install().ok().total()[1] == 0, "nothing is left to do"


@pytest.mark.parametrize("power_loss", [False, True])
def test_an_install_that_was_killed_is_finished_by_the_next_one(engine: str, power_loss: bool) -> None:
    there = founding(engine)
    chosen = spread(there, 2 - power_loss, turn_of(engine))
    kill_an_install_and_run_it_again(engine, chosen, power_loss=power_loss)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("power_loss", [False, True])
def test_an_install_may_be_killed_at_every_moment(engine: str, power_loss: bool, chunk: int) -> None:
    there = [moment for moment in founding(engine) if not power_loss or changes(moment.command)]
    kill_an_install_and_run_it_again(engine, there[chunk::CHUNKS], power_loss=power_loss)


# The count itself

COUNTED = ("client", "config", "replicaof", "set", "get", "pfcount", "multi", "pubsub")
"""Commands that nobody but the run sends while no client is there."""


def executed(group: Sandbox) -> Counter[str]:
    """How often the servers say that they executed these."""
    done: Counter[str] = Counter()
    for node in NODES:
        for name, row in dict(group.ask(node, "INFO", "commandstats")).items():  # type: ignore[call-overload]
            word = name.removeprefix("cmdstat_").partition("|")[0]
            if word in COUNTED:
                done[word] += row["calls"]
    return done


def test_every_command_that_a_run_sends_is_counted(group: Sandbox) -> None:
    """The servers' own counters, and the commands that the plan shows, say the same as the list."""
    plan = group.run("switchover", dry=True, to="keydb-2").ok().text
    before = executed(group)

    run_at(group, "switchover", None, "", {}, to="keydb-2").ok()

    lines = [line.partition(": ")[2].rpartition(" #")[0] for line in list_of(group).read_text().splitlines()]
    list_of(group).unlink()
    sent = [part for line in lines if not line.startswith(("sh ", "runtime ", TRIAL)) for part in line.split(" + ")]
    counted = Counter(word for part in sent if (word := part.split()[0].lower()) in COUNTED)
    assert counted["set"] == 3
    # A write is executed by the replicas as well.
    counted["set"] *= len(NODES)
    eventually(lambda: executed(group) - before == counted, f"the servers executed {counted}")
    told = [
        line.strip() for line in plan.splitlines() if line.strip().startswith(("set server ", "shutdown sessions "))
    ]
    assert told
    assert [line.removeprefix("runtime ") for line in lines if line.removeprefix("runtime ") in told] == told


def test_a_death_comes_at_its_moment_and_nothing_behind_it_was_sent(group: Sandbox) -> None:
    promote = Moment(next(line for line in promoted_by(group) if "REPLICAOF NO ONE" in line), "sent")
    group.restore()
    assert run_at(group, "switchover", promote, "kill", {}, to="keydb-2").code == -9
    assert list_of(group).read_text().splitlines()[-1] == promote.command
    list_of(group).unlink()
    eventually(lambda: group.role("keydb-2") == "master", "what was sent was executed")
    assert group.paused("keydb-1")
    assert group.follows("keydb-3", "keydb-1")


def promoted_by(group: Sandbox) -> list[str]:
    """The commands of a switchover to keydb-2."""
    run_at(group, "switchover", None, "", {}, to="keydb-2").ok()
    return commands(group)

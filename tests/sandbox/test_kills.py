"""Every verb is killed straight after each command that it sends, and straight after its answer; another run finishes.

Each round begins with a healthy group under writers. ``make test`` tries a spread of the moments, others on each
engine; ``make test-all`` tries all, and the same with all power lost at that moment.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import redis
from kit import NODES, Result, Sandbox, Writer, eventually, writing
from moments import TRIAL, Moment, changes, commands, insisted, list_of, moments, run_at, spread
from verbs import VERBS, World, places_of

from demo.measure import find_lost, read_journal
from keydb_runbooks.connectors.programs import engines

CHUNKS = 6
"""Into how many tests all moments of a verb are divided."""

SPREAD = {
    "switchover": 4, "failover": 2, "failover-empty": 2, "rejoin": 2, "rejoin-diverged": 2, "rejoin-two-primaries": 2,
    "promote": 2, "demote": 2, "demote-alone": 1, "fence": 1, "unfence": 1, "abort": 1, "start": 1,
}  # fmt: skip
"""How many moments of each verb ``make test`` tries on an engine."""

SPREAD_WITHOUT_POWER = {"switchover": 2, "failover": 1, "failover-empty": 1, "rejoin-two-primaries": 1, "promote": 1}
WRITES_WHILE_KEYS_ARE_COUNTED = 50
ON_EVERY_ENGINE = ("switchover", "failover", "rejoin-diverged")


def on(engine: str, verb: str) -> bool:
    """Whether ``make test`` kills this verb on this engine: the most important ones on each, the others in turn."""
    return verb in ON_EVERY_ENGINE or list(SPREAD).index(verb) % len(engines()) == turn_of(engine)


def turn_of(engine: str) -> int:
    return list(engines()).index(engine)


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
        insisted(lambda: run_at(group, VERBS[verb].deploy, None, "", world.places.names, **world.data)).ok()
        known[verb] = moments(commands(group))
        finish(group, verb, world)
    return known[verb]


def finish(group: Sandbox, verb: str, world: World) -> None:
    """See what the verb promises, run what it leaves to others, and see that all is well."""
    VERBS[verb].kept(group, world)
    for deploy, data in VERBS[verb].behind(world):
        insisted(lambda deploy=deploy, data=data: group.run(deploy, **data)).ok()
    group.healthy(world.primary)


@dataclass
class Rounds:
    """Rounds of one verb in one group under one writer."""

    group: Sandbox
    verb: str
    writer: Writer
    tried: list[str] = field(default_factory=list)
    lossy: list[tuple[float, float]] = field(default_factory=list)
    began: list[float] = field(default_factory=list)

    def killed(self, moment: Moment) -> World:
        """A world in which a run of the verb was killed at this moment."""
        self.began.append(time.monotonic())
        world = VERBS[self.verb].world(self.group, places_of(self.group))
        if world.lossy:
            self.lossy.append(world.lossy)
        died = insisted(
            lambda: run_at(self.group, VERBS[self.verb].deploy, moment, "kill", world.places.names, **world.data)
        )
        # How often something is polled is another number each time; what changes something is always there.
        assert died.code == -9 or (died.code == 0 and not changes(moment.command)), f"{moment}:\n{died.text}"
        self.tried.append(f"{moment}{'' if died.code == -9 else ': not reached'}")
        return world

    def lost(self) -> list[str]:
        """The acknowledged writes that are gone although no dead primary took them with it, and when they were made."""
        self.writer.stop()
        writes = read_journal(self.writer.journal)
        assert len(writes) > 20, "too few writes to tell anything"
        server = self.group.client("proxy-1", "application")
        try:
            lost = find_lost(writes, server)
        finally:
            server.connection_pool.disconnect()
        gone = [one for one in lost if not any(begin <= one.seconds <= end for begin, end in self.lossy)]
        return [f"{one} in {self.round_of(one.seconds)}" for one in sorted(gone, key=lambda one: one.seconds)]

    def round_of(self, seconds: float) -> str:
        number = sum(begin <= seconds for begin in self.began)
        return f"round {number}, {seconds - self.began[number - 1]:.3f} s behind its begin" if number else "no round"


def kill_and_run_again(rounds: Rounds, moment: Moment) -> None:
    """Another run of the same verb finishes what the one that was killed began."""
    group, verb = rounds.group, VERBS[rounds.verb]
    world = rounds.killed(moment)
    again = insisted(lambda: group.run(verb.deploy, **world.data))
    assert again.code == 0, again.text
    finish(group, rounds.verb, world)
    rounds.writer.write_on(0.1)


def lose_power_and_recover(rounds: Rounds, moment: Moment) -> None:
    """Everybody is started guarded, and a person does what is printed."""
    group = rounds.group
    rounds.killed(moment)
    group.kill_all()
    group.run("start").ok()
    most = max(group.keys(node) for node in NODES)
    told = recovered(group)
    group.healthy(group.primaries()[0])
    rounds.writer.write_on(0.1)
    assert "accept_loss" in told or min(group.keys(node) for node in NODES) >= most, told


def recovered(group: Sandbox) -> str:
    """What a person does after a power loss: status, failover as it advises, rejoin. Returns what was advised."""
    advised = ""
    for deploy in ("failover", "rejoin"):
        for _ in range(4):
            given = dict(re.findall(r"(accept_loss|to)=(keydb-\d)", advised))
            result = insisted(lambda deploy=deploy, given=given: group.run(deploy, **given))
            if result.code == 0:
                break
            advised += f"{_advice(result)}\n"
            for node in re.findall(r"run unfence node=(keydb-\d)", advised):
                group.run("unfence", node=node).ok()
        else:
            raise AssertionError(f"{deploy} goes on refusing:\n{advised}")
    for node in set(re.findall(r"(keydb-\d) is fenced", result.text)):
        group.run("unfence", node=node).ok()
    return advised


def _advice(result: Result) -> str:
    refused = re.search(r"refused: .*", result.text)
    assert refused, result.text
    return refused[0]


Round = Callable[[Rounds, Moment], None]


def at_each(group: Sandbox, verb: str, played: Round, chosen: list[Moment], all_of_them: list[Moment]) -> None:
    """Play a round at each of the moments; behind one that failed the group is founded afresh."""
    waiting, failed, tried = list(chosen), list[str](), list[str]()
    per_second = WRITES_WHILE_KEYS_ARE_COUNTED if VERBS[verb].slowly else None
    lossless = played is kill_and_run_again
    while waiting:
        with writing(group, per_second) as writer:
            rounds = Rounds(group, verb, writer)
            try:
                while waiting:
                    moment = waiting.pop(0)
                    played(rounds, moment)
                lost = rounds.lost() if lossless else []
                assert not lost, f"writes are lost: {lost}, rounds: {rounds.tried}, {rounds.began}"
            except (AssertionError, redis.RedisError, IndexError) as error:
                failed.append(f"{moment}: {type(error).__name__}: {error}")
            tried += rounds.tried
        if failed:
            group.restore()
    print(f"{verb} has {len(all_of_them)} moments; tried were {len(tried)}:", *tried, sep="\n  ")
    assert not failed, f"{len(failed)} of {len(chosen)} moments of {verb} failed:\n" + "\n\n".join(failed)


@pytest.mark.parametrize("verb", SPREAD)
def test_a_verb_that_was_killed_is_finished_by_the_next_run(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str
) -> None:
    there = moments_of(group, verb, listed)
    at_each(group, verb, kill_and_run_again, spread(there, SPREAD[verb], turn_of(group.engine)), there)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_may_be_killed_at_every_moment(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str, chunk: int
) -> None:
    there = moments_of(group, verb, listed)
    at_each(group, verb, kill_and_run_again, there[chunk::CHUNKS], there)


@pytest.mark.parametrize("verb", SPREAD_WITHOUT_POWER)
def test_a_verb_is_killed_and_all_nodes_lose_their_power(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str
) -> None:
    there = moments_of(group, verb, listed)
    chosen = spread(there, SPREAD_WITHOUT_POWER[verb], turn_of(group.engine))
    at_each(group, verb, lose_power_and_recover, chosen, there)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_may_be_killed_at_every_change_and_all_nodes_lose_their_power(
    group: Sandbox, listed: dict[str, list[Moment]], verb: str, chunk: int
) -> None:
    """A look leaves nothing behind, so the power loss after it is the one after the change before it."""
    there = [moment for moment in moments_of(group, verb, listed) if changes(moment.command)]
    at_each(group, verb, lose_power_and_recover, there[chunk::CHUNKS], there)


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

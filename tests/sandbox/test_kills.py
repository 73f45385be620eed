"""Every verb is killed straight after each command that it sends, and straight after its answer; another run finishes.

Each round begins with a healthy group under writers. ``make test`` and ``make test-ci`` try a spread of the moments,
others on each engine; ``make test-all`` tries all, and the same with all power lost at that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kit import NODES, Sandbox, eventually
from moments import TRIAL, Moment, changes, chunk_of, commands, list_of, moments, run_at, spread
from rounds import at_each, kill_and_run_again, lose_power_and_recover, moments_of
from verbs import VERBS

from keydb_runbooks.connectors.programs import engines

CHUNKS = 6
"""Into how many tests all moments of a verb are divided."""

SPREAD = {"switchover": 3, "failover": 2}
"""How many moments of the verbs that everybody needs are tried at least, in CI on another engine too."""

OTHERS = tuple(verb for verb in VERBS if verb not in SPREAD)
OTHERS_SPREAD = 1
WITHOUT_POWER = {"switchover": 2, "failover": 1}
OTHERS_WITHOUT_POWER = ("failover-empty", "rejoin-two-primaries", "promote")
"""What else is killed together with everybody's power in CI, each on one engine."""


def turn_of(engine: str) -> int:
    return list(engines()).index(engine)


def kill_some(group: Sandbox, verb: str, count: int) -> None:
    there = moments_of(group, verb)
    at_each(group, verb, kill_and_run_again, spread(there, count, turn_of(group.engine)), there, lossless=True)


def darken_some(group: Sandbox, verb: str, count: int) -> None:
    there = moments_of(group, verb)
    at_each(group, verb, lose_power_and_recover, spread(there, count, turn_of(group.engine)), there, lossless=False)


@pytest.mark.parametrize("verb", SPREAD)
def test_a_verb_that_was_killed_is_finished_by_the_next_run(group: Sandbox, verb: str) -> None:
    kill_some(group, verb, SPREAD[verb])


@pytest.mark.in_ci
@pytest.mark.in_turn("verb", OTHERS)
@pytest.mark.parametrize("verb", OTHERS)
def test_any_verb_that_was_killed_is_finished_by_the_next_run(group: Sandbox, verb: str) -> None:
    kill_some(group, verb, OTHERS_SPREAD)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_may_be_killed_at_every_moment(group: Sandbox, verb: str, chunk: int) -> None:
    there = moments_of(group, verb)
    at_each(group, verb, kill_and_run_again, chunk_of(there, chunk, CHUNKS), there, lossless=True)


@pytest.mark.parametrize("verb", WITHOUT_POWER)
def test_a_verb_is_killed_and_all_nodes_lose_their_power(group: Sandbox, verb: str) -> None:
    darken_some(group, verb, WITHOUT_POWER[verb])


@pytest.mark.in_ci
@pytest.mark.in_turn("verb", OTHERS_WITHOUT_POWER)
@pytest.mark.parametrize("verb", OTHERS_WITHOUT_POWER)
def test_any_verb_is_killed_and_all_nodes_lose_their_power(group: Sandbox, verb: str) -> None:
    darken_some(group, verb, 1)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("verb", [verb for verb in VERBS if VERBS[verb].startable])
def test_a_verb_may_be_killed_at_every_change_and_all_nodes_lose_their_power(
    group: Sandbox, verb: str, chunk: int
) -> None:
    """A look leaves nothing behind, so the power loss after it is the one after the change before it."""
    there = [moment for moment in moments_of(group, verb) if changes(moment.command)]
    at_each(group, verb, lose_power_and_recover, chunk_of(there, chunk, CHUNKS), there, lossless=False)


# Founding

FOUNDING: dict[str, list[Moment]] = {}


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
    if engine not in FOUNDING:
        sandbox = Sandbox(engine)
        try:
            run_at(sandbox, "install", None, "", {}).ok()
            FOUNDING[engine] = moments(commands(sandbox))
        finally:
            list_of(sandbox).unlink(missing_ok=True)
            sandbox.remove()
    return FOUNDING[engine]


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


@pytest.mark.in_ci
@pytest.mark.in_turn("power_loss", [False, True])
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
    kill_an_install_and_run_it_again(engine, chunk_of(there, chunk, CHUNKS), power_loss=power_loss)


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
    sent = [part for line in lines if not line.startswith(("sh ", "runtime ", *TRIAL)) for part in line.split(" + ")]
    counted = Counter(word for part in sent if (word := part.split()[0].lower()) in COUNTED)
    assert counted["set"] == 3
    # A write is executed by the replicas as well.
    counted["set"] *= len(NODES)
    eventually(lambda: executed(group) - before == counted, f"the servers executed {counted}")
    told = [
        line.strip() for line in plan.splitlines() if line.strip().startswith(("set server ", "shutdown sessions "))
    ]
    assert told
    assert [part for line in lines for part in line.removeprefix("runtime ").split(" + ") if part in told] == told


def test_a_run_that_only_looks_has_no_command_that_counts_as_a_change(group: Sandbox) -> None:
    """Else the few moments that are tried are spent on looks."""
    run_at(group, "status", None, "", {}).ok()
    listed = commands(group)
    list_of(group).unlink()
    assert len(listed) > 20
    assert [command for command in listed if changes(command)] == []


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

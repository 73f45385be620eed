"""Rounds in which a run of a verb is killed at a moment, under clients that write, and the group is brought back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis
from kit import NODES, WRITES_PER_SECOND, Result, Sandbox, Writer, writing
from moments import Moment, changes, commands, insisted, list_of, moments, run_at
from verbs import VERBS, World, places_of

from demo.measure import find_lost, read_journal

WRITES_WHILE_KEYS_ARE_COUNTED = 50

KNOWN: dict[str, dict[str, list[Moment]]] = {}


def moments_of(group: Sandbox, verb: str) -> list[Moment]:
    """The moments of a verb, by one run of it to which nothing happens."""
    known = KNOWN.setdefault(group.engine, {})
    if verb not in known:
        world = VERBS[verb].world(group, places_of(group))
        insisted(lambda: run_at(group, VERBS[verb].deploy, None, "", world.places.names, **world.data)).ok()
        known[verb] = moments(commands(group))
        list_of(group).unlink()
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
        # How often something is polled is another number each time, and a proxy may find its route by itself; whatever
        # else changes something is always there.
        elusive = not changes(moment.command) or ": runtime " in moment.command
        assert died.code == -9 or (died.code == 0 and elusive), f"{moment}:\n{died.text}"
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
    """Another run of the same verb finishes what the one that was killed began; if it asks for ``start``, behind that."""
    group, verb = rounds.group, VERBS[rounds.verb]
    world = rounds.killed(moment)
    again = insisted(lambda: group.run(verb.deploy, **world.data))
    if verb.deploy in ("restart", "upgrade") and "run start, then this again" in " ".join(again.text.split()):
        group.run("start").ok()
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


def recovered(group: Sandbox, deploys: tuple[str, ...] = ("failover", "rejoin")) -> str:
    """What a person does after a power loss: failover as it advises, rejoin. Returns what was advised."""
    advised = ""
    for deploy in deploys:
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


def at_each(
    group: Sandbox, verb: str, played: Round, chosen: list[Moment], all_of_them: list[Moment], *, lossless: bool
) -> None:
    """Play a round at each of the moments; behind one that failed the group is founded afresh.

    :param lossless: whether no acknowledged write may be gone in the end, but those that a dead primary took with it
    """
    waiting, failed, tried = list(chosen), list[str](), list[str]()
    per_second = WRITES_WHILE_KEYS_ARE_COUNTED if VERBS[verb].slowly else WRITES_PER_SECOND
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
    list_of(group).unlink(missing_ok=True)
    print(f"{verb} has {len(all_of_them)} moments; tried were {len(tried)}:", *tried, sep="\n  ")
    assert not failed, f"{len(failed)} of {len(chosen)} moments of {verb} failed:\n" + "\n\n".join(failed)

"""The lock test: clients take and release locks while the primary role moves on purpose, or is lost.

A switchover never gives a lock two holders, nor any client an answer that a lock can't give. A failover does neither
either, but for what the old primary acknowledged last, if its plan said that this may be lost.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kit import REPOSITORY, Result, Sandbox, eventually
from lock_test import history
from lock_test.checker import Loss, Verdict, check
from lock_test.clients import LOCKS
from lock_test.history import NEMESIS, Event
from lock_test.story import tell

CLIENTS = "tests/sandbox/lock_test/clients.py"
BROKEN = "tests/sandbox/lock_test/broken.py"


class Locking:
    """Clients at their work, what is done to the group meanwhile, and what the checker says in the end."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.path = sandbox.directory / "locks.jsonl"
        self.done: list[Event] = []
        self.losses: list[Loss] = []
        self.process = subprocess.Popen(
            [sys.executable, CLIENTS, str(sandbox.port), str(self.path)], cwd=REPOSITORY, env=sandbox.environment
        )

    def run(self, verb: str, **data: str) -> Result:
        with self.act(verb, *(f"{key}={value}" for key, value in data.items())):
            return self.sandbox.run(verb, **data)

    @contextmanager
    def act(self, name: str, *words: str) -> Iterator[None]:
        """Something is done to the group; the story tells when."""
        self._note(name, *words, "begins")
        yield
        self._note(name, *words, "is done")

    @contextmanager
    def fault(self, name: str, node: str) -> Iterator[None]:
        """What a primary acknowledged before this may be lost, if the failover's plan predicts it."""
        begin = time.monotonic_ns()
        with self.act(name, node):
            yield
        self.losses.append(Loss(begin, time.monotonic_ns()))

    def go_on(self, seconds: float = 0.5, patience_seconds: float = 10) -> None:
        """Wait until locks were taken for a while after now, each by somebody."""
        wanted = time.monotonic_ns() + int(seconds * history.NANOSECONDS)

        seen = set()
        _, begin = history.read_from(self.path, 0)

        def taken() -> bool:
            nonlocal begin
            assert self.process.poll() is None, "the clients ended"
            events, begin = history.read_from(self.path, begin)
            seen.update(one.value[0] for one in events if one.time > wanted and (one.f, one.type) == ("acquire", "ok"))
            return len(seen) == LOCKS

        eventually(taken, "every lock is taken by somebody", patience_seconds)

    def end(self) -> tuple[Verdict, str]:
        """End the clients and judge; the story is told in plain words."""
        self.stop()
        events = sorted([*history.read(self.path), *self.done], key=lambda event: event.time)
        verdict = check(history.operations(events), self.losses)
        assert verdict.holds > 4 * LOCKS, "too few locks to tell anything"
        return verdict, tell(verdict, events)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(15)

    def _note(self, name: str, *words: str) -> None:
        self.done.append(Event(NEMESIS, "info", name, list(words), time.monotonic_ns()))


@contextmanager
def locking(sandbox: Sandbox) -> Iterator[Locking]:
    """Clients that have begun, and never outlive the test."""
    clients = Locking(sandbox)
    try:
        clients.go_on()
        yield clients
    finally:
        if clients.process.poll() is None:
            clients.process.kill()
            clients.process.wait()


def bytes_predicted(run: Result) -> int | None:
    """How much the plan said that would be lost; None if it said that nobody knows."""
    words = " ".join(run.text.split())
    found = re.search(r"predicted loss (?:(unknown)|([\d,]+) bytes)", words)
    assert found, run.text
    return None if found[1] else int(found[2].replace(",", ""))


def judge_failover(clients: Locking, run: Result) -> None:
    """Nothing was seen but what the plan predicted: nothing at all if it predicted that nothing is lost."""
    if bytes_predicted(run) == 0:
        clients.losses.clear()
    verdict, story = clients.end()
    assert verdict.good, story


def test_no_lock_has_two_holders_through_a_switchover(group: Sandbox) -> None:
    with locking(group) as clients:
        clients.run("switchover", to="keydb-2").ok()
        clients.go_on()
        verdict, story = clients.end()
    assert verdict.good, story
    assert verdict.doubles == (), story
    group.healthy("keydb-2")


@pytest.mark.slow
def test_no_lock_has_two_holders_while_the_role_wanders(group: Sandbox) -> None:
    with locking(group) as clients:
        for target in ("keydb-3", "keydb-2", "keydb-1") * 2:
            clients.run("switchover", to=target).ok()
            clients.go_on(0.2)
        verdict, story = clients.end()
    assert verdict.good, story
    assert verdict.doubles == (), story
    group.healthy("keydb-1")


@pytest.mark.first_engine
def test_a_switchover_that_neither_pauses_nor_waits_is_found_out(group: Sandbox) -> None:
    with locking(group) as clients:
        # On a machine that is overloaded every lock that is held may be over before the next one is taken, once.
        for target in ("keydb-2", "keydb-3", "keydb-1"):
            clients.run(BROKEN, to=target).ok()
            clients.go_on()
        verdict, story = clients.end()
    assert verdict.doubles, f"the lock test is blind: two nodes took writes, and it saw nothing\n{story}"
    assert not verdict.good
    assert "had two holders for" in story
    assert f"-- {BROKEN}: to=keydb-2 begins" in story


@pytest.mark.first_engine
def test_a_killed_primary_gives_locks_away_only_as_predicted(group: Sandbox) -> None:
    with locking(group) as clients:
        with clients.fault("kill -9", "keydb-1"):
            group.kill("keydb-1")
        run = clients.run("failover").ok()
        clients.go_on()
        judge_failover(clients, run)


@pytest.mark.slow
def test_a_frozen_primary_that_wakes_up_gives_nobody_a_lock(group: Sandbox) -> None:
    with locking(group) as clients:
        with clients.fault("freeze", "keydb-1"):
            group.freeze("keydb-1")
        eventually(lambda: not group.heard("keydb-1"), "replicas hear nothing")
        run = clients.run("failover").ok()
        clients.go_on()
        with clients.act("thaw", "keydb-1"):
            group.thaw("keydb-1")
        eventually(lambda: group.answers("keydb-1"), "the old primary answers")
        clients.go_on(1.5)
        clients.run("rejoin", accept_loss="keydb-1").ok()
        clients.go_on()
        judge_failover(clients, run)
    group.healthy(group.primaries()[0])


@pytest.mark.slow
@pytest.mark.first_engine
def test_a_primary_that_is_cut_off_and_comes_back_gives_nobody_a_lock(engine: str) -> None:
    networked = Sandbox(engine, relays=True)
    try:
        networked.install().ok()
        with locking(networked) as clients:
            with clients.fault("cut", "keydb-1"):
                networked.network.cut("keydb-1")
            eventually(lambda: not networked.heard("keydb-1"), "replicas hear nothing")
            run = clients.run("failover").ok()
            clients.go_on()
            with clients.act("heal", "keydb-1"):
                networked.network.heal()
            clients.go_on(1.5)
            clients.run("rejoin", accept_loss="keydb-1").ok()
            clients.go_on()
            judge_failover(clients, run)
    finally:
        networked.remove()


@pytest.mark.slow
def test_several_accidents_in_a_row_give_locks_away_only_as_predicted(group: Sandbox) -> None:
    predicted = []
    with locking(group) as clients:
        for _ in range(3):
            primary = group.primaries()[0]
            with clients.fault("kill -9", primary):
                group.kill(primary)
            predicted.append(bytes_predicted(clients.run("failover").ok()))
            clients.go_on()
            clients.run("start").ok()
            clients.run("rejoin", accept_loss=primary).ok()
            clients.go_on(0.2)
        clients.losses = [loss for loss, count in zip(clients.losses, predicted, strict=True) if count != 0]
        verdict, story = clients.end()
    assert verdict.good, story

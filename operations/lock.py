"""One operator at a time: a lock that lives in the names of held connections and dies with them.

The protocol is convergence-facts, "The lock without a file": claim on every node, look at every node,
withdraw from a smaller claim or a held lock, wait for larger claims to withdraw, then hold. Exactly one of
several runs wins. A run sends every changing command over the very connections that hold its lock.

A run says each second on each of its connections that it lives. One that is silent on all of them for longer than
``GONE_SECONDS`` was cut off or stopped: the next run ends these connections and takes the lock. A run that was silent
proves its lock before it changes anything more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gevent
import redis

from keydb_runbooks.connectors.link import Client, in_parallel
from keydb_runbooks.operations.holders import PREFIX, Holder, Task, told_of, united
from keydb_runbooks.operations.waits import Lines, rest

WAIT_SECONDS = 2.0
WAIT_FOR_GUARD_SECONDS = 10.0
POLL_SECONDS = 0.005

BEAT_SECONDS = 1.0
FRESH_SECONDS = 3.0
"""How long an answer proves a lock: less than ``GONE_SECONDS``, since both clocks run alike for so short a time."""

GONE_SECONDS = 5
"""Whoever was silent for longer is gone: five beats that didn't come."""

SECOND_LOOK_SECONDS = 2.0
"""A server that was frozen finds several beats at once when it wakes up; only the second look counts."""


class LockRefused(Exception):
    """Somebody else is at work, or too few nodes answer; the text says who, from where, since when and what for."""

    def __init__(self, code: str, sentence: str, hint: str) -> None:
        super().__init__(f"{code}: {sentence}; {hint}")
        self.code = code
        self.sentence = sentence
        self.hint = hint


class LockLost(Exception):
    """The lock can't be proved any more: another run may have taken it."""


@dataclass
class Lock:
    """A lock that is held, until ``release``.

    ``took_over`` are the sentences about the runs whose connections were ended for it. ``size`` is how many nodes the
    group has, answering or not.
    """

    clients: dict[str, Client]
    size: int
    name: str
    took_over: tuple[str, ...] = ()
    _answered: dict[str, float] = field(default_factory=dict)
    _beats: list[Any] = field(default_factory=list)

    def begin_to_beat(self) -> None:
        """Say on every connection, each second, that this run lives."""
        for node in self.clients:
            self._answered[node] = _now()
            self._beats.append(gevent.spawn(self._beat, node))

    def prove(self) -> None:
        """See that nobody else can have the lock; it costs nothing while the beats are answered.

        A proof is an answer on so many nodes that none of the others' majorities can do without one of them.

        :raises LockLost: if it can't be proved
        """
        if self._enough():
            return
        in_parallel(self._answer, list(self.clients))
        self._expect_enough()

    @property
    def lives(self) -> bool:
        """Whether the servers answered lately, so that others see this run alive; nobody is asked for it."""
        return self._enough()

    def _expect_enough(self) -> None:
        if not self._enough():
            raise LockLost(
                f"the lock is lost: only {len(self._fresh())} of {self.size} nodes still know this run, "
                "so another one may be at work"
            )

    def adopt(self, node: str, client: Client) -> None:
        """A fresh connection to a node, in place of one that broke, holds the lock as well.

        Whoever took the lock when that one broke would not be seen by a fresh one, so the others must answer now. To
        claim it anew is not enough: another run may have had it, and moved the role, and be gone.

        :raises LockLost: if these alone don't prove the lock
        :raises redis.RedisError: if it can't be named
        """
        client.execute_command("CLIENT", "SETNAME", self.name)
        self._answered.clear()
        in_parallel(self._answer, [other for other in self.clients if other != node])
        self._expect_enough()
        self.clients[node] = client
        self._answered[node] = _now()

    def reclaim(self, node: str, client: Client) -> None:
        """A fresh connection to a group's only node claims the lock anew: the one that it had died with the process.

        Who took it meanwhile, a boot guard for instance, is waited for.

        :raises LockRefused: if somebody else keeps it
        :raises redis.RedisError: if it can't be named
        """
        identity, deadline = self.name.split(":")[1], _now() + WAIT_FOR_GUARD_SECONDS
        while True:
            client.execute_command("CLIENT", "SETNAME", self.name.replace(":held:", ":claim:"))
            try:
                _win({node: client}, identity)
                break
            except LockRefused as error:
                client.execute_command("CLIENT", "SETNAME", "")
                if _now() > deadline:
                    raise
                rest(BEAT_SECONDS, f"for the lock of {node}: {error.sentence}")
        client.execute_command("CLIENT", "SETNAME", self.name)
        self.clients[node] = client
        self._answered[node] = _now()

    def release(self) -> None:
        """Stop the beats; the lock ends with its connections."""
        gevent.killall(self._beats)

    def _enough(self) -> bool:
        return len(self._fresh()) >= self.size - self.size // 2

    def _fresh(self) -> list[str]:
        oldest = _now() - FRESH_SECONDS
        return [node for node, answered in self._answered.items() if answered > oldest]

    def _beat(self, node: str) -> None:
        while True:
            gevent.sleep(BEAT_SECONDS)
            self._answer(node)

    def _answer(self, node: str) -> None:
        asked = _now()
        try:
            # Who loads its data answers that. To a PING Redis and Valkey say -LOADING, and the connection is closed.
            self.clients[node].execute_command("CLIENT", "ID")
        except (redis.RedisError, OSError):
            self._answered.pop(node, None)
        else:
            self._answered[node] = asked


def take(clients: Mapping[str, Client], nodes: tuple[str, ...], task: Task, accept_minority: bool) -> Lock:
    """Take the lock on every node that answers.

    :param clients: the held links by node name
    :param nodes: the names of all nodes of the group, answering or not
    :param task: who wants it, from where, and what for
    :param accept_minority: do without a majority
    :raises LockRefused: if somebody else holds or claims it, or without a majority
    :raises redis.RedisError: if a node stops answering meanwhile
    """
    if len(clients) * 2 <= len(nodes) and not accept_minority:
        raise _no_majority(clients, nodes)
    held = Lock(dict(clients), len(nodes), task.name("held"))
    _name(held.clients, task.name("claim"))
    try:
        held.took_over = _win(held.clients, task.identity)
    except LockRefused:
        _name(held.clients, "")
        raise
    _name(held.clients, held.name)
    if len(clients) * 2 <= len(nodes):
        # What was accepted: the silent ones are somebody else's word.
        held.size = len(clients)
    held.begin_to_beat()
    return held


def _no_majority(clients: Mapping[str, Client], nodes: tuple[str, ...]) -> LockRefused:
    silent = told_of(name for name in nodes if name not in clients)
    sentence = f"only {len(clients)} of {len(nodes)} nodes answer; another operator may hold {silent}"
    return LockRefused(
        "no-majority",
        sentence,
        f"start or reach one of them, or accept_minority_lock=yes if you know that nobody else reaches {silent}",
    )


def _win(clients: dict[str, Client], identity: str) -> tuple[str, ...]:
    """Wait until nobody else is there; what was said of the runs that had gone and were put out of the way.

    :raises LockRefused: if another run holds the lock, or has the smaller claim
    """
    took_over: list[str] = []
    suspected: set[str] = set()
    deadline, lines = time.monotonic() + WAIT_SECONDS, Lines()
    while True:
        others = _others(clients, identity)
        gone = [one for one in others if one.idle_seconds > GONE_SECONDS]
        if gone and {one.identity for one in gone} <= suspected:
            took_over += [_take_over(clients, one) for one in gone]
            continue
        present = [one for one in others if one not in gone]
        winner = next((one for one in present if one.held or one.identity < identity), None)
        if winner is None and present and time.monotonic() > deadline:
            winner = present[0]
        if winner is not None:
            raise LockRefused("locked", f"another run is at work: {winner}", "wait until it ends, then run this again")
        if gone:
            suspected = {one.identity for one in gone}
            rest(SECOND_LOOK_SECONDS, f"a run that seems to be gone is looked at again: {'; '.join(map(str, gone))}")
            deadline = time.monotonic() + WAIT_SECONDS
            continue
        if not others:
            return tuple(took_over)
        lines.tell(partial("another run began too, and withdraws: {}".format, others[0]))
        time.sleep(POLL_SECONDS)


def _take_over(clients: dict[str, Client], gone: Holder) -> str:
    """End the connections of a run that is gone, wherever they were seen: if it comes back, it changes nothing."""
    for node, number in gone.connections:
        clients[node].execute_command("CLIENT", "KILL", "ID", number)
    return f"took over the lock of a run that is gone: {gone}"


def _name(clients: Mapping[str, Client], name: str) -> None:
    in_parallel(lambda client: client.execute_command("CLIENT", "SETNAME", name), clients.values())


def _others(clients: dict[str, Client], identity: str) -> list[Holder]:
    lists = in_parallel(lambda item: (item[0], _rows(item[1])), clients.items())
    rows = [(node, row) for node, rows in lists for row in rows if row.get("name", "").startswith(f"{PREFIX}:")]
    return [one for one in united(rows) if one.identity != identity]


def _rows(client: Client) -> list[dict[str, str]]:
    answer: list[dict[str, str]] = client.execute_command("CLIENT LIST")
    return answer


def _now() -> float:
    """A clock that goes on while this program, or the whole machine, is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

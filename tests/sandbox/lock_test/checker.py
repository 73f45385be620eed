"""Whether a lock ever had two holders, and whether what its clients were told can be true.

Two questions, each lock by itself:

1. **Two holders.** A process holds a lock from its acknowledged SET until it sends the release, or until the lease is
   over, counted from when the SET was sent: whichever is first. Two such times that overlap are two holders.
2. **Is there an order** of the operations, each at one moment between its begin and its end, in which a mutex with leases
   gives every client the answer that it got? This is linearizability, as Knossos and porcupine check it, by the algorithm
   of Lowe ("Testing for linearizability", 2017): all states that the lock may be in are carried from answer to answer.
   An operation that nobody knows the end of may take effect at any later moment, or never.

The mutex: SET NX takes a free lock and is ``busy`` on a taken one; a release frees the lock that has its token and finds
it ``gone`` otherwise; a lease that is over may free the lock at any moment from then on (servers may be late, not early).
What was refused for another reason did not happen.

A failover may lose what the old primary acknowledged last. A plan that predicts it is told to the checker as a ``Loss``: until
its end a lock may be free again, or taken again by a token that it had. Two holders are predicted then if the first had its lock
before that end, and the second got it behind the begin.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from lock_test.history import BUSY, GONE, Operation

SLACK = 10 * 10**6
"""Nanoseconds by which a lease may end early: servers count in whole milliseconds, of a clock that they read now and then,
and KeyDB's is read by a thread that has to get a turn. Clients need a margin of that kind anyway."""


@dataclass(frozen=True)
class Loss:
    """A time in which acknowledged writes may be lost, because a plan said so; nanoseconds."""

    begin: int
    end: int


@dataclass(frozen=True)
class Double:
    """A lock with two holders."""

    first: Operation
    second: Operation
    begin: int
    end: int
    predicted: bool


@dataclass(frozen=True)
class Unexplained:
    """An answer that no order of the operations explains; ``states`` are what the lock may have been before it."""

    operation: Operation
    states: tuple[str | None, ...]


@dataclass(frozen=True)
class Verdict:
    """What a history shows."""

    holds: int
    unknown: int
    doubles: tuple[Double, ...]
    unexplained: tuple[Unexplained, ...]

    @property
    def good(self) -> bool:
        """Nothing was seen but what was predicted."""
        return not self.unexplained and all(double.predicted for double in self.doubles)


def check(history: Iterable[Operation], losses: Iterable[Loss] = ()) -> Verdict:
    """Answer both questions for every lock of a history."""
    allowed, by_lock = tuple(losses), defaultdict(list)
    for operation in history:
        by_lock[operation.lock].append(operation)
    everything = [operation for operations in by_lock.values() for operation in operations]
    return Verdict(
        holds=sum(1 for one in everything if one.f == "acquire" and one.outcome == "ok"),
        unknown=sum(1 for one in everything if one.outcome == "info"),
        doubles=tuple(double for operations in by_lock.values() for double in find_doubles(operations, allowed)),
        unexplained=tuple(
            found for operations in by_lock.values() if (found := find_unexplained(operations, allowed)) is not None
        ),
    )


def find_doubles(operations: list[Operation], losses: tuple[Loss, ...] = ()) -> Iterator[Double]:
    """Each pair of holders of one lock whose times overlap."""
    released = {one.token: one.invoked for one in operations if one.f == "release"}
    held = []
    for one in operations:
        if one.f == "acquire" and one.outcome == "ok" and one.returned is not None:
            end = min(one.invoked + one.lease - SLACK, released.get(one.token, one.invoked + one.lease))
            if one.returned < end:
                held.append((one.returned, end, one))
    held.sort(key=lambda row: row[0])
    for number, (_, end, first) in enumerate(held):
        for other_begin, other_end, second in held[number + 1 :]:
            if other_begin >= end:
                break
            predicted = any(first.invoked <= loss.end and other_begin >= loss.begin for loss in losses)
            yield Double(first, second, other_begin, min(end, other_end), predicted)


SOMEBODY = "an unknown SET"
"""The token of an unknown acquire that nobody releases and whose lease is over: which of them it is makes no difference."""


class State(NamedTuple):
    """What a lock may be.

    ``done``: running operations that have happened. ``used``: unknown acquires that have. ``spent``: how many of those whose
    token is SOMEBODY have.
    """

    token: str | None
    done: frozenset[int] = frozenset()
    used: frozenset[int] = frozenset()
    spent: int = 0


class _Search:
    """The states that one lock may be in, carried through the events in the order of time."""

    def __init__(self, released: set[str]) -> None:
        self.states = {State(None)}
        self.running: dict[int, Operation] = {}
        self.unknown: dict[int, Operation] = {}
        # Tokens that may go at any moment: the lease is over, or a release was sent and not heard of.
        self.may_go: set[str] = {SOMEBODY}
        self.somebodies = 0
        self.released = released
        self.losing = 0
        self.tokens: set[str] = set()

    def close(self, number: int) -> tuple[str | None, ...] | None:
        """An operation was answered: only states remain in which it has happened. If none does, those before it."""
        reached = self._reached()
        left = {state._replace(done=state.done - {number}) for state in reached if number in state.done}
        if not left:
            return tuple(sorted({state.token for state in reached}, key=str))
        del self.running[number]
        self.states = set(_Best(left))
        return None

    def end_lease(self, number: int, token: str) -> None:
        """From now on this token may go at any moment; one that nobody knows more of becomes SOMEBODY."""
        self.may_go.add(token)
        if number not in self.unknown or token in self.released:
            return
        del self.unknown[number]
        self.somebodies += 1
        self.states = set(_Best(_forget(state, number, token) for state in self.states))

    def loss_ends(self) -> None:
        self.states = self._reached()
        self.losing -= 1

    def _reached(self) -> set[State]:
        """Every state that can be reached now, without those that another one makes needless."""
        reached, fresh = _Best(self.states), deque(self.states)
        while fresh:
            fresh.extend(state for state in self._next(fresh.popleft()) if reached.add(state))
        return set(reached)

    def _next(self, state: State) -> Iterator[State]:
        for number, operation in self.running.items():
            if number not in state.done and (change := _apply(operation, state.token)):
                yield state._replace(token=change[0], done=state.done | {number})
        if state.token is None:
            for number, operation in self.unknown.items():
                if number not in state.used:
                    yield state._replace(token=operation.token, used=state.used | {number})
            if state.spent < self.somebodies:
                yield state._replace(token=SOMEBODY, spent=state.spent + 1)
        if state.token in self.may_go:
            yield state._replace(token=None)
        if self.losing:
            yield from (state._replace(token=lost) for lost in (None, *self.tokens))


def _forget(state: State, number: int, token: str) -> State:
    if number not in state.used:
        return state
    left = SOMEBODY if state.token == token else state.token
    return State(left, state.done, state.used - {number}, state.spent + 1)


def find_unexplained(operations: list[Operation], losses: tuple[Loss, ...] = ()) -> Unexplained | None:
    """The first answer that no order of a lock's operations explains, None if there is an order for all."""
    search = _Search({one.token for one in operations if one.f == "release"})
    for _, _, act, number, operation in _events(operations, losses):
        if act == "loss begins":
            search.losing += 1
        elif act == "loss ends":
            search.loss_ends()
        elif operation is None:
            raise AssertionError(act)
        elif act == "may go":
            search.end_lease(number, operation.token)
        elif act == "end":
            states = search.close(number)
            if states is not None:
                return Unexplained(operation, states)
        else:
            search.tokens.add(operation.token)
            (search.unknown if operation.outcome == "info" else search.running)[number] = operation
    return None


def _events(operations: list[Operation], losses: tuple[Loss, ...]) -> list[tuple[int, int, str, int, Operation | None]]:
    """What happens when. At the same moment begins come before ends, since such operations overlap."""
    events: list[tuple[int, int, str, int, Operation | None]] = []
    numbers = count()
    for loss in losses:
        events.append((loss.begin, 0, "loss begins", next(numbers), None))
        events.append((loss.end, 2, "loss ends", next(numbers), None))
    for one in operations:
        number = next(numbers)
        if one.outcome == "fail" and one.error not in (BUSY, GONE):
            continue
        if one.f == "release" and one.outcome == "info":
            events.append((one.invoked, 0, "may go", number, one))
            continue
        events.append((one.invoked, 0, "begin", number, one))
        if one.f == "acquire" and one.outcome != "fail":
            events.append((one.invoked + max(0, one.lease - SLACK), 0, "may go", number, one))
        if one.returned is not None:
            events.append((one.returned, 1, "end", number, one))
    return sorted(events, key=lambda event: event[:2])


def _apply(operation: Operation, token: str | None) -> tuple[str | None] | None:
    """The lock's token behind an operation that was answered as it was; None if that can't have been the answer."""
    if operation.f == "acquire":
        if operation.outcome == "ok":
            return (operation.token,) if token is None else None
        return (token,) if token is not None else None
    if operation.outcome == "ok":
        return (None,) if token == operation.token else None
    return (token,) if token != operation.token else None


class _Best:
    """States, without those that another one makes needless: the same, reached with fewer of the unknown acquires."""

    def __init__(self, states: Iterable[State]) -> None:
        self._known: dict[tuple[str | None, frozenset[int]], list[State]] = defaultdict(list)
        for state in states:
            self.add(state)

    def add(self, state: State) -> bool:
        """Take a state, unless it is needless."""
        known = self._known[state.token, state.done]
        if any(less.used <= state.used and less.spent <= state.spent for less in known):
            return False
        known[:] = [*(more for more in known if not (state.used <= more.used and state.spent <= more.spent)), state]
        return True

    def __iter__(self) -> Iterator[State]:
        return (state for known in self._known.values() for state in known)

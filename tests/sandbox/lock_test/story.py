"""What went wrong with a lock, in plain words and in the order of time."""

from __future__ import annotations

from collections.abc import Iterator

from lock_test.checker import Double, Unexplained, Verdict
from lock_test.history import NANOSECONDS, NEMESIS, Event

AROUND = 12
"""Events of the lock that are told before and behind the moment that is wrong."""


def tell(verdict: Verdict, events: list[Event]) -> str:
    """Every fault of a history, each with the events of its lock around it and what was done to the group."""
    told = [f"{verdict.holds:,} times a lock was taken; of {verdict.unknown} operations nobody knows the end."]
    for double in verdict.doubles:
        told += ["", *_tell_double(double, events)]
    for found in verdict.unexplained:
        told += ["", *_tell_unexplained(found, events)]
    return "\n".join(told)


def _tell_double(double: Double, events: list[Event]) -> Iterator[str]:
    begin = events[0].time
    first, second = double.first, double.second
    milliseconds = (double.end - double.begin) / 10**6
    predicted = ", as was predicted" if double.predicted else ""
    yield f"{first.lock} had two holders for {milliseconds:.1f} ms{predicted}:"
    for holder in (first, second):
        assert holder.returned is not None
        until = _at(holder.invoked + holder.lease, begin)
        yield f"  process {holder.process} took it by {_at(holder.returned, begin)}, with a lease until {until} ({holder.token})"
    yield from _around(first.lock, double.begin, events)


def _tell_unexplained(found: Unexplained, events: list[Event]) -> Iterator[str]:
    operation = found.operation
    assert operation.returned is not None
    held = " or ".join("free" if state is None else f"held by {state}" for state in found.states)
    answer = "ok" if operation.outcome == "ok" else str(operation.error)
    yield f"The {operation} was answered {answer!r} at {_at(operation.returned, events[0].time)}, which can't be:"
    yield f"  in every order of what happened before, the lock was {held}."
    yield from _around(operation.lock, operation.returned, events)


def _around(lock: str, moment: int, events: list[Event]) -> Iterator[str]:
    own = [event for event in events if event.process != NEMESIS and event.value[0] == lock and _matters(event)]
    near = [*[e for e in own if e.time <= moment][-AROUND:], *[e for e in own if e.time > moment][:AROUND]]
    done = [event for event in events if event.process == NEMESIS]
    for event in sorted([*near, *done], key=lambda event: event.time):
        yield f"  {_at(event.time, events[0].time)}  {_sentence(event)}"


def _matters(event: Event) -> bool:
    """Whoever finds a lock taken, again and again, tells little."""
    return event.error != "busy" and not (event.type == "invoke" and event.f == "acquire")


def _sentence(event: Event) -> str:
    if event.process == NEMESIS:
        return f"-- {event.f}: {' '.join(event.value)}"
    ends = {
        "invoke": "is asked for",
        "ok": "is acknowledged",
        "fail": f"did not happen: {event.error}",
        "info": f"has no answer: {event.error}",
    }
    return f"process {event.process}: {event.f} ({event.value[1]}) {ends[event.type]}"


def _at(time: int, begin: int) -> str:
    return f"{(time - begin) / NANOSECONDS:.3f} s"

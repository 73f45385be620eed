"""The checker itself: histories of a correct lock pass, one second holder is found, and tiny ones agree with trying every order."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from lock_test.checker import SLACK, Loss, check, find_unexplained
from lock_test.history import BUSY, GONE, NEMESIS, Event, HistoryError, Operation, operations, read
from lock_test.story import tell

MS = 10**6
LEASE = 100 * MS


class Lock:
    """A mutex with leases as a server has it: one token, and when its lease is over."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.over = 0

    def at(self, now: int, f: str, token: str, lease: int) -> tuple[str, str | None]:
        if self.token is not None and now >= self.over:
            self.token = None
        if f == "acquire":
            if self.token is not None:
                return "fail", BUSY
            self.token, self.over = token, now + lease
            return "ok", None
        if self.token != token:
            return "fail", GONE
        self.token = None
        return "ok", None


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """What several clients see of a correct lock: each does one thing after the other, answers come late or never."""
    plans = []
    for process in range(draw(st.integers(1, 4))):
        now, taken = draw(st.integers(0, 20)) * MS, None
        for number in range(draw(st.integers(1, 5))):
            release = taken is not None and draw(st.booleans())
            token = taken if release else f"{process}-{number}"
            before, behind = (draw(st.integers(0, 30)) * MS for _ in range(2))
            fate = draw(st.sampled_from(["answered", "answered", "answered", "unknown", "never", "refused"]))
            plans.append((now + before, process, number, now, behind, "release" if release else "acquire", token, fate))
            taken = None if release else token
            now += before + behind + draw(st.integers(1, 60)) * MS
    lock, found, ended = Lock(), [], {}
    # The server does one thing after the other, at the moment that was drawn.
    for moment, process, number, invoked, behind, f, token, fate in sorted(plans):
        lease = LEASE if f == "acquire" else 0
        outcome, error = ("fail", "refused") if fate in ("refused", "never") else lock.at(moment, f, token, lease)
        unknown = fate in ("unknown", "never")
        ended[process] = ended.get(process, 0) + unknown
        found.append(
            Operation(
                process=process + 10 * number,
                f=f,
                lock="lock-1",
                token=token,
                invoked=invoked,
                returned=None if unknown else moment + behind,
                outcome="info" if unknown else outcome,
                error=None if unknown else error,
                lease=lease,
            )
        )
    return found


@settings(max_examples=200, deadline=None)
@given(histories())
def test_every_history_of_a_correct_lock_passes(history: list[Operation]) -> None:
    verdict = check(history)
    assert verdict.good, verdict
    assert verdict.doubles == ()


@settings(max_examples=200, deadline=None)
@given(histories(), st.data())
def test_one_second_holder_in_it_is_found(history: list[Operation], data: st.DataObject) -> None:
    released = {one.token: one.invoked for one in history if one.f == "release"}
    held = []
    for one in history:
        if one.f == "acquire" and one.outcome == "ok" and one.returned is not None:
            end = min(one.invoked + one.lease - SLACK, released.get(one.token, one.invoked + one.lease))
            if end - one.returned > 2 * MS:
                held.append((one, end))
    assume(held)
    holder, end = data.draw(st.sampled_from(held))
    assert holder.returned is not None
    invoked = data.draw(st.integers(holder.returned + 1, end - MS))
    returned = data.draw(st.integers(invoked, end - MS))
    second = Operation(99, "acquire", "lock-1", "99-1", invoked, returned, "ok", None, LEASE)
    verdict = check([*history, second])
    assert not verdict.good
    assert any({double.first, double.second} == {holder, second} for double in verdict.doubles)
    assert verdict.unexplained
    # A loss that was predicted for later excuses nothing.
    assert not check([*history, second], [Loss(returned + MS, returned + 2 * MS)]).good


@st.composite
def tiny(draw: st.DrawFn) -> list[Operation]:
    """Up to five operations with any answers at all, true or not."""
    found = []
    tokens = ["a", "b", "c"]
    for number in range(draw(st.integers(1, 5))):
        f = draw(st.sampled_from(["acquire", "release"])) if tokens else "release"
        token = tokens.pop() if f == "acquire" else draw(st.sampled_from(["a", "b", "c"]))
        outcome = draw(st.sampled_from(["ok", "ok", "fail", "info"]))
        invoked = draw(st.integers(0, 12))
        returned = None if outcome == "info" else invoked + draw(st.integers(0, 6))
        error = {"acquire": BUSY, "release": GONE}[f] if outcome == "fail" else None
        # No lease is ever over: that part is tried by the histories above.
        lease = 10**15 if f == "acquire" else 0
        found.append(Operation(number, f, "lock-1", token, invoked, returned, outcome, error, lease))
    return found


def _some_order_explains(history: list[Operation]) -> bool:
    """Try every order of every choice of those that are unknown."""
    unknown = [one for one in history if one.outcome == "info"]
    for chosen in range(2 ** len(unknown)):
        happened = [one for one in history if one.outcome != "info"]
        happened += [one for number, one in enumerate(unknown) if chosen >> number & 1]
        if any(_explains(order) for order in permutations(happened)):
            return True
    return False


def _explains(order: tuple[Operation, ...]) -> bool:
    for number, one in enumerate(order):
        if any(later.returned is not None and later.returned < one.invoked for later in order[number + 1 :]):
            return False
    token: str | None = None
    for one in order:
        if one.f == "acquire":
            if (one.outcome == "fail" and token is None) or (one.outcome == "ok" and token is not None):
                return False
            token = one.token if token is None else token
        else:
            if (one.outcome == "ok" and token != one.token) or (one.outcome == "fail" and token == one.token):
                return False
            token = None if token == one.token else token
    return True


@settings(max_examples=800, deadline=None)
@given(tiny())
def test_it_agrees_with_trying_every_order(history: list[Operation]) -> None:
    explained = _some_order_explains(history)
    event(f"explained: {explained}")
    assert (find_unexplained(history) is None) == explained


def op(
    process: int, f: str, token: str, invoked: int, returned: int | None, outcome: str = "ok", error: str | None = None
) -> Operation:
    lease = LEASE if f == "acquire" else 0
    return Operation(process, f, "lock-1", token, invoked * MS, returned and returned * MS, outcome, error, lease)


TAKEN = op(1, "acquire", "a", 0, 5)

RIGHT = {
    "the lease is over, counted from when the SET was sent": [TAKEN, op(2, "acquire", "b", 101, 102)],
    "the lease is not over, but the release was sent": [
        TAKEN, op(1, "release", "a", 20, None, "info"), op(2, "acquire", "b", 21, 22),
    ],
    "an unknown SET took effect, and keeps others out": [
        op(1, "acquire", "a", 0, None, "info"), op(2, "acquire", "b", 50, 51, "fail", BUSY),
    ],
    "an unknown SET takes effect long behind its lease": [
        op(1, "acquire", "a", 0, None, "info"), op(2, "acquire", "b", 950, 951, "fail", BUSY),
    ],
    "what was refused tells nothing": [TAKEN, op(2, "release", "a", 9, 10, "fail", "READONLY")],
}  # fmt: skip

WRONG = {
    "a second holder": [TAKEN, op(2, "acquire", "b", 20, 21)],
    "busy, though it was released": [
        TAKEN, op(1, "release", "a", 10, 11), op(2, "acquire", "b", 20, 21, "fail", BUSY),
    ],
    "gone, though nobody took it": [TAKEN, op(1, "release", "a", 10, 11, "fail", GONE)],
    "released twice": [TAKEN, op(1, "release", "a", 10, 11), op(2, "release", "a", 12, 13)],
}  # fmt: skip


@pytest.mark.parametrize("history", RIGHT.values(), ids=[name.replace(" ", "-") for name in RIGHT])
def test_what_can_be(history: list[Operation]) -> None:
    assert check(history).good


@pytest.mark.parametrize("history", WRONG.values(), ids=[name.replace(" ", "-") for name in WRONG])
def test_what_cannot_be(history: list[Operation]) -> None:
    assert not check(history).good
    assert check([replace(one, lock=one.token) for one in history if one.f == "acquire"]).doubles == ()


def test_a_predicted_loss_excuses_what_it_may_have_lost_and_nothing_else() -> None:
    lost, loss = [TAKEN, op(2, "acquire", "b", 40, 41)], [Loss(10 * MS, 30 * MS)]
    verdict = check(lost, loss)
    assert verdict.good
    assert verdict.doubles[0].predicted
    verdict = check([*lost, op(3, "acquire", "c", 50, 51)], loss)
    assert not verdict.good
    # The one that was lost held it too, for all that it knew.
    assert [double.predicted for double in verdict.doubles] == [True, True, False]
    assert verdict.unexplained[0].operation.token == "c"


def test_a_story_tells_who_held_what_and_what_was_done(tmp_path) -> None:
    history = [
        Event(1, "invoke", "acquire", ["lock-1", "1-1"], 0, lease=1000),
        Event(1, "ok", "acquire", ["lock-1", "1-1"], 5 * MS),
        Event(NEMESIS, "info", "switchover", ["begins"], 7 * MS),
        Event(2, "invoke", "acquire", ["lock-1", "2-1"], 10 * MS, lease=1000),
        Event(2, "ok", "acquire", ["lock-1", "2-1"], 12 * MS),
        Event(1, "invoke", "release", ["lock-1", "1-1"], 20 * MS),
        Event(1, "info", "release", ["lock-1", "1-1"], 30 * MS, "the connection broke"),
    ]
    path = tmp_path / "locks.jsonl"
    path.write_text("".join(one.line() for one in reversed(history)))
    assert read(path) == history
    told = tell(check(operations(history)), history)
    assert "lock-1 had two holders for 8.0 ms:\n" in told
    assert "process 1 took it by 0.005 s, with a lease until 1.000 s (1-1)" in told
    assert "0.007 s  -- switchover: begins" in told
    assert "The acquire of lock-1 with token 2-1 by process 2 was answered 'ok' at 0.012 s, which can't be" in told
    assert "the lock was held by 1-1." in told
    assert "0.030 s  process 1: release (1-1) has no answer: the connection broke" in told


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([("invoke", "acquire", "a"), ("invoke", "acquire", "b")], "two things at once"),
        ([("invoke", "acquire", "a"), ("ok", "acquire", "b")], "ends what it did not begin"),
        ([("invoke", "acquire", "a"), ("info", "acquire", "a"), ("invoke", "acquire", "b")], "goes on behind its end"),
        ([("invoke", "acquire", "a"), ("ok", "acquire", "a"), ("invoke", "acquire", "a")], "used for two attempts"),
    ],
)  # fmt: skip
def test_what_is_no_history_is_not_judged(lines: list[tuple[str, str, str]], told: str) -> None:
    events = [Event(1, kind, f, ["lock-1", token], number) for number, (kind, f, token) in enumerate(lines)]
    with pytest.raises(HistoryError, match=told):
        operations(events)

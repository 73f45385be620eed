"""What the simulation once found, as short scripts: how the run in question ends since then."""

from collections import Counter

import pytest

from keydb_runbooks.operations import lock
from keydb_runbooks.runbooks import abort
from keydb_runbooks.runbooks.steps import Unpause
from tests.simulation.doors import installed
from tests.simulation.runner import play
from tests.simulation.scripts import Script
from tests.simulation.world import Shape

SILENCE = ("pass", 4000)

FOUND = {
    "a run that lost its lock before it tells the proxy, and another one moved the role meanwhile": (
        (
            ("begin", "C", "switchover", "keydb-3"),
            ("until", "C", 12),
            ("drop", "C"),
            ("begin", "D", "switchover", "keydb-2"),
            ("end", "D"),
            ("end", "C"),
        ),
        "C ends: incomplete; it says: failed and incomplete, 4 steps are left",
    ),
    "a run that lost its lock would end the pause of another one": (
        (
            ("begin", "C", "switchover", "keydb-2"),
            ("until", "C", 6),
            ("drop", "C"),
            ("begin", "D", "switchover", "keydb-3"),
            ("until", "D", 7),
            ("end", "C"),
            ("end", "D"),
        ),
        "C ends: incomplete; it says: failed and incomplete: writes may still be held back",
    ),
    "a link that broke is opened anew, and what was done is undone under the lock of the others": (
        (
            ("begin", "C", "switchover", "keydb-2"),
            ("until", "C", 6),
            ("cut", "keydb-2", "desk-C"),
            ("end", "C"),
        ),
        "C ends: failed and unchanged",
    ),
    "the old primary wakes while the new one, to which somebody was sent already, is frozen": (
        (
            ("freeze", "keydb-1"),
            SILENCE,
            SILENCE,
            ("begin", "A", "failover"),
            ("until", "A", 6),
            ("freeze", "keydb-2"),
            SILENCE,
            ("die", "A"),
            ("wake", "keydb-1"),
            ("begin", "B", "failover"),
            ("end", "B"),
        ),
        "B ends: refused; it says: refused: perhaps-superseded keydb-1: may be superseded: keydb-3 follows keydb-2",
    ),
    "a run that slept is put out of the way by the next one, and changes nothing when it wakes": (
        (
            ("begin", "C", "switchover", "keydb-2"),
            ("until", "C", 7),
            ("pass", 12_000),
            ("begin", "D", "switchover", "keydb-3"),
            ("end", "D"),
            ("end", "C"),
        ),
        "C ends: incomplete; it says: failed and incomplete: the lock is lost",
    ),
    "a promotion waits in the socket of a frozen server, and another node is promoted meanwhile": (
        (
            ("kill", "keydb-1"),
            ("lose disk", "keydb-1"),
            ("start", "keydb-1"),
            ("begin", "A", "failover"),
            ("until", "A", 2),
            ("freeze", "keydb-2"),
            ("end", "A"),
            ("begin", "B", "failover"),
            ("until", "B", 8),
            ("die", "B"),
        ),
        "refused: two-primaries demo: keydb-2 and keydb-3 are primaries",
    ),
    "whoever holds the data is frozen, and follows the address of an empty node that somebody wants at any price": (
        (
            ("kill", "keydb-1"),
            ("lose disk", "keydb-1"),
            ("start", "keydb-1"),
            ("freeze", "keydb-2"),
            ("freeze", "keydb-3"),
            SILENCE,
            ("begin", "A", "failover", "keydb-1", "reckless"),
            ("end", "A"),
        ),
        "A ends: refused; it says: refused: target-empty keydb-1: was restarted and holds no keys, and keydb-2, which",
    ),
    "half a switchover's new primary is frozen, and wakes beside the old one that went on in spite of it": (
        (
            ("begin", "A", "switchover", "keydb-2"),
            ("until", "A", 8),
            ("freeze", "keydb-2"),
            ("die", "A"),
            SILENCE,
            ("begin", "B", "abort", None, "reckless"),
            ("end", "B"),
            ("pass", 3000),
            ("wake", "keydb-2"),
            ("begin", "C", "switchover"),
            ("end", "C"),
        ),
        "C ends: refused; it says: refused: two-primaries demo: keydb-1 and keydb-2 are primaries",
    ),
    "a rejoin stands still before its last test write, which is one that nobody reads": (
        (
            ("kill", "keydb-3"),
            ("start", "keydb-3"),
            ("begin", "A", "rejoin"),
            ("go", "A", 39),
            ("pass", 12_000),
            ("begin", "B", "fence", "keydb-2"),
            ("end", "B"),
            ("end", "A"),
        ),
        "A ends: done; it says: done: rejoin",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_it_ends_well(name):
    acts, sentence = FOUND[name]
    story: list[str] = []
    with installed():
        failure = play(Script(Shape(), acts, ("rejoin", None)), story)
    assert failure is None, "\n".join(story)
    assert sentence in "\n".join(story)


def test_a_run_without_its_lock_tells_no_proxy_anything():
    acts, _ = FOUND["a run that lost its lock before it tells the proxy, and another one moved the role meanwhile"]
    story: list[str] = []
    with installed():
        play(Script(Shape(), acts, ("rejoin", None)), story)
    assert not [line for line in story if "C: set server" in line]
    assert [line for line in story if "D: set server" in line]


@pytest.mark.parametrize("broken", ["_enough", "_expect_enough", "adopt"])
def test_the_lock_is_what_keeps_the_pause_of_another_run(monkeypatch, broken):
    acts, _ = FOUND["a run that lost its lock would end the pause of another one"]
    monkeypatch.setattr(lock.Lock, broken, lambda *_: True)
    with installed():
        failure = play(Script(Shape(), acts, ("rejoin", None)))
    assert failure is not None
    assert failure.check == "two-runs"


def test_who_goes_on_over_a_silent_node_outranks_it_or_that_is_found(monkeypatch):
    acts, _ = FOUND[
        "half a switchover's new primary is frozen, and wakes beside the old one that went on in spite of it"
    ]
    monkeypatch.setattr(abort, "reinstate", lambda _topology, primary, _min_replicas: (Unpause(primary.name),))
    with installed():
        failure = play(Script(Shape(), acts, ("rejoin", None)))
    assert failure is not None
    assert failure.check == "two-writers"


def test_a_plan_announces_whoever_wakes_also_if_it_named_one_who_was_found_dead_later():
    shape = Shape(nodes=5, min_replicas=0, wakes_stale=True)
    killed = (("begin", "A", "failover", None, "careless"), ("go", "A", 11), ("kill", "keydb-2"))
    tally: Counter[str] = Counter()
    with installed():
        failure = play(Script(shape, (("freeze", "keydb-1"), ("pass", 2500), *killed), ("rejoin", None)), tally=tally)
    assert failure is None
    assert tally["known hole: woken-without-lease"] == 1

"""What a plan costs: the gap out of round trips, lost writes out of rates, full resyncs with time, memory and disk."""

from dataclasses import replace

import pytest
from worlds import GOOD, group, orphan, primary, promoted, proxy, replica, silent, stream

from keydb_runbooks.runbooks import failover, rejoin, switchover
from keydb_runbooks.runbooks.cost import Gap, predict_gap, writes_in
from keydb_runbooks.runbooks.plan import Loss, Request
from keydb_runbooks.runbooks.steps import CatchUp, Pause, Promote, RecordLineage, Route, SaveConfiguration, Unpause

ANY = Request()
DEAD = silent(1, "refused", stopped=True)
BUSY = replace(GOOD, commands_per_second=500, input_bytes_per_second=50_000)


def trip(milliseconds: float | None) -> dict:
    return {"round_trip_seconds": None if milliseconds is None else milliseconds / 1000}


PAIR = group(primary(1, **trip(1)), replica(2, **trip(10)), proxy(1, nodes=2))

# (steps, round trips, configuration files, seconds)
GAPS = [
    ((), 0, 0, 0.0),
    ((Promote("keydb-2", 2, 1),), 2, 0, 0.020),
    ((Pause("keydb-1", 1), Promote("keydb-2", 2, 1)), 3, 0, 0.021),
    ((CatchUp("keydb-2", "keydb-1", "run-1", 1.0), Promote("keydb-2", 2, 1)), 4, 0, 0.031),
    ((Promote("keydb-2", 2, 1), RecordLineage("keydb-2", 1), Route("proxy-1", "b", "keydb-2", ("keydb-1",))), 6, 0, 0.052),
    ((Promote("keydb-2", 2, 1), SaveConfiguration("keydb-2"), Route("proxy-1", "b", "keydb-2", ())), 5, 1, 0.046),
    ((Promote("keydb-2", 2, 1), Unpause("keydb-1"), SaveConfiguration("keydb-1")), 2, 0, 0.020),
]  # fmt: skip


@pytest.mark.parametrize("steps, trips, saves, seconds", GAPS)
def test_the_gap_is_every_round_trip_and_file_up_to_the_last_step_that_clients_wait_for(steps, trips, saves, seconds):
    gap = predict_gap(steps, PAIR)
    assert (gap.trips, gap.saves) == (trips, saves)
    assert gap.seconds == pytest.approx(seconds)


def test_a_gap_is_told_with_what_it_is_made_of():
    told = "about 28 ms (15 round trips and 3 configuration files to save, by the round trips measured just now)"
    plan = switchover.plan(group(primary(1), replica(2), replica(3), proxy(1)), ANY, 1)
    assert plan.gap == f"writers wait while the role moves: {told}"


def test_a_gap_is_told_in_milliseconds():
    assert str(Gap(0.6, 2, 1)).startswith("about 600 ms (2 round trips and 1 configuration files to save")


def test_a_gap_with_an_unmeasured_round_trip_is_unknown():
    plan = switchover.plan(group(primary(1, **trip(None)), replica(2)), ANY, 1)
    made_of = "8 round trips and 0 configuration files to save; not every round trip was measured"
    assert plan.gap == f"writers wait while the role moves: unknown ({made_of})"


@pytest.mark.parametrize(
    "count, condition, writes",
    [
        (1000, BUSY, 10),
        (1050, BUSY, 10),
        (1, BUSY, 1),
        (1000, GOOD, None),
        (1000, replace(BUSY, commands_per_second=None), None),
        (1000, replace(BUSY, input_bytes_per_second=None), None),
    ],
)
def test_writes_are_counted_by_the_bytes_of_the_last_seconds_writes(count, condition, writes):
    assert writes_in(count, replica(2, condition=condition)) == writes


SILENCE = "keydb-1 can't be read, so what it acknowledged last can't be counted"


def test_what_a_second_of_the_lost_stream_would_be_is_told_where_a_server_counts_that_alone():
    told = "keydb-2 last got 40,000 bytes of the stream a second"
    counting = replace(BUSY, stream_bytes_per_second=40_000)
    assert str(failover.plan(group(DEAD, orphan(2, condition=counting)), ANY, 0).loss) == f"unknown ({SILENCE}; {told})"
    # What it gets of everybody, health checks among them, is no measure of writes.
    for rate in (None, 0):
        other = orphan(2, condition=replace(BUSY, stream_bytes_per_second=rate))
        assert str(failover.plan(group(DEAD, other), ANY, 0).loss) == f"unknown ({SILENCE})"


def given_up(*members, accepted: str, condition=GOOD) -> str:
    request = Request(to="keydb-2", accept_loss=frozenset({accepted}))
    told = str(failover.plan(group(DEAD, orphan(2, condition=condition), *members), request, 1).loss)
    return told.removeprefix(f"unknown ({SILENCE}").removesuffix(")")


def test_what_others_give_up_for_a_failover_is_counted():
    assert given_up(orphan(3, offset=1400), accepted="keydb-3") == "; 400 bytes that only keydb-3 holds are given up"
    told = given_up(orphan(3, offset=1400), accepted="keydb-3", condition=BUSY)
    assert told.endswith("; 400 bytes, about 4 writes that only keydb-3 holds are given up")
    stranger = orphan(3, replication_id=stream("f"))
    assert given_up(stranger, accepted="keydb-3") == "; what only keydb-3 holds is unknown and given up"
    assert given_up(orphan(3), accepted="keydb-3") == ""
    assert given_up(orphan(3), accepted="keydb-2") == ""


def test_bytes_that_a_rejoin_gives_up_are_about_so_many_writes():
    request = Request(accept_loss=frozenset({"keydb-3"}))
    members = (primary(1, condition=BUSY), orphan(3, 9, offset=3000))
    assert rejoin.plan(group(*members), request, 1).loss == Loss(2000, "accepted by you, counted from the offsets", 20)
    assert str(Loss(2000, "why", 20)) == "2,000 bytes, about 20 writes (why)"


NEED = "full resync of keydb-3 from keydb-2: 1,000,000 bytes; about 2 s at 500,000 bytes/s (its last save or sync); up to 7 bytes of memory on keydb-2 while it forks; up to 1,000,000 bytes of disk on keydb-3"


def needs(target: dict, sibling) -> tuple[str, ...]:
    seen = group(DEAD, orphan(2, memory_used=7, **target), sibling)
    return failover.plan(seen, Request(to="keydb-2", accept_loss=frozenset({"keydb-3"})), 1).needs


def test_a_full_resync_is_told_with_its_time_memory_and_disk():
    assert needs({}, orphan(3, keys=0)) == (NEED,)
    assert needs({"backlog_first": None}, orphan(3)) == (NEED,)
    assert needs({"backlog_first": 900}, orphan(3, offset=898)) == (NEED,)
    # Whoever holds more than the candidate is left for rejoin.
    assert needs({}, orphan(3, offset=1400)) == ()


def test_who_can_resync_partially_needs_nothing():
    assert needs({"backlog_first": 900}, orphan(3, offset=899)) == ()
    assert needs({}, orphan(3)) == ()
    # Whoever is loading is left for rejoin.
    assert needs({}, orphan(3, loading=True)) == ()


@pytest.mark.parametrize(
    "condition, told",
    [
        (replace(GOOD, save_seconds=0), "under 1 s (as its last save or sync took)"),
        (replace(GOOD, save_seconds=None), "time unknown (it never saved or sent its data)"),
        (replace(GOOD, dataset_bytes=None), "time, memory and disk are unknown (it did not tell how much data it has)"),
        (replace(GOOD, diskless_sync=False), "bytes of disk on keydb-2 and keydb-3"),
        (replace(GOOD, diskless_sync=None), "bytes of disk on keydb-2 and keydb-3"),
    ],
)
def test_what_a_full_resync_needs_is_unknown_if_nothing_told(condition, told):
    [need] = needs({"condition": condition}, orphan(3, keys=0))
    assert told in need


def test_a_full_resync_without_any_disk():
    [need] = needs({}, orphan(3, keys=0, condition=replace(GOOD, diskless_load=True)))
    assert need.endswith("; no disk")


def test_in_a_switchover_whoever_follows_now_needs_what_the_targets_backlog_lacks():
    def told(*members):
        return [need.split(":")[0] for need in switchover.plan(group(*members), Request(to="keydb-2"), 1).needs]

    assert told(primary(1), replica(2), replica(3, offset=1040)) == []
    assert told(primary(1), replica(2, backlog_first=1001), replica(3)) == []
    assert told(primary(1), replica(2, backlog_first=None), replica(3)) == [
        "full resync of keydb-3 from keydb-2",
        "full resync of keydb-1 from keydb-2",
    ]
    assert told(primary(1), replica(2, backlog_first=992), replica(3, offset=990)) == [
        "full resync of keydb-3 from keydb-2"
    ]
    # One that doesn't follow yet is measured by its lineage.
    assert told(primary(1), replica(2), orphan(3, 9, keys=0)) == ["full resync of keydb-3 from keydb-2"]
    assert told(primary(1), replica(2), orphan(3, 1)) == []
    assert told(primary(1), replica(2), replica(3, replication_id=stream("f"))) == [
        "full resync of keydb-3 from keydb-2"
    ]


def test_what_finishes_a_dead_run_or_rejoins_tells_its_full_resyncs_too():
    plan = rejoin.plan(group(promoted(2), orphan(3, 9, keys=0)), ANY, 1)
    assert [need.split(":")[0] for need in plan.needs] == ["full resync of keydb-3 from keydb-2"]

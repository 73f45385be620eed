"""What INFO of a replica and its primary tell of a full resync, and what counts as progress of it."""

from dataclasses import replace

import pytest

from keydb_runbooks.runbooks.replication import Address, Replica, read_info
from keydb_runbooks.runbooks.resync import TRIES, Phase, Progress, Resync, read_heard, read_resync

# What each server said, as it was measured (docs/engines.md, "A full resync").
KEYS = "current_save_keys_total:500000\ncurrent_save_keys_processed:"
SAID = [
    ("its link is up", "master_sync_in_progress:0", "", None),
    ("it is a primary", "role:master", "", None),
    (
        "the primary writes a file",
        "master_sync_in_progress:1\nmaster_sync_total_bytes:-1\nmaster_sync_read_bytes:0",
        f"{KEYS}150529",
        Resync(Phase.WRITES, 150_529, 500_000),
    ),
    (
        "the primary has not begun",
        "master_sync_in_progress:1\nmaster_sync_total_bytes:-1\nmaster_sync_read_bytes:0",
        "current_save_keys_total:0\ncurrent_save_keys_processed:0",
        Resync(Phase.WRITES, 0, None),
    ),
    ("nothing is counted yet", "master_sync_in_progress:1", f"{KEYS}1", Resync(Phase.WRITES, 0, 500_000)),
    ("the first keys are counted", "master_sync_in_progress:1", f"{KEYS}2", Resync(Phase.WRITES, 2, 500_000)),
    ("neither tells anything", "master_sync_in_progress:1", "", Resync(Phase.WRITES, 0, None)),
    (
        "a file comes",
        "master_sync_in_progress:1\nmaster_sync_total_bytes:1000\nmaster_sync_read_bytes:400",
        f"{KEYS}0",
        Resync(Phase.COMES, 400, 1000),
    ),
    (
        "data come without a file",
        "master_sync_in_progress:1\nmaster_sync_total_bytes:0\nmaster_sync_read_bytes:400",
        f"{KEYS}150529",
        Resync(Phase.COMES, 400, None, 30),
    ),
    (
        "the file is loaded",
        "loading:1\nloading_loaded_bytes:30\nloading_total_bytes:40\nmaster_sync_in_progress:1\nmaster_sync_read_bytes:40",
        f"{KEYS}1",
        Resync(Phase.LOADS, 30, 40),
    ),
    (
        "they are loaded as they come",
        "loading:1\nloading_loaded_bytes:30\nloading_total_bytes:0\nmaster_sync_in_progress:1",
        f"{KEYS}500000",
        Resync(Phase.LOADS, 30, None, 100),
    ),
    ("it loads, and doesn't say how much", "loading:1", "", Resync(Phase.LOADS, 0, None)),
]


@pytest.mark.parametrize(("replica", "primary", "expected"), [row[1:] for row in SAID], ids=[row[0] for row in SAID])
def test_what_both_say_tells_how_far_it_is(replica, primary, expected):
    assert read_resync(read_info(replica), read_info(primary)) == expected


def test_keys_are_written_and_bytes_come():
    assert [Resync(phase, 1).unit for phase in Phase] == ["keys", "keys", "bytes", "seconds", "bytes"]


def listed(**changes):
    return replace(Replica(Address("10.0.0.2", 6379), online=False, offset=0, lag_seconds=0, waits=True), **changes)


@pytest.mark.parametrize(
    ("row", "primary", "expected"),
    [
        (listed(), f"rdb_bgsave_in_progress:1\n{KEYS}150529", Resync(Phase.WAITS, 150_529, 500_000)),
        (listed(), f"rdb_bgsave_in_progress:0\naof_rewrite_in_progress:1\n{KEYS}1", Resync(Phase.WAITS, 0, 500_000)),
        (listed(), "rdb_bgsave_in_progress:0\naof_rewrite_in_progress:0", None),
        (listed(), "", None),
        (listed(waits=False), f"rdb_bgsave_in_progress:1\n{KEYS}150529", None),
        (None, f"rdb_bgsave_in_progress:1\n{KEYS}150529", None),
    ],
)
def test_who_has_no_answer_yet_waits_while_the_primary_writes_for_another(row, primary, expected):
    assert read_resync(read_info("master_sync_in_progress:0"), read_info(primary), row) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (None, None),
        (listed(), Resync(Phase.WRITES, 150_529, 500_000)),
        (listed(waits=False), Resync(Phase.COMES, 0)),
        (listed(waits=False, online=True, lag_seconds=3), Resync(Phase.EMPTIES, 57, 60)),
        (listed(waits=False, online=True, lag_seconds=None), Resync(Phase.EMPTIES, 60, 60)),
        (listed(waits=False, online=True, offset=1), None),
    ],
)
def test_of_a_silent_one_its_primary_tells(row, expected):
    assert read_heard(read_info(f"uptime_in_seconds:60\n{KEYS}150529"), row) == expected


def test_a_primary_that_does_not_say_how_long_it_lives_has_heard_it_at_no_known_moment():
    row = listed(waits=False, online=True)
    assert read_heard({}, row) == Resync(Phase.EMPTIES, 0, 0)


def begun(*looks):
    """What is known behind some looks, and behind which of them it got further."""
    progress, further = Progress(), []
    for number, look in enumerate(looks):
        seen = progress.see(look)
        if seen.further(progress):
            further.append(number)
        progress = seen
    return progress, further


def test_what_gets_further_is_progress_and_what_stands_still_is_none():
    looks = (
        None,
        Resync(Phase.WRITES, 0, None),
        Resync(Phase.WRITES, 0, 9),
        Resync(Phase.WRITES, 5, 9),
        Resync(Phase.COMES, 1, 100),
        Resync(Phase.COMES, 1, 100),
        Resync(Phase.LOADS, 0, 100),
        Resync(Phase.LOADS, 0, 100),
        Resync(Phase.LOADS, 100, 100),
        None,
    )
    assert begun(*looks) == (Progress(Resync(Phase.LOADS, 100, 100), 1, over=True), [1, 3, 4, 6, 8])


def test_one_that_begins_again_and_again_is_no_progress_for_ever():
    """A replica whose primary cuts it off, as its buffer is full, gets the same bytes each time."""
    once = [Resync(Phase.WRITES, 0), Resync(Phase.COMES, 500), Resync(Phase.COMES, 900)]
    progress, further = begun(*(once * 10))
    assert (progress.begun, progress.exhausted, further) == (10, True, list(range(3 * TRIES)))


def test_one_that_began_too_often_is_no_progress_however_far_it_gets():
    """The data grow meanwhile, and with them what each try gets before it is cut off."""
    tries = [Resync(Phase.LOADS, done, done) for number in range(10) for done in (0, 1000 + number)]
    _, further = begun(*tries)
    assert further == list(range(2 * TRIES))


def test_one_that_is_over_and_is_seen_again_has_begun_again():
    """Loading data as they come, a replica answers at each 2 MiB, and those are a few bytes more each time."""
    seen = [look for number in range(10) for look in (Resync(Phase.LOADS, 2_096_783 + 27 * number), None, None)]
    progress, further = begun(*seen)
    assert (progress.begun, further) == (10, [0, 3, 6])
    # Also at the very same place.
    assert begun(Resync(Phase.LOADS, 7), None, Resync(Phase.LOADS, 7))[0].begun == 2


def test_another_save_and_its_own_are_one_try():
    waits = [Resync(Phase.WAITS, 0, 9), Resync(Phase.WAITS, 9, 9)]
    progress, further = begun(*waits, None, Resync(Phase.WRITES, 0, 9))
    assert (progress.begun, further) == (1, [0, 1, 3])
    # Another's save behind another's: that may not go on for ever either.
    assert begun(*waits * 10)[1] == list(range(2 * TRIES))


def test_who_was_heard_is_heard_again_whatever_was_rounded():
    heard = [Resync(Phase.EMPTIES, second) for second in (50, 51, 50, 51, 52)]
    assert begun(*heard) == (Progress(heard[-1], 1), [0, 1, 4])

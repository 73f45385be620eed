"""Waiting until a replica is in sync: what is told of a full resync, and when the wait is given up."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

sys.path.append(str(Path(__file__).parent / "runbooks"))
from worlds import address, broken, orphan, promoted, replica

from keydb_runbooks.connectors.link import LinkError
from keydb_runbooks.operations import perform_restart, perform_sync, waits
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.runbooks.replication import Replica
from keydb_runbooks.runbooks.steps import InSync
from keydb_runbooks.runbooks.steps_restart import BackInSync

STEP = InSync("keydb-1", "keydb-2", address(2), 60.0)
UP, DOWN = replica(1, of=2), orphan(1, of=2, links=(broken(2),))
COMES = "master_sync_in_progress:1\nmaster_sync_total_bytes:{total}\nmaster_sync_read_bytes:{came}"
KEYS = "current_save_keys_total:1000\ncurrent_save_keys_processed:{}"
TIMEOUT = redis.TimeoutError("Timeout reading from socket")


class Links:
    """What a node says at each look, and a clock: each look at the replica takes a second.

    ``said`` gives, by the second, an exception that the look meets, or an INFO; "up" is one that is in sync. ``told``
    gives INFO of the primary, and ``listed`` the replica as that has it.
    """

    def __init__(self, monkeypatch, said, master=None, reopening=None, told=None, listed=None):
        self.said, self.master, self.reopening = said, master or promoted(2), reopening
        self.told_by, self.listed = told or (lambda now: KEYS.format(250)), listed or (lambda now: None)
        self.now, self.told, self.reopened, self.adopted = -1, [], 0, []
        self.lock = SimpleNamespace(adopt=lambda name, client: self.adopted.append((name, client)))
        self.group = SimpleNamespace(node=lambda name: SimpleNamespace(address=address(int(name[-1]))))
        clock = SimpleNamespace(monotonic=lambda: float(max(self.now, 0)), sleep=lambda seconds: None)
        monkeypatch.setattr(waits, "time", clock)
        monkeypatch.setattr(waits.logger, "info", self.print)

    def print(self, line):
        """Each wait's lines as one, however it is wrapped."""
        if "waits: " in line:
            self.told.append(line)
        else:
            self.told[-1] += f" {line.strip()}"

    def info(self, name):
        if name == "keydb-2":
            return self.told_by(self.now)
        self.now += 1
        assert self.now < 1000, "it waits for ever"
        said = self.said(self.now)
        if isinstance(said, Exception):
            raise said
        return said

    def understood(self, name, info):
        if name == "keydb-2":
            row = self.listed(self.now)
            return self.master if row is None else replace(self.master, replicas=(row,))
        if info.startswith("up"):
            return replace(UP, offset=int(info[2:] or 0))
        return DOWN

    def node(self, name):
        return f"link {self.reopened}"

    def reopen(self, name, *, loading):
        assert loading
        self.reopened += 1
        error = self.reopening(self.now) if self.reopening else None
        if error:
            self.now += 1
            raise error


def test_a_full_resync_may_take_as_long_as_bytes_come(monkeypatch):
    links = Links(monkeypatch, lambda now: "up" if now > 300 else COMES.format(total=30_000, came=1 + now * 100))
    assert perform_sync._in_sync(STEP, links) == "is in sync with keydb-2"
    line = links.told[99]
    assert "keydb-1 is not in sync with keydb-2 yet: full resync: it gets the data of keydb-2: " in line
    assert "10,001 of 30,000 bytes, 19,999 left, 100 bytes/s, 200.0 s left (100 s, until " in line
    assert line.endswith(" UTC if it gets no further)")


def test_a_full_resync_that_stands_still_is_given_up(monkeypatch):
    links = Links(monkeypatch, lambda now: COMES.format(total=0, came=1 + min(now, 100) * 100))
    with pytest.raises(StepFailed) as failed:
        perform_sync._in_sync(STEP, links)
    assert 160 <= links.now <= 162
    assert str(failed.value) == (
        "keydb-1 is not in sync with keydb-2: no progress for 60 s (full resync: it gets the data of keydb-2: "
        "10,001 bytes, stands still; 25 % of the keys are sent)"
    )


def test_a_link_that_never_comes_up_is_given_up_after_the_time(monkeypatch):
    links = Links(monkeypatch, lambda now: "role:slave")
    with pytest.raises(StepFailed, match=r"no progress for 60 s \(its link to 10.0.0.2:6379 is down\)"):
        perform_sync._in_sync(STEP, links)
    assert 60 <= links.now <= 62


def test_a_replica_that_throws_its_data_away_answers_nobody_and_is_waited_for(monkeypatch):
    """The link to it breaks, and with it the lock there; a fresh one holds it again."""
    said = lambda now: "up" if now > 20 else TIMEOUT if now > 10 else COMES.format(total=9_000, came=9_000)  # noqa: E731
    links = Links(
        monkeypatch, said, reopening=lambda now: LinkError("no-answer", "keydb-1 is mute") if now < 20 else None
    )
    perform_sync._in_sync(STEP, links)
    assert any("full resync: keydb-1 is mute" in line for line in links.told)
    assert links.adopted[-1] == ("keydb-1", f"link {links.reopened}")


def test_behind_its_silence_one_that_loads_tells_how_far_it_is(monkeypatch):
    def said(now):
        loads = f"loading:1\nloading_loaded_bytes:{now * 100}\nloading_total_bytes:90000"
        return "up" if now > 200 else TIMEOUT if 2 < now < 9 else loads

    links = Links(monkeypatch, said)
    perform_sync._in_sync(STEP, links)
    assert links.reopened == 6
    assert "it loads the data of keydb-2: 20,000 of 90,000 bytes" in links.told[-1]


def listed(online=True, offset=0, lag=0, waits=False):
    return Replica(address(1), online, offset, lag, waits)


@pytest.mark.parametrize("seconds", [200, 20])
def test_one_that_its_primary_hears_throws_its_data_away_for_as_long_as_it_is_heard(monkeypatch, seconds):
    """However long that takes, and though no look saw its resync; one that is frozen says nothing to its primary."""
    links = Links(
        monkeypatch,
        lambda now: TIMEOUT,
        told=lambda now: f"uptime_in_seconds:{1000 + now}",
        listed=lambda now: listed(lag=max(1, now - seconds)),
    )
    with pytest.raises(
        StepFailed,
        match=r"no progress for 60 s \(full resync: 10.0.0.1:6379 did not answer in time, keydb-2 sent it all, and heard it 6\d s",
    ):
        perform_sync._in_sync(STEP, links)
    assert seconds + 60 <= links.now <= seconds + 63
    assert " did not answer in time, keydb-2 sent it all, and heard it 1 s ago (" in links.told[4]


def test_silence_is_waited_for_while_the_primary_sends_its_data(monkeypatch):
    """Without a file the primary writes as fast as the replica loads, which answers seldom then."""
    links = Links(
        monkeypatch,
        lambda now: "up" if now > 200 else TIMEOUT,
        told=lambda now: KEYS.format(2 + now),
        listed=lambda now: listed(online=False, waits=True),
    )
    assert perform_sync._in_sync(STEP, links) == "is in sync with keydb-2"
    assert "did not answer in time, keydb-2 writes its data: 102 of 1,000 keys, 898 left, 1 keys/s, " in links.told[99]


def test_one_that_is_silent_and_begins_again_and_again_is_given_up(monkeypatch):
    links = Links(
        monkeypatch,
        lambda now: TIMEOUT,
        told=lambda now: KEYS.format(2 + now % 10),
        listed=lambda now: listed(online=False, waits=True) if (now + 1) % 10 else None,
    )
    with pytest.raises(StepFailed, match="no progress for 60 s"):
        perform_sync._in_sync(STEP, links)
    assert 80 <= links.now <= 95


def test_one_that_throws_its_data_away_again_and_again_is_given_up(monkeypatch):
    links = Links(
        monkeypatch,
        lambda now: TIMEOUT if now % 10 < 5 else "role:slave",
        told=lambda now: f"uptime_in_seconds:{1000 + now}",
        listed=lambda now: listed(),
    )
    with pytest.raises(StepFailed, match="no progress for 60 s"):
        perform_sync._in_sync(STEP, links)
    assert 80 <= links.now <= 95


@pytest.mark.parametrize("row", [None, listed(offset=1000)], ids=["unlisted", "acknowledges"])
def test_nobody_waits_for_silence_of_one_that_is_in_no_full_resync(monkeypatch, row):
    links = Links(monkeypatch, lambda now: TIMEOUT, listed=lambda now: row)
    with pytest.raises(redis.TimeoutError):
        perform_sync._in_sync(STEP, links)


def test_one_that_gets_data_and_is_silent_is_no_progress(monkeypatch):
    links = Links(monkeypatch, lambda now: TIMEOUT, listed=lambda now: listed(online=False))
    with pytest.raises(StepFailed, match=r"did not answer in time, it gets the data of keydb-2\)"):
        perform_sync._in_sync(STEP, links)
    assert 60 <= links.now <= 63


def test_one_that_waits_for_its_turn_is_waited_for_as_long_as_the_primary_writes(monkeypatch):
    links = Links(
        monkeypatch,
        lambda now: "up" if now > 200 else "role:slave",
        told=lambda now: f"rdb_bgsave_in_progress:1\n{KEYS.format(2 + now)}",
        listed=lambda now: listed(online=False, waits=True),
    )
    assert perform_sync._in_sync(STEP, links) == "is in sync with keydb-2"
    told = (
        "full resync: it waits for its turn: keydb-2 writes its data for another: 102 of 1,000 keys, 898 left, 1 keys/s"
    )
    assert told in links.told[99]


def test_one_that_stays_silent_in_a_full_resync_is_given_up(monkeypatch):
    said = lambda now: TIMEOUT if now else COMES.format(total=9_000, came=9_000)  # noqa: E731
    links = Links(monkeypatch, said, reopening=lambda now: LinkError("no-answer", "keydb-1 is mute"))
    with pytest.raises(StepFailed, match=r"no progress for 60 s \(full resync: keydb-1 is mute, perhaps as it throws"):
        perform_sync._in_sync(STEP, links)
    assert 60 <= links.now <= 63


def test_silence_without_a_full_resync_and_an_end_of_the_server_are_not_waited_for(monkeypatch):
    with pytest.raises(redis.TimeoutError):
        perform_sync._in_sync(STEP, Links(monkeypatch, lambda now: TIMEOUT))
    said = lambda now: TIMEOUT if now else COMES.format(total=9_000, came=9_000)  # noqa: E731
    links = Links(monkeypatch, said, reopening=lambda now: LinkError("refused", "nothing listens on keydb-1"))
    with pytest.raises(LinkError, match="nothing listens"):
        perform_sync._in_sync(STEP, links)


def test_nobody_waits_for_a_replica_whose_primary_is_none_any_more(monkeypatch):
    links = Links(monkeypatch, lambda now: "role:slave", master=replica(2))
    with pytest.raises(StepFailed, match="keydb-2, its primary, no longer says that it is one"):
        perform_sync._in_sync(STEP, links)


def test_nobody_waits_for_a_silent_replica_whose_primary_is_silent_too(monkeypatch):
    links = Links(monkeypatch, lambda now: TIMEOUT if now else COMES.format(total=9, came=9))
    primary_said = links.understood

    def understood(name, info):
        if name == "keydb-2" and links.now > 0:
            raise TIMEOUT
        return primary_said(name, info)

    monkeypatch.setattr(links, "understood", understood)
    with pytest.raises(StepFailed, match="keydb-2, its primary, no longer answers"):
        perform_sync._in_sync(STEP, links)
    assert links.now == 1


def test_each_part_of_a_full_resync_is_counted_by_itself(monkeypatch):
    def said(now):
        if now > 9:
            return "up"
        return COMES.format(total=9_000, came=now * 10) if now > 5 else "master_sync_in_progress:1"

    links = Links(monkeypatch, said)
    perform_sync._in_sync(STEP, links)
    assert "full resync: keydb-2 writes its data: 250 of 1,000 keys, 750 left, stands still (5 s, " in links.told[4]
    assert "it gets the data of keydb-2: 60 of 9,000 bytes, 8,940 left (6 s, " in links.told[5]
    assert "it gets the data of keydb-2: 70 of 9,000 bytes, 8,930 left, 10 bytes/s, " in links.told[6]


def test_one_that_is_cut_off_while_it_loads_again_and_again_is_given_up(monkeypatch):
    """Each try loads a few bytes more than the last one, and between two of them none is under way."""

    def said(now):
        loaded = 2_096_783 + now
        return f"loading:1\nloading_loaded_bytes:{loaded}\nloading_total_bytes:0" if now % 3 == 0 else "role:slave"

    links = Links(monkeypatch, said)
    with pytest.raises(StepFailed, match="no progress for 60 s"):
        perform_sync._in_sync(STEP, links)
    assert 60 <= links.now <= 68
    assert any("of the keys are sent; it began 4 times (" in line for line in links.told)


def test_the_rate_is_that_of_the_try_that_is_under_way(monkeypatch):
    def said(now):
        return "up" if now > 9 else COMES.format(total=9_000, came=900 + now % 5 * 100)

    links = Links(monkeypatch, said)
    perform_sync._in_sync(STEP, links)
    assert "1,300 of 9,000 bytes, 7,700 left, 100 bytes/s" in links.told[3]
    assert "900 of 9,000 bytes, 8,100 left (5 s, " in links.told[4]
    assert "1,000 of 9,000 bytes, 8,000 left, 100 bytes/s" in links.told[5]


BACK = BackInSync("keydb-1", "keydb-2", address(2))


def test_a_restarted_node_is_waited_for_as_long_as_it_gets_what_it_lacks(monkeypatch):
    """By a full resync, silent in between, and then by the stream: up to where the primary was when the link came up."""

    def said(now):
        if now < 150:
            return TIMEOUT if now % 20 > 10 else COMES.format(total=30_000, came=1 + now * 100)
        return f"up{min(now, 370) * 10}"

    links = Links(monkeypatch, said, master=replace(promoted(2), offset=3500))
    assert perform_restart._back_in_sync(BACK, links) == "is back in sync with keydb-2"
    assert links.now == 350
    assert (
        "keydb-1 is not in sync with keydb-2 yet: it is 900 bytes behind, gets 10 bytes/s, 90.0 s left"
        in links.told[-90]
    )


def test_a_restarted_node_that_gets_no_further_is_given_up(monkeypatch):
    links = Links(monkeypatch, lambda now: f"up{min(now, 100)}", master=replace(promoted(2), offset=3500))
    with pytest.raises(StepFailed, match=r"keydb-2: no progress for 60 s \(it is 3,400 bytes behind, gets 0 bytes/s"):
        perform_restart._back_in_sync(BACK, links)
    assert 160 <= links.now <= 162


def test_a_restarted_node_that_its_primary_does_not_count_is_given_up_whatever_it_gets(monkeypatch):
    links = Links(
        monkeypatch,
        lambda now: f"up{4000 + now}",
        master=replace(promoted(2), offset=3500),
        listed=lambda now: listed(online=False),
    )
    with pytest.raises(StepFailed, match="no progress for 60 s"):
        perform_restart._back_in_sync(BACK, links)
    assert 60 <= links.now <= 63

"""Waiting until a replica is in sync: what is told of a full resync, and when the wait is given up."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

sys.path.append(str(Path(__file__).parent / "runbooks"))
from worlds import address, broken, orphan, promoted, replica

from keydb_runbooks.connectors.link import LinkError
from keydb_runbooks.operations import links as opened
from keydb_runbooks.operations import listed as listing
from keydb_runbooks.operations import perform_restart, perform_sync, waits
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.lock import LockRefused
from keydb_runbooks.operations.taking_over import TakingOver
from keydb_runbooks.runbooks.replication import Address, Replica
from keydb_runbooks.runbooks.steps import InSync
from keydb_runbooks.runbooks.steps_restart import BackInSync
from keydb_runbooks.runbooks.steps_restore import LoadBackup

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
        self.asked = Counter()
        entries = [SimpleNamespace(name=f"keydb-{number}", address=address(number)) for number in (1, 2, 3)]
        self.group = SimpleNamespace(node=lambda name: entries[int(name[-1]) - 1], nodes=entries)
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
        self.asked[name] += 1
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
    # One word of the primary at each look, and one more where the replica's own did not come.
    assert links.asked["keydb-2"] == 351
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


# Behind an address translation

GATEWAY = Address("172.17.0.1", 6379)


class Other:
    """A fresh link to keydb-3, which says nothing, or this."""

    def __init__(self, said):
        self.said, self.opened, self.closed = said, 0, 0

    def link(self, entry):
        assert entry.name == "keydb-3"
        self.opened += 1
        if self.said is None:
            raise LinkError("refused", "nothing listens on keydb-3")
        return self

    def execute_command(self, word):
        return self.said

    def close(self):
        self.closed += 1


IN_SYNC = (
    "run_id:3\nrole:slave\nmaster_replid:e\nmaster_host:10.0.0.2\nmaster_port:6379\nmaster_link_status:up\n"
    "master_last_io_seconds_ago:0\nmaster_sync_in_progress:0"
)
RESYNCS = IN_SYNC.replace("status:up", "status:down").replace("progress:0", "progress:1")


def strange(monkeypatch, other_says, **looks):
    other = Other(other_says)
    monkeypatch.setattr(opened, "link", other.link)
    monkeypatch.setattr(listing, "in_parallel", lambda work, items: [work(item) for item in items])
    row = replace(listed(online=False, waits=True), address=GATEWAY)
    links = Links(
        monkeypatch,
        told=lambda now: f"rdb_bgsave_in_progress:1\n{KEYS.format(2 + now)}",
        listed=lambda now: row,
        **looks,
    )
    return links, other


def test_a_silent_one_is_the_stranger_in_its_primarys_list_if_nobody_else_can_be(monkeypatch):
    links, other = strange(monkeypatch, IN_SYNC, said=lambda now: "up" if now > 200 else TIMEOUT)
    assert perform_sync._in_sync(STEP, links) == "is in sync with keydb-2"
    assert "did not answer in time, keydb-2 writes its data: 102 of 1,000 keys" in links.told[99]
    assert other.opened == other.closed > 0


@pytest.mark.parametrize("said", [RESYNCS, None], ids=["in a resync itself", "silent"])
def test_a_silent_one_is_no_stranger_if_another_may_be_that(monkeypatch, said):
    links, _ = strange(monkeypatch, said, said=lambda now: TIMEOUT)
    with pytest.raises(redis.TimeoutError):
        perform_sync._in_sync(STEP, links)


def test_a_stranger_waits_for_its_turn_as_one_that_is_listed(monkeypatch):
    links, _ = strange(monkeypatch, IN_SYNC, said=lambda now: "up" if now > 200 else "role:slave")
    assert perform_sync._in_sync(STEP, links) == "is in sync with keydb-2"
    assert "full resync: it waits for its turn: keydb-2 writes its data for another: 102 of" in links.told[99]


# A backup's data come from a second server

BESIDE = Address("10.0.0.1", 24_000)


class Offer:
    """A second server: what it says at each second, an exception perhaps, and whether its process lives."""

    def __init__(self, links, said, lives=lambda now: True, refused=lambda now: None):
        self.links, self.said, self.alive, self.refused = links, said, lives, refused
        self.opened = self.closed = 0

    def reach(self):
        self.opened += 1
        error = self.refused(self.links.now)
        if error:
            raise error
        return self

    def lives(self):
        return self.alive(self.links.now)

    def execute_command(self, word):
        said = self.said(self.links.now)
        if isinstance(said, Exception):
            raise said
        return said

    def close(self):
        self.closed += 1


def offering(now, where="10.0.0.9", offset=0):
    return (
        f"run_id:9\nrole:master\nmaster_replid:{UP.replication_id}\nuptime_in_seconds:{100 + now}\n"
        f"slave0:ip={where},port=6379,state=online,offset={offset},lag=0\n"
    )


def taken(monkeypatch, said, offered=offering, **offer):
    links = Links(monkeypatch, said)
    row = replace(UP, links=(replace(UP.links[0], primary=BESIDE),))
    monkeypatch.setattr(links, "understood", lambda name, info: row if info == "up" else DOWN)
    links.lock.clients = {"keydb-1": 1, "keydb-2": 2}
    one = Offer(links, offered, **offer)
    return links, TakingOver(LoadBackup("keydb-1", 60.0), links, BESIDE, one.reach, one.lives), one


def test_a_server_that_loads_a_large_backup_and_is_silent_for_long_is_waited_for(monkeypatch):
    links, taking, offer = taken(monkeypatch, lambda now: "up" if now > 200 else TIMEOUT)
    assert taking.wait().replication_id == UP.replication_id
    assert "keydb-1 is not in sync with the second server yet: full resync: 10.0.0.1:6379 did not" in links.told[99]
    assert "the second server sent it all, and heard it 0 s ago (" in links.told[99]
    assert links.adopted[-1] == ("keydb-1", f"link {links.reopened}")
    assert offer.opened == 1


def test_a_second_server_that_has_ended_is_told_at_once(monkeypatch):
    gone = lambda now: redis.ConnectionError("closed") if now > 5 else offering(now)  # noqa: E731
    links, taking, _ = taken(
        monkeypatch, lambda now: COMES.format(total=9_000, came=now), gone, lives=lambda now: False
    )
    with pytest.raises(StepFailed, match="keydb-1: the second server ended before all was taken over"):
        taking.wait()
    assert links.now == 6


def test_a_second_server_that_is_silent_for_a_moment_is_looked_at_again(monkeypatch):
    mute = lambda now: TIMEOUT if 5 <= now < 20 else offering(now)  # noqa: E731
    links, taking, offer = taken(
        monkeypatch,
        lambda now: "up" if now > 30 else COMES.format(total=9_000, came=1 + now),
        mute,
        refused=lambda now: LinkError("no-answer", "10.0.0.1:24000 is mute") if 5 <= now < 15 else None,
    )
    assert taking.wait().link.primary == BESIDE
    assert "; the second server: 10.0.0.1:24000 is mute (" in links.told[9]
    assert "; the second server: " not in links.told[25]
    taking.close()
    assert (offer.opened, offer.closed) == (16, 1)


def test_a_second_server_that_stays_silent_is_given_up(monkeypatch):
    mute = lambda now: TIMEOUT if now > 5 else offering(now)  # noqa: E731
    links, taking, _ = taken(monkeypatch, lambda now: COMES.format(total=9_000, came=1 + min(now, 9)), mute)
    with pytest.raises(
        StepFailed, match=r"no progress for 60 s \(full resync: it gets .*; the second server: 10.0.0.1"
    ):
        taking.wait()
    assert 69 <= links.now <= 72


def test_one_that_still_has_its_own_stream_has_not_taken_it_over(monkeypatch):
    other = lambda now: offering(now).replace(UP.replication_id, "d" * 40)  # noqa: E731
    _, taking, _ = taken(monkeypatch, lambda now: "up", other)
    with pytest.raises(StepFailed, match="no progress for 60 s"):
        taking.wait()


def test_a_groups_only_node_claims_its_lock_anew_behind_a_silence(monkeypatch):
    links, taking, _ = taken(monkeypatch, lambda now: "up" if now > 9 else TIMEOUT)
    reclaimed = []
    links.lock.clients = {"keydb-1": 1}
    links.lock.reclaim = lambda name, client: reclaimed.append((name, client))
    assert taking.wait()
    assert reclaimed[-1] == ("keydb-1", f"link {links.reopened}") and not links.adopted


def test_a_lock_that_somebody_else_took_meanwhile_ends_the_step(monkeypatch):
    def refuse(name, client):
        raise LockRefused("locked", "another run is at work: anna", "wait")

    links, taking, _ = taken(monkeypatch, lambda now: TIMEOUT)
    links.lock.clients, links.lock.reclaim = {"keydb-1": 1}, refuse
    with pytest.raises(StepFailed, match="locked: another run is at work: anna; wait"):
        taking.wait()

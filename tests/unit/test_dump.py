"""Saving a node's data and bringing the file here: what is told meanwhile, and what a signal leaves."""

from base64 import b64encode
from hashlib import sha256
from types import SimpleNamespace

import pytest
import redis

from keydb_runbooks.operations import dump, waits
from keydb_runbooks.operations.dump import Kept
from keydb_runbooks.operations.failures import StepFailed, Stopped

HOST = SimpleNamespace(name="keydb-1")
THERE = Kept("/data/keydb-1-now", HOST)


@pytest.fixture
def clock(monkeypatch):
    """One that only goes on while somebody sleeps; ``lines`` is what is printed, ``stop_at`` when a signal comes."""
    self = SimpleNamespace(now=0.0, lines=[], stop_at=None, monotonic=lambda: self.now)

    def sleep(seconds):
        self.now += seconds

    def check():
        if self.stop_at is not None and self.now >= self.stop_at:
            raise Stopped("told to stop by SIGINT")

    def info(line):
        # A long one is wrapped.
        _, begins, told = line.strip().rpartition("waits: ")
        self.lines.append(told if begins or not self.lines else f"{self.lines.pop()} {told}")

    self.sleep = sleep
    monkeypatch.setattr(waits, "time", self)
    monkeypatch.setattr(dump, "time", self)
    # No fraction of it is lost in a sum.
    monkeypatch.setattr(dump, "POLL_SECONDS", 0.125)
    monkeypatch.setattr(waits.interrupt, "check", check)
    monkeypatch.setattr(waits.logger, "info", info)
    return self


class Server:
    """A server whose save takes so many looks, behind another child of it that takes so many tries."""

    def __init__(self, looks, tries=0, good=True):
        self.looks, self.tries, self.good, self.seen = looks, tries, good, 0

    def execute_command(self, *words):
        if words == ("BGSAVE",):
            self.tries -= 1
            if self.tries >= 0:
                raise redis.ResponseError("Background save already in progress")
            return None
        self.seen += 1
        busy = int(self.seen <= self.looks)
        counted = f"current_save_keys_processed:{self.seen * 10}\ncurrent_save_keys_total:1000\n" if busy else ""
        return f"rdb_bgsave_in_progress:{busy}\n{counted}rdb_last_bgsave_status:{'ok' if self.good else 'err'}"


def test_a_save_tells_each_second_how_many_keys_are_left(clock):
    dump.background_save("keydb-1", Server(looks=20))
    assert clock.lines == [
        "keydb-1 is saving: 90 of 1,000 keys, 910 left, 80 keys/s, 11.4 s left (1 s)",
        "keydb-1 is saving: 170 of 1,000 keys, 830 left, 80 keys/s, 10.4 s left (2 s)",
    ]


def test_another_save_is_waited_for_and_that_is_told(clock):
    dump.background_save("keydb-1", Server(looks=0, tries=15))
    (line,) = clock.lines
    assert line.startswith(
        "keydb-1 is busy with another save or rewrite; its own comes behind that (1 s of 600 s, until "
    )
    with pytest.raises(StepFailed, match="keydb-1 is busy with another save or rewrite: Background save already"):
        dump.background_save("keydb-1", Server(looks=0, tries=10**6))


@pytest.mark.parametrize("server", [Server(looks=10**6), Server(looks=0, tries=10**6)], ids=["its own", "another"])
def test_a_signal_ends_the_wait_for_a_save(clock, server):
    clock.stop_at = 5
    with pytest.raises(Stopped):
        dump.background_save("keydb-1", server)
    assert 5 <= clock.now < 5.2


def test_a_save_that_failed_is_told(clock):
    with pytest.raises(StepFailed, match="keydb-1 could not save its data"):
        dump.background_save("keydb-1", Server(looks=3, good=False))


CONTENT = bytes(range(40))


@pytest.fixture
def shell(clock, monkeypatch):
    """The node's shell, which takes a second for each piece; ``removed`` is whether the file there is gone."""
    self = SimpleNamespace(removed=False)

    def run(host, script, *arguments, given=None):
        if script != dump.PIECE:
            self.removed = True
            return []
        clock.sleep(1)
        first = int(arguments[1]) * dump.PIECE_BYTES
        return [b64encode(CONTENT[first : first + dump.PIECE_BYTES]).decode()]

    monkeypatch.setattr(dump, "PIECE_BYTES", 10)
    monkeypatch.setattr(dump, "run", run)
    return self


def test_a_file_that_is_fetched_tells_how_many_bytes_are_left(clock, shell, tmp_path):
    here = dump.fetch(THERE, tmp_path / "kept", len(CONTENT), sha256(CONTENT).hexdigest())
    assert (tmp_path / "kept.rdb").read_bytes() == CONTENT
    assert (here.place, shell.removed) == (f"{tmp_path}/kept.rdb", True)
    assert clock.lines[-1] == "keydb-1 sends its file: 30 of 40 bytes, 10 left, 10 bytes/s, 1.0 s left (3 s)"


def test_a_signal_in_the_middle_of_a_file_leaves_nothing_here_and_the_file_there(clock, shell, tmp_path):
    clock.stop_at = 2.5
    with pytest.raises(Stopped):
        dump.fetch(THERE, tmp_path / "kept", len(CONTENT), sha256(CONTENT).hexdigest())
    assert (list(tmp_path.iterdir()), shell.removed) == ([], False)

"""What a comparison tells of itself while it goes on."""

import pytest

from keydb_runbooks.operations import compare
from keydb_runbooks.operations.failures import Stopped
from keydb_runbooks.runbooks.differences import Seen


class Client:
    """One that answers every command of a pipeline by its number."""

    def pipeline(self, transaction):
        self.commands = []
        return self

    def execute_command(self, *words):
        self.commands.append(words)

    def execute(self, raise_on_error):
        return list(range(len(self.commands)))


def test_a_big_value_is_told_as_long_as_it_is_read(monkeypatch):
    pair, told = compare.Pair(Client(), Client()), []
    pair.progress = compare.Progress("keydb-1 is compared with keydb-2", 500)
    pair.progress.see(100)
    monkeypatch.setattr(compare, "_same_in_parts", lambda pair, key, seen: told.append(str(pair.progress)))
    compare._big_same(pair, "key", Seen("list", 70_000))
    told.append(str(pair.progress))
    head = "keydb-1 is compared with keydb-2: 100 of 500 keys, 400 left"
    assert told == [f"{head}; now a list of length 70,000", head]


def test_keys_that_came_meanwhile_never_make_it_more_than_all():
    progress = compare.Progress("keydb-1 is compared with keydb-2", 100)
    progress.see(130)
    assert str(progress) == "keydb-1 is compared with keydb-2: 130 of 130 keys, 0 left"


def test_a_signal_is_heard_behind_each_question(monkeypatch):
    def check():
        raise Stopped("told to stop by SIGINT")

    pair = compare.Pair(Client(), Client())
    assert pair.same([("PING",), ("PING",)]) == [[0, 1], [0, 1]]
    monkeypatch.setattr("keydb_runbooks.operations.waits.interrupt.check", check)
    with pytest.raises(Stopped):
        pair.same([("PING",)])

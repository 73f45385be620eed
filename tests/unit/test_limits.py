"""A host whose machine goes silent fails with a sentence, and is waited for once."""

from __future__ import annotations

import time
from types import SimpleNamespace

import gevent
import pytest
from paramiko import SSHException

from keydb_runbooks.connectors.limits import limit_commands

SILENT = r"keydb-3 did not answer within 0\.2 s, and is asked nothing more in this run"


def host(run):
    return SimpleNamespace(name="keydb-3", connector=SimpleNamespace(run_shell_command=run))


def limited(run):
    made = host(run)
    limit_commands(made, 0.2)
    limit_commands(made, 9)
    return made.connector.run_shell_command


def test_a_command_is_answered_as_before():
    assert limited(lambda *words, **arguments: (words, arguments))("true", _sudo=True) == (("true",), {"_sudo": True})


def test_a_silent_machine_is_waited_for_once():
    run, before = limited(lambda command: gevent.sleep(9)), time.monotonic()
    with pytest.raises(ConnectionError, match=SILENT):
        run("one")
    with pytest.raises(ConnectionError, match=SILENT):
        run("another")
    assert 0.2 <= time.monotonic() - before < 2


def test_a_shorter_limit_of_whoever_asks_is_theirs():
    run = limited(lambda command: gevent.sleep(9))
    with pytest.raises(TimeoutError, match="mine"), gevent.Timeout(0.05, TimeoutError("mine")):
        run("one")


@pytest.mark.parametrize("error", [EOFError(), SSHException("SSH session not active")], ids=["while", "before"])
def test_a_connection_that_was_ended_is_told(error):
    def run(command):
        raise error

    with pytest.raises(ConnectionError, match="the SSH connection to keydb-3 broke: "):
        limited(run)("one")

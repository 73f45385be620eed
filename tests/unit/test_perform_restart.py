"""A machine that ends its SSH connection while a step waits for its server is a step that failed, with a sentence."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest
from paramiko import SSHException

from keydb_runbooks.connectors import quiet
from keydb_runbooks.connectors.link import LinkError
from keydb_runbooks.operations import perform_members, perform_restart, service
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.perform import perform_step
from keydb_runbooks.runbooks.replication import Address
from keydb_runbooks.runbooks.steps_members import Leave
from keydb_runbooks.runbooks.steps_restart import Restart

SENTENCE = r"the SSH connection to keydb-2 broke: .*; whether it did what was asked is unknown"
SETTINGS = {
    "keydb_pid_file": "/run/p",
    "keydb_log_file": "/var/log/k",
    "keydb_data_directory": "/srv",
    "keydb_config_directory": "/etc/k",
}


@pytest.fixture(
    params=[SSHException("SSH session not active"), EOFError()], ids=["before it is used", "while it is used"]
)
def links(request, monkeypatch):
    """Of a group whose keydb-2 does what it is told, and then ends its connection."""

    def run_shell_command(command, **arguments):
        raise request.param

    monkeypatch.setattr(quiet, "pop_global_arguments", lambda state, host, given: ({}, []))
    host = SimpleNamespace(
        name="keydb-2",
        state=SimpleNamespace(print_fact_input=False),
        current_op_global_arguments=None,
        run_shell_command=run_shell_command,
        get_fact=lambda fact, **arguments: run_shell_command(fact),
    )
    entry = SimpleNamespace(name="keydb-2", address=Address("192.0.2.2", 6379), host=host, data=SETTINGS.get)
    return SimpleNamespace(
        lock=None,
        group=SimpleNamespace(node=lambda name: entry),
        node=lambda name: None,
        read_same=lambda name, run_id: SimpleNamespace(is_primary=False),
    )


def test_restart(links, monkeypatch):
    def nobody(entry):
        raise LinkError("refused", "nothing listens there")

    monkeypatch.setattr(perform_restart, "read_once", nobody)
    monkeypatch.setattr(perform_restart, "_replace_process", lambda entry, run_id: None)
    monkeypatch.setattr(perform_restart, "PROCESS_SECONDS", -1.0)
    with pytest.raises(StepFailed, match=SENTENCE):
        perform_step(Restart("keydb-2", "a" * 40, "keydb-1", Address("192.0.2.1", 6379), "runs"), links)


@pytest.mark.parametrize(
    "step",
    [
        Restart("keydb-2", "a" * 40, "keydb-1", Address("192.0.2.1", 6379), "runs"),
        Leave("keydb-2", "a" * 40),
    ],
    ids=["restart", "remove_node"],
)
def test_one_that_goes_silent_is_not_waited_for_without_end(links, monkeypatch, step):
    entry = links.group.node("keydb-2")
    entry.host.run_shell_command = lambda command, **arguments: gevent.sleep(9)
    monkeypatch.setattr(perform_members, "background_save", lambda name, client: None)
    for kind in (perform_restart, perform_members):
        monkeypatch.setattr(kind.service, "end_server", lambda entry: "end")
        monkeypatch.setattr(kind.service, "restart_server", lambda *words: "restart")
        monkeypatch.setattr(kind.service, "has_systemd", lambda host: True)
    monkeypatch.setattr(perform_restart, "config_path", lambda entry: "/etc/k")
    monkeypatch.setattr(perform_restart, "is_pod", lambda entry: False)
    monkeypatch.setattr(service, "STOP_SECONDS", 0.1)
    with pytest.raises(StepFailed, match=r"did not answer in time; whether it did what was asked is unknown"):
        perform_step(step, links)


def test_remove_node(links, monkeypatch):
    monkeypatch.setattr(perform_members, "background_save", lambda name, client: None)
    monkeypatch.setattr(perform_members.service, "end_server", lambda entry: "end")
    monkeypatch.setattr(perform_members, "try_quietly", lambda host, command, timeout_seconds: (True, None))
    with pytest.raises(StepFailed, match=SENTENCE):
        perform_step(Leave("keydb-2", "a" * 40), links)
    # One that answers, but can't say.
    monkeypatch.setattr(perform_members, "get_now", lambda host, fact, pid_file: None)
    with pytest.raises(StepFailed, match=r"whether keydb-2 has ended is unknown: /run/p could not be looked at"):
        perform_step(Leave("keydb-2", "a" * 40), links)

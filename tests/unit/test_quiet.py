"""A machine that ends its SSH connection in the middle of a run is a machine that says nothing, for whoever asks it."""

from types import SimpleNamespace

import pytest
from paramiko import SSHException

from keydb_runbooks.connectors import quiet, runtime
from keydb_runbooks.facts.condition import read_machine

CLOSED = [SSHException("SSH session not active"), EOFError()]
SENTENCE = "the SSH connection to keydb-1 broke: (SSH session not active|it was closed there)"


class Transport:
    """Of a connection that has ended."""

    def __init__(self, error):
        self.error = error

    def open_session(self, timeout):
        raise self.error


@pytest.fixture(params=CLOSED, ids=["before it is used", "while it is used"])
def host(request, monkeypatch):
    """A machine that has ended its connection, as pyinfra has it."""
    monkeypatch.setattr(quiet, "pop_global_arguments", lambda state, host, given: ({}, []))

    def run_shell_command(command, **arguments):
        raise request.param

    return SimpleNamespace(
        name="keydb-1",
        connected=True,
        state=SimpleNamespace(print_fact_input=False),
        current_op_global_arguments=None,
        connector=SimpleNamespace(client=SimpleNamespace(get_transport=lambda: Transport(request.param))),
        run_shell_command=run_shell_command,
    )


def test_a_command_says_that_the_connection_is_broken(host):
    with pytest.raises(ConnectionError, match=SENTENCE):
        quiet.run_quietly(host, "true")


def test_what_a_machine_would_have_told_of_itself_is_unknown(host, monkeypatch):
    monkeypatch.setattr("keydb_runbooks.connectors.ahead._told", lambda host, question: None)
    settings = {"keydb_pid_file": "/run/p", "keydb_data_directory": "/srv", "keydb_command_timeout": 1}
    assert read_machine(SimpleNamespace(host=host, data=settings.get)) is None


def test_a_proxy_on_it_does_not_answer(host):
    settings = {"haproxy_runtime_socket": "/run/haproxy/admin.sock", "keydb_connect_timeout": 1}
    with pytest.raises(runtime.RuntimeSocketError, match=SENTENCE) as raised:
        runtime.runtime(SimpleNamespace(name="keydb-1", host=host, data=settings.get))
    assert raised.value.code == "no-answer"

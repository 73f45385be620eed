"""Whether the machine at the other end of an SSH connection still lives, asked for at the connection itself.

pyinfra and paramiko wait without end for a machine that was frozen or cut off in the middle of a command. How long a
command may take nobody knows: apt, a copy of a backup, a server that loads its data. But sshd answers whatever the
command does. So each connection is asked every few seconds, as by OpenSSH's ServerAliveInterval, and one on which
nothing at all was heard for a minute is closed: that wakes whoever waits for it, and the machine is asked nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from paramiko import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

BEAT_SECONDS = 5.0
MISSED_BEATS = 12
"""A machine under load, or a network that comes back, is heard by then. They are counted, so that this program may be
stopped for longer, as by Ctrl-Z: what came meanwhile it reads before the next one."""

QUESTION = "keepalive@openssh.com"
"""What OpenSSH's own client asks. Every sshd has to answer, by a refusal if it doesn't know it."""

ENDED = (SSHException, EOFError)
"""What paramiko raises where a machine has ended its SSH connection, as at a reboot, before or while it is used."""

KEPT = "keydb_runbooks_pulse"


class ConnectionLost(PyinfraError, ConnectionError):
    """An SSH connection ended or was given up. pyinfra prints it, wherever it is raised, without a traceback."""


class Pulse:
    """Who listens at an SSH connection, until it ends.

    :param transport: paramiko's
    """

    def __init__(self, transport: Any) -> None:
        self.silent = False
        self.patience_seconds = BEAT_SECONDS * MISSED_BEATS
        self._transport = transport
        self._heard = 0
        self._read = transport.packetizer.read_message
        # Whatever comes counts: an answer may be far behind a file that is on its way.
        transport.packetizer.read_message = self._listen
        self._watch = gevent.spawn(self._keep_asking)

    def _listen(self) -> Any:
        message = self._read()
        self._heard += 1
        return message

    def _keep_asking(self) -> None:
        missed, asked = 0, None
        while self._transport.is_active():
            before = self._heard
            if asked is None or asked.ready():
                asked = gevent.spawn(self._ask)
            gevent.sleep(BEAT_SECONDS)
            missed = missed + 1 if self._heard == before else 0
            if missed >= MISSED_BEATS and self._transport.is_active():
                self.silent = True
                self._transport.close()

    def _ask(self) -> None:
        with suppress(SSHException, EOFError, OSError):
            self._transport.global_request(QUESTION)


class Watched:
    """A connector's ``run_shell_command`` that tells what became of the connection."""

    def __init__(self, host: Host) -> None:
        self._host, self._run = host, host.connector.run_shell_command

    def __call__(self, *words: Any, **arguments: Any) -> Any:
        with explained(self._host):
            done, output = self._run(*words, **arguments)
            if not done and is_lost(self._host):
                # No exit code came, which pyinfra takes for a failure of the command.
                raise EOFError
        return done, output


def watch(host: Host) -> None:
    """Listen at a host's SSH connection from now on; other ways to a host end by themselves."""
    transport = _transport(host)
    if transport is None:
        return
    host.connector_data[KEPT] = Pulse(transport)
    if not isinstance(host.connector.run_shell_command, Watched):
        host.connector.run_shell_command = Watched(host)  # type: ignore[method-assign]


def is_watched(host: Host) -> bool:
    """Whether somebody listens at it already."""
    return _pulse(host) is not None


def is_lost(host: Host) -> bool:
    """Whether a host had an SSH connection that has ended."""
    transport = _transport(host)
    return transport is not None and not transport.is_active()


@contextmanager
def explained(host: Host) -> Iterator[None]:
    """Let a connection that has ended be told as one, with the host's name.

    :raises ConnectionLost: instead of what paramiko raises then, of which pyinfra knows a part
    """
    try:
        yield
    except (*ENDED, OSError) as error:
        if isinstance(error, ENDED) or is_lost(host):
            raise ConnectionLost(broken(host, error)) from None
        raise


def broken(host: Host, error: Exception | None = None) -> str:
    """What is said of a connection that has ended."""
    pulse = _pulse(host)
    if pulse is None or not pulse.silent:
        why = "" if error is None else str(error)
        return f"the SSH connection to {host.name} broke: {why or 'it was closed there'}"
    return (
        f"{host.name} did not answer for {pulse.patience_seconds:g} s, and is asked nothing more in this run; "
        "when it answers again, run the same again"
    )


def _pulse(host: Host) -> Pulse | None:
    found: Pulse | None = getattr(host, "connector_data", {}).get(KEPT)
    return found


def _transport(host: Host) -> Any:
    client = getattr(getattr(host, "connector", None), "client", None)
    return client.get_transport() if client is not None and hasattr(client, "get_transport") else None

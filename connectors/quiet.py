"""Reading what must not be seen: `pyinfra -vvv` prints whatever a fact reads, files with passwords among it."""

from __future__ import annotations

from typing import Any

import gevent
from pyinfra.api import StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.host import Host
from pyinfra.connectors.util import CommandOutput

from keydb_runbooks.connectors.pulse import explained


def run_quietly(
    host: Host, command: str | StringCommand, *, stdin: str | None = None, timeout_seconds: int | None = None
) -> list[str] | None:
    """Run a command as a fact does, with the same ``_sudo`` and so on, and print nothing of what it answers.

    :param stdin: what it gets on its standard input
    :param timeout_seconds: how long it may take, instead of what the inventory says
    :raises TimeoutError: if it took longer
    :raises ConnectionError: if the machine has ended the connection
    :returns: the lines of its standard output, None if it failed
    """
    done, output = try_quietly(host, command, stdin=stdin, timeout_seconds=timeout_seconds)
    return list(output.stdout_lines) if done else None


def try_quietly(
    host: Host, command: str | StringCommand, *, stdin: str | None = None, timeout_seconds: int | None = None
) -> tuple[bool, CommandOutput]:
    """The same with whether it succeeded, and all that it printed."""
    given: dict[str, Any] = dict(host.current_op_global_arguments or {})
    arguments, _ = pop_global_arguments(host.state, host, given)
    connector = {key: value for key, value in arguments.items() if key in CONNECTOR_ARGUMENT_KEYS}
    connector |= {} if stdin is None else {"_stdin": stdin}
    connector |= {} if timeout_seconds is None else {"_timeout": timeout_seconds}
    command = command if isinstance(command, StringCommand) else StringCommand(command)
    # pyinfra's own time-out begins when the command runs; paramiko waits an hour for a machine that went silent before.
    limit = gevent.Timeout(timeout_seconds, TimeoutError(f"{host.name} did not answer within {timeout_seconds} s"))
    with limit, explained(host):
        return host.run_shell_command(command, print_input=host.state.print_fact_input, **connector)

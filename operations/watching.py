"""Every host's SSH connection is listened at, whichever verb runs; pyinfra calls what is here at its own moments.

A host whose machine falls silent, or ends its connection, has failed, with a sentence; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.connectors.util import CommandOutput

from keydb_runbooks.connectors import pulse
from keydb_runbooks.operations.failed import failed

LOGIN_SECONDS = 10
"""For so long sshd may take to let somebody in, who has shown a key: it may have to ask others. paramiko waits 30 s."""

PARAMIKO = "ssh_paramiko_connect_kwargs"


class Watching(BaseStateCallback):
    """What pyinfra calls."""

    @staticmethod
    def host_before_connect(_state: State, host: Host) -> None:
        if PARAMIKO in host.connector.data_meta:
            settings: dict[str, Any] = host.connector.data
            settings[PARAMIKO] = {"auth_timeout": LOGIN_SECONDS, **(settings[PARAMIKO] or {})}

    @staticmethod
    def host_connect(_state: State, host: Host) -> None:
        pulse.watch(host)

    @staticmethod
    def operation_host_start(state: State, host: Host, op_hash: str) -> None:
        if op_hash in state.ops[host]:
            operation = state.get_op_data_for_host(host, op_hash)
            operation.command_generator = partial(_told, host, operation.command_generator)


def begin(state: State) -> None:
    """Listen from now on, unless this is done already; at those too that are connected.

    config.py is read before pyinfra's state can be told anything.
    """
    if state.initialised:
        _listen(state)
    else:
        state.init = partial(_init, state, state.init)  # type: ignore[method-assign]


def _init(state: State, init: Callable[..., None], *arguments: Any, **named: Any) -> None:
    init(*arguments, **named)
    _listen(state)


def _listen(state: State) -> None:
    if not any(isinstance(one, Watching) for one in state.callback_handlers):
        state.add_callback_handler(Watching())
        for host in state.inventory:
            if host.connected and not pulse.is_watched(host):
                pulse.watch(host)


def _told(host: Host, commands: Callable[[], Iterator[PyinfraCommand]]) -> Iterator[PyinfraCommand]:
    """An operation's commands; a host that is lost while they are thought out fails alone, and doesn't end the run."""
    try:
        for command in commands():
            command.execute = partial(_executed, command)  # type: ignore[method-assign]
            yield command
    except Exception:
        if not pulse.is_lost(host):
            raise
        yield FunctionCommand(failed, (pulse.broken(host),), {})


def _executed(command: PyinfraCommand, state: State, host: Host, arguments: Any) -> Any:
    try:
        return type(command).execute(command, state, host, arguments)
    except Exception:
        if not pulse.is_lost(host):
            raise
        failed(state, host, pulse.broken(host))
        return (False, CommandOutput([])) if isinstance(command, StringCommand) else False

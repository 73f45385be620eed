"""A time limit for every command of a host, for verbs whose commands are all short.

pyinfra sets none, and its own counts only while a command prints. A machine that goes silent in the middle, frozen or
cut off, would be waited for without end: by paramiko for a channel, by pyinfra for an answer.
"""

from __future__ import annotations

from typing import Any

import gevent
from pyinfra.api.host import Host

from keydb_runbooks.connectors.link import ENDED, broken

COMMAND_SECONDS = 60
"""No command that is limited waits for anything as long, and a machine under load answers by then."""


def limit_commands(host: Host, seconds: float = COMMAND_SECONDS) -> None:
    """Let each further command of a host end; once one was too long, each other one fails at once.

    It raises ConnectionError then, which pyinfra prints: the host has failed, and the others go on.

    :param seconds: how long a command may take
    """
    if isinstance(host.connector.run_shell_command, Limited):
        return
    host.connector.run_shell_command = Limited(host, seconds)  # type: ignore[method-assign]


class Limited:
    """A connector's ``run_shell_command`` that ends."""

    def __init__(self, host: Host, seconds: float) -> None:
        self._host, self._seconds = host, seconds
        self._run = host.connector.run_shell_command
        self._silent = False

    def __call__(self, *words: Any, **arguments: Any) -> Any:
        told = f"{self._host.name} did not answer within {self._seconds:g} s, and is asked nothing more in this run"
        if self._silent:
            raise ConnectionError(told)
        limit = gevent.Timeout(self._seconds)
        try:
            with limit:
                return self._run(*words, **arguments)
        except gevent.Timeout as reached:
            if reached is not limit:
                raise
            self._silent = True
            raise ConnectionError(told) from None
        except ENDED as error:
            # pyinfra knows of one of the two only, and the other one would end all hosts' run.
            raise ConnectionError(broken(self._host, error)) from None

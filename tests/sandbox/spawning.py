"""Shells of the local machine without gevent's way of starting them, which takes six times the processor time.

gevent forks the whole process, in Python, for each command that pyinfra runs on this machine; here the system library
spawns the same shell with the same pipes. On other machines pyinfra starts no process of this kind.
"""

from __future__ import annotations

import inspect
import os
import signal
from typing import Any

from gevent.os import _watch_child
from gevent.subprocess import Popen

SHELL = "/bin/sh"
PIPES = ("p2cread", "c2pwrite", "errwrite")
"""The ends of a shell's standard input, output and error, as gevent calls them."""

_arguments = inspect.signature(Popen._execute_child)


class Spawned(Popen):  # type: ignore[misc]
    """``Popen(command, shell=True)`` with three pipes: all that pyinfra's connectors ask for."""

    def _execute_child(self, *given: Any) -> None:
        asked = _arguments.bind(self, *given).arguments
        assert asked["shell"] and asked["cwd"] is None and asked["env"] is None, asked
        ends = [asked[name] for name in PIPES]
        self._loop.install_sigchld()
        self.pid = os.posix_spawn(
            SHELL,
            [SHELL, "-c", asked["args"]],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends)],
            setsigdef=(signal.SIGPIPE,),
        )
        _watch_child(self.pid, self._on_child, self._loop, True)
        for end in ends:
            os.close(end)

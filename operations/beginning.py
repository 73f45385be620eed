"""What is looked at while pyinfra begins, before it loads the inventory; config.py calls it.

pyinfra goes on with an inventory that isn't there as with one that has no hosts, and ends with 0, as if all were well.
And it reads the answer to its questions from a standard input at which nobody may be.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import click
import gevent
import pyinfra
from pyinfra import logger
from pyinfra.api.output import format_text
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_host, ctx_state

from keydb_runbooks.connectors import kubernetes
from keydb_runbooks.operations import callers, endings, watching
from keydb_runbooks.operations.show import wrap
from keydb_runbooks.runbooks.exit_codes import ExitCode

INVENTORIES = Path("inventories")

MAKES_PODS = {"install.py", "uninstall.py", "add_node.py", "remove_node.py", "start.py"}
"""Deploys for which a pod needs not be there."""


def begin() -> None:
    """Refuse an inventory that isn't there, and see to the questions that pyinfra asks later.

    :raises SystemExit: after it was printed that there is no such inventory
    """
    callers.read_no_sources()
    context = click.get_current_context(silent=True)
    if not pyinfra.is_cli or context is None:
        return
    there = tuple(sorted(map(str, INVENTORIES.glob("*.py"))))
    name, data = str(context.params.get("inventory") or ""), context.params.get("data") or ()
    if told := refuse_inventory(name, data, there):
        _end(told)
    if MAKES_PODS & {Path(str(deploy)).name for deploy in context.params.get("operations") or ()}:
        kubernetes.take_those_away()
    context.call_on_close(_refuse_nobody)
    listen()
    watching.begin(ctx_state.get())


def listen() -> None:
    """Let pyinfra's questions be answered as ``Answers`` does."""
    if pyinfra.is_cli and not isinstance(sys.stdin, Answers):
        sys.stdin = Answers(sys.stdin)


def refuse_inventory(name: str, data: Iterable[str], there: tuple[str, ...]) -> str | None:
    """Why an inventory that was named as a file is none, or None. Hosts, connectors and modules are pyinfra's to find.

    :param data: what was given with ``--data``; with ``ssh_hostname`` any word may be a host
    :param there: the inventories that there are
    """
    named = "/" in name or name.endswith(".py")
    if not named or "," in name or "@" in name or Path(name).exists():
        return None
    if any(word.startswith("ssh_hostname=") for word in data):
        return None
    return f"refused: no-inventory: {name} does not exist; there are {', '.join(there) or 'none here'}"


class Answers:
    """Standard input, for pyinfra's questions: where nothing would be executed it ends the run instead of waiting, and
    where nobody is there to answer it refuses."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def closed(self) -> bool:
        return self._stream is None or bool(self._stream.closed)

    def isatty(self) -> bool:
        return not self.closed and bool(self._stream.isatty())

    def fileno(self) -> int:
        # With a number ``input`` would read from the terminal itself, past ``readline``.
        raise io.UnsupportedOperation("fileno")

    def readline(self, *size: int) -> str:
        state, password = ctx_state.get() if ctx_state.isset() else None, asked_by_a_host()
        if state is not None and not password and nothing_to_execute(state):
            click.echo(" nothing would be executed, so nothing is asked", err=True)
            if not state.failed_hosts:
                endings.tell(ExitCode.DONE)
            raise SystemExit(1 if state.failed_hosts else 0)
        line = "" if self.closed else str(self._stream.readline(*size))
        if not line:
            click.echo(err=True)
            _end(NO_SUDO if password else NO_ANSWER, ExitCode.REFUSED)
        return line


NO_ANSWER = "refused: no-answer-possible: nobody can be asked: standard input is no terminal; give -y"
NO_SUDO = (
    "refused: no-password: a machine asks for a password, and nobody can be asked: standard input is no terminal; let "
    "pyinfra's user do everything by sudo without one"
)


def asked_by_a_host() -> bool:
    """Whether it is about one host, for a password: pyinfra's own question is asked for all, when all are prepared."""
    return ctx_host.isset() or isinstance(gevent.getcurrent(), gevent.Greenlet)


def nothing_to_execute(state: State) -> bool:
    """Whether everything is prepared, and no operation on any host would change anything."""
    if not state.initialised or state.current_stage != StateStage.Prepare:
        return False
    return not any(one.operation_meta.will_change for ops in state.ops.values() for one in ops.values())


def _refuse_nobody() -> None:
    """At the very end: a run for no host at all did nothing, which is no success."""
    ending = sys.exc_info()[1]
    if not isinstance(ending, SystemExit) or ending.code or not ctx_state.isset():
        return
    state = ctx_state.get()
    if state.initialised and not any(state.is_host_in_limit(host) for host in state.inventory):
        _end(
            "refused: no-hosts: the inventory, or what --limit leaves of it, has no host: nothing was looked at or done"
        )


def _end(sentence: str, code: ExitCode = ExitCode.USAGE) -> NoReturn:
    endings.tell(code)
    for line in wrap(sentence, "", 2):
        logger.error(format_text(line, "red"))
    raise SystemExit(1)

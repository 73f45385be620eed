"""What verbs tell of their end in this process, for the exit code of ``keydb-runbooks``; pyinfra has its own."""

from __future__ import annotations

from typing import NoReturn
from weakref import WeakSet

from gevent import GreenletExit
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.output import format_text
from pyinfra.api.state import State

from keydb_runbooks.operations.report import Outcome
from keydb_runbooks.runbooks.exit_codes import ExitCode

OF_OUTCOMES = {
    Outcome.DONE: ExitCode.DONE,
    Outcome.NOTHING_TO_DO: ExitCode.DONE,
    Outcome.REFUSED: ExitCode.REFUSED,
    Outcome.FAILED_UNCHANGED: ExitCode.UNCHANGED,
    Outcome.FAILED_INCOMPLETE: ExitCode.INCOMPLETE,
}

_told: list[ExitCode] = []
_stopped: WeakSet[State] = WeakSet()


def tell(code: ExitCode) -> None:
    """Say how a verb, or a part of it, ended."""
    _told.append(code)


def told() -> tuple[ExitCode, ...]:
    """Everything that was said so far."""
    return tuple(_told)


def stop(host: Host, sentence: str, code: ExitCode = ExitCode.USAGE) -> NoReturn:
    """Say why nothing is done, and end the whole run without a traceback.

    :param code: what ``keydb-runbooks`` exits with; pyinfra exits with 1

    Every host runs the deploy file for itself: the first one speaks for all.
    """
    if host.state in _stopped:
        raise GreenletExit
    _stopped.add(host.state)
    tell(code)
    logger.error(format_text(sentence, "red"))
    raise SystemExit(1)

"""What verbs tell of their end in this process, for the exit code of ``keydb-runbooks``; pyinfra has its own."""

from __future__ import annotations

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


def tell(code: ExitCode) -> None:
    """Say how a verb, or a part of it, ended."""
    _told.append(code)


def told() -> tuple[ExitCode, ...]:
    """Everything that was said so far."""
    return tuple(_told)

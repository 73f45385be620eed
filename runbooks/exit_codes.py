"""Exit codes of the command ``keydb-runbooks``: pyinfra knows 0 and 1 alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

PYINFRA_USAGE = 2
"""What pyinfra's command line exits with when it can't be read."""


class ExitCode(IntEnum):
    """What a program that started a verb may rely on. ``REFUSED`` and ``USAGE`` changed nothing."""

    DONE = 0
    INCOMPLETE = 1
    USAGE = 2
    REFUSED = 3
    UNCHANGED = 4
    DRIFTED = 5
    UNREACHED = 6


WORST_FIRST = (
    ExitCode.INCOMPLETE,
    ExitCode.UNCHANGED,
    ExitCode.REFUSED,
    ExitCode.USAGE,
    ExitCode.DRIFTED,
    ExitCode.UNREACHED,
    ExitCode.DONE,
)


@dataclass(frozen=True)
class Ending:
    """How pyinfra ended.

    :param code: its own exit code
    :param dry: whether nothing was to be executed
    :param reached: whether it had reached a machine
    :param executed: whether it came as far as to execute operations
    :param failed: whether a machine that it had reached failed in one
    :param unreached: whether there was a machine that it did not reach
    """

    code: int
    dry: bool
    reached: bool
    executed: bool
    failed: bool
    unreached: bool


def exit_code(told: Collection[ExitCode], ending: Ending) -> ExitCode:
    """The worst of what the verb told of itself; if it told nothing, what can be said of pyinfra's end.

    A verb that did its work while a machine was off has succeeded, so ``told`` is believed before ``ending``.
    """
    if told:
        return min(told, key=WORST_FIRST.index)
    if ending.code == 0:
        # Somebody said no to pyinfra's question, or pressed Ctrl-C: its own code is 0 all the same.
        return ExitCode.DONE if ending.executed or ending.dry else ExitCode.UNCHANGED
    if ending.code == PYINFRA_USAGE:
        return ExitCode.USAGE
    if ending.failed:
        return ExitCode.INCOMPLETE if ending.executed else ExitCode.UNCHANGED
    if ending.unreached:
        return ExitCode.UNREACHED
    if ending.executed:
        return ExitCode.INCOMPLETE
    return ExitCode.UNCHANGED if ending.reached else ExitCode.USAGE

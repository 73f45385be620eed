"""The exit code of keydb-runbooks: the worst that a verb told, else what pyinfra's end allows to say."""

import pytest

from keydb_runbooks.runbooks.exit_codes import WORST_FIRST, Ending, ExitCode, exit_code

DONE, INCOMPLETE, USAGE, REFUSED, UNCHANGED, DRIFTED, UNREACHED = ExitCode


def ended(code: int, *true: str) -> Ending:
    return Ending(code, **{name: name in true for name in ("dry", "reached", "executed", "failed", "unreached")})


# (what the verb told, how pyinfra ended, what the command exits with)
ENDS = [
    ((DONE,), ended(0, "executed"), DONE),
    # A failover from a machine that is off has succeeded.
    ((DONE,), ended(1, "executed", "unreached"), DONE),
    ((REFUSED,), ended(1, "unreached"), REFUSED),
    ((DRIFTED, UNREACHED), ended(1), DRIFTED),
    ((DONE, INCOMPLETE), ended(1, "executed"), INCOMPLETE),
    ((REFUSED, UNCHANGED), ended(1, "executed"), UNCHANGED),
    ((), ended(0, "executed"), DONE),
    ((), ended(0, "dry"), DONE),
    # No was answered, or Ctrl-C was pressed.
    ((), ended(0), UNCHANGED),
    ((), ended(2), USAGE),
    ((), ended(1, "executed", "failed"), INCOMPLETE),
    ((), ended(1, "executed", "failed", "unreached"), INCOMPLETE),
    ((), ended(1, "executed", "unreached"), UNREACHED),
    ((), ended(1, "executed"), INCOMPLETE),
    ((), ended(1, "failed"), UNCHANGED),
    ((), ended(1, "unreached"), UNREACHED),
    # A program that a machine lacks, for instance.
    ((), ended(1, "reached"), UNCHANGED),
    ((), ended(1), USAGE),
]


@pytest.mark.parametrize("told, ending, code", ENDS)
def test_the_exit_code(told, ending, code):
    assert exit_code(told, ending) is code


def test_every_code_has_its_place():
    assert sorted(WORST_FIRST) == sorted(ExitCode)

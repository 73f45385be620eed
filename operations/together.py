"""One answer for all hosts of a group that run the same deploy file, and how far they have come together.

pyinfra lets every host run the file for itself, and goes on with the others when one fails. So the group is looked at
once, all go by what was decided then, and what may follow only behind another host's work asks whether that is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from gevent.lock import BoundedSemaphore
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.output import format_text
from pyinfra.api.state import State

from keydb_runbooks.connectors.group import Group
from keydb_runbooks.operations import endings, scope
from keydb_runbooks.operations.show import refusal_lines, wrap
from keydb_runbooks.runbooks.exit_codes import ExitCode
from keydb_runbooks.runbooks.plan import Refusal


class Told(Protocol):
    """What was decided, as a sentence, with what a person should know."""

    @property
    def warnings(self) -> tuple[str, ...]: ...

    @property
    def needs(self) -> tuple[str, ...]: ...


Answer = TypeVar("Answer", bound=Told)

_answers: WeakKeyDictionary[State, dict[str, object]] = WeakKeyDictionary()
_done: WeakKeyDictionary[State, set[tuple[str, str]]] = WeakKeyDictionary()
_reasons: WeakKeyDictionary[State, dict[str, list[str]]] = WeakKeyDictionary()
_deciding = BoundedSemaphore()


def decided(target: Host, group: Group, decide: Callable[[], Answer | Refusal]) -> Answer:
    """What was decided for a group, once; it is printed by one host alone.

    :raises SystemExit: after a refusal was printed
    """
    with _deciding:
        answers = _answers.setdefault(target.state, {})
        if group.name not in answers:
            answers[group.name] = decide()
        answer: Answer | Refusal = answers[group.name]  # type: ignore[assignment]
    if isinstance(answer, Refusal):
        endings.stop(target, "\n    ".join(refusal_lines(answer)), ExitCode.REFUSED)
    if scope.conducts(target, group):
        _tell(answer)
    return answer


def refuse_all(target: Host, code: str, look: Callable[[], list[str]]) -> None:
    """Refuse to change anything on any host, with all reasons of all of them; they are looked for once.

    :param look: finds the reasons, none if nothing is in the way
    :raises SystemExit: after they were printed
    """
    with _deciding:
        reasons = _reasons.setdefault(target.state, {})
        if code not in reasons:
            reasons[code] = look()
    if told := reasons[code]:
        head = f"refused: {code}: nothing was changed:"
        rows = [row for line in told for row in wrap(line, "", 2)]
        endings.stop(target, "\n    ".join([head, *rows]), ExitCode.REFUSED)


def _tell(answer: Told) -> None:
    needs, warnings = (f"needed: {one}" for one in answer.needs), (f"warning: {one}" for one in answer.warnings)
    for sentence in (str(answer), *needs, *warnings):
        for line in wrap(sentence, "", 2):
            logger.info(f"    {format_text(line, 'yellow') if sentence.startswith('warning') else line}")


def note(state: State, host: Host, group: Group, what: str = "") -> bool:
    """Note that what the others wait for is done; a command of an operation, behind those that do it.

    :param what: tells it from other things that are waited for
    """
    _done.setdefault(state, set()).add((group.name, what))
    return True


def behind(target: Host, group: Group, what: str = "") -> Callable[[], bool]:
    """For ``_if``: whether what the others wait for is done."""
    return lambda: (group.name, what) in _done.get(target.state, set())

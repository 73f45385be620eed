"""Facts of a machine that are asked for together: by SSH, and by sudo, a command costs as much whatever it asks.

``ask`` begins, before anybody needs to know. ``answer`` and ``quiet_answer`` tell what was answered, each of it once,
and ask by themselves for everything else. An answer is none any more once an operation has changed the machine, or
when it is too old. What an operation has just changed itself it asks for with pyinfra's own ``get_fact``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from secrets import token_hex
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import gevent
from pyinfra.api import FactBase, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.connectors.shell import script

Value = TypeVar("Value")

FRESH_SECONDS = 10.0
"""For so long an answer counts, and is waited for, from the question on: in a big fleet others may be at work for
minutes before an operation gets to a host."""

# $1 a word that no answer has; behind it commands. Behind each one's output comes the word, with its exit code.
TOGETHER = """
run_script() { text=$1; shift 2; eval "$text"; }
word=$1; shift
for command; do
    (eval "$command") </dev/null
    printf '\\n%s %s\\n' "$word" "$?"
done
"""

SCRIPT = "sh -c "
"""How the commands begin that ``script`` made; behind it come the text, the word ``sh``, and arguments."""


Question = tuple[type[FactBase[Any]], dict[str, Any]]
"""A fact and its arguments, word for word as they will be asked for."""


class Place(NamedTuple):
    """Where the answer to a question is: the run of a command, and which of its commands it was."""

    run: gevent.Greenlet[Any, list[list[str] | None]]
    number: int
    asked: float


_answers: WeakKeyDictionary[State, dict[str, Place]] = WeakKeyDictionary()


def ask(host: Host, questions: Iterable[Question]) -> None:
    """Begin to ask a machine, if it is connected; nobody waits for it here."""
    asked = tuple(questions)
    if not host.connected or not asked:
        return
    run = gevent.spawn(_run, host, [_command(question) for question in asked])
    known = _answers.setdefault(host.state, {})
    known.update({_key(host, question): Place(run, number, time.monotonic()) for number, question in enumerate(asked)})


def answer(host: Host, question: Question) -> Any:
    """What ``host.get_fact`` returns."""
    fact, arguments = question
    lines = _told(host, question)
    return _value(fact, lines) if lines is not None else host.get_fact(fact, **arguments)


def quiet_answer(host: Host, question: Question) -> Any:
    """The same, with nothing of it printed. A command that fails is unknown, and no failure."""
    fact, arguments = question
    lines = _told(host, question)
    return get_now(host, fact, **arguments) if lines is None else _value(fact, lines)


def get_quietly(host: Host, fact: type[FactBase[Value]], **arguments: Any) -> Value:
    """``quiet_answer`` for one question; its name and its shape are those of ``host.get_fact``."""
    found: Value = quiet_answer(host, (fact, arguments))
    return found


def get_now(host: Host, fact: type[FactBase[Value]], **arguments: Any) -> Value:
    """The same, asked now whatever was answered before.

    :raises ConnectionError: if the machine has ended the connection; pyinfra's ``get_fact`` would end every host's run
    """
    found: Value = _value(fact, run_quietly(host, fact().command(**arguments)))
    return found


def _value(fact: type[FactBase[Value]], lines: list[str] | None) -> Value:
    return fact().process(lines) if lines else fact.default()


def _told(host: Host, question: Question) -> list[str] | None:
    """What was answered before, None if this has to be asked now: it was not asked, or its command failed."""
    place = _answers.get(host.state, {}).pop(_key(host, question), None)
    if place is None:
        return None
    if (left := place.asked + FRESH_SECONDS - time.monotonic()) > 0:
        place.run.join(timeout=left)
    if not place.run.successful() or time.monotonic() - place.asked > FRESH_SECONDS or _is_changed(host):
        return None
    answers = place.run.value or []
    return answers[place.number]


def _is_changed(host: Host) -> bool:
    """Whether an operation of this run has executed anything there."""
    return any(one.operation_meta.executed for one in host.state.ops[host].values())


def _key(host: Host, question: Question) -> str:
    fact, arguments = question
    return f"{host.name} {fact.name} {sorted(arguments.items())}"


def _command(question: Question) -> str:
    fact, arguments = question
    command = fact().command(**arguments)
    text = command.get_raw_value() if isinstance(command, StringCommand) else str(command)
    # By a copy of the shell that is there: to start another one takes longer than most of what is asked.
    return f"run_script {text.removeprefix(SCRIPT)}" if text.startswith(SCRIPT) else text


def _run(host: Host, commands: list[str]) -> list[list[str] | None]:
    """The lines that each command printed, None for one that failed, or that was not reached."""
    word = token_hex(16)
    answers: list[list[str] | None] = []
    lines: list[str] = []
    printed: list[str] | None = None
    with suppress(OSError):  # whoever asks alone hears of it
        printed = run_quietly(host, script(TOGETHER, word, *commands))
    for line in printed or ():
        if not line.startswith(word):
            lines.append(line)
            continue
        # The line's end in front of the word is an empty line behind what ended with one itself.
        told = lines[:-1] if lines and not lines[-1] else lines
        answers.append(told if line == f"{word} 0" else None)
        lines = []
    return answers + [None] * (len(commands) - len(answers))

"""A plan or a refusal as text for people: first what it comes to, then what it rests on, then each command."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from keydb_runbooks.runbooks.grounds import Evidence, Place
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal

WIDTH = 72
"""What is left of 80 columns: pyinfra puts 8 blanks before each line of a deploy."""


def plan_lines(plan: Plan) -> list[str]:
    """A plan for people: what it does and costs, what it rests on, and every raw command in order."""
    former = f" instead of {plan.former}" if plan.former not in (None, plan.primary) else ""
    afterwards = plan.outcome or f"{plan.primary} is the primary afterwards{former}"
    lines = [
        *wrap(f"plan: {plan.verb} of {plan.group}: {afterwards}", "", 6),
        *_labelled("expected gap", plan.gap),
        *_labelled("predicted loss", str(plan.loss)),
        *_labelled("one writer", plan.proof),
        *(line for need in plan.needs for line in _labelled("needed", need)),
        *(line for warning in plan.warnings for line in _labelled("warning", warning)),
        *evidence_lines(plan.evidence),
        *ranking_lines(plan.ranking, plan.primary),
        "steps",
    ]
    for number, step in enumerate(plan.steps, start=1):
        lines += wrap(step.sentence, f"{number:>4}. {step.where:<10} ", 17)
        if step.changes:
            lines.extend(f"{'':17}{' '.join(command)}" for command in step.commands)
    # Of a long plan the head has scrolled away by the time that somebody is asked.
    becomes = f"{plan.primary} {'stays' if plan.former == plan.primary else 'becomes'} primary{former}"
    loss = "unknown" if plan.loss.bytes is None else f"{plan.loss.bytes:,} bytes"
    return [*lines, *wrap(f"{plan.outcome or becomes}; predicted loss: {loss}", "", 2)]


def refusal_lines(refusal: Refusal) -> list[str]:
    """A refusal for people: each reason, then what was seen and who could have taken the role."""
    reasons = [line for reason in str(refusal).splitlines() for line in wrap(reason, "", 2)]
    return [*reasons, *evidence_lines(refusal.evidence), *ranking_lines(refusal.ranking)]


def nothing_lines(answer: NothingToDo) -> list[str]:
    """That nothing has to be done, for people."""
    return wrap(str(answer), "", 2)


def failure_lines(sentence: str, command: str | None, indent: int = 2) -> list[str]:
    """How a run ended that was not done, for people; the command at its end is a line of its own, to be pasted.

    :param command: the one that goes on, None if the sentence has none
    """
    if command is None or not sentence.endswith(command):
        return [line for part in sentence.splitlines() for line in wrap(part, "", indent)]
    return [*wrap(sentence.removesuffix(command), "", indent), f"{'':{indent}}{command}"]


def evidence_lines(evidence: Sequence[Evidence]) -> list[str]:
    """Each item with when it was seen, and by whom; the day is left out, the times are UTC."""
    lines = ["evidence (UTC)"] if evidence else []
    for item in evidence:
        lines += wrap(str(item), f"  {item.when[11:19] or 'unknown':<9} ", 12)
    return lines


COLUMNS = ("", "node", "offset", "prio", "disk", "memory", "zone")


def ranking_lines(ranking: Sequence[Place], chosen: str | None = None) -> list[str]:
    """A table of the candidates, best first, with the reason for each place beneath it.

    :param chosen: the one that a plan makes the primary, marked by ``>``; if it isn't the first one, ``to=`` named it
    """
    if not ranking:
        return []
    rows = [COLUMNS, *(_columns(number, place, chosen) for number, place in enumerate(ranking, start=1))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines = ["candidates", shown[0]]
    for line, place in zip(shown[1:], ranking, strict=True):
        named = place.node == chosen and place is not ranking[0]
        why = f"{place.why}; chosen all the same, by to={chosen}" if named else place.why
        lines += [line, *wrap(why, " " * 8, 8)]
    return lines


def _columns(number: int, place: Place, chosen: str | None) -> tuple[str, ...]:
    mark = ">" if place.node == chosen else " "
    which = f"{mark} {number}." if place.eligible else f"{mark} no"
    return (which, place.node, place.offset, place.priority, place.disk, place.memory, place.zone)


def _labelled(label: str, text: str) -> list[str]:
    """A line ``label  text``, wrapped beneath the text."""
    return wrap(text, f"{label:<15} ", 16)


def wrap(text: str, first: str, indent: int) -> list[str]:
    """Lines of a paragraph, the first one behind ``first``; a name or an option is never broken at its hyphen."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )

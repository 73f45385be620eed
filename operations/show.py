"""A plan as text for people, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from keydb_runbooks.runbooks.grounds import Evidence, Place
from keydb_runbooks.runbooks.plan import Plan, Refusal

WIDTH = 76


def plan_lines(plan: Plan) -> list[str]:
    """A plan for people: what it does, what it costs, and every raw command in order."""
    former = f" from {plan.former}" if plan.former not in (None, plan.primary) else ""
    afterwards = plan.outcome or f"{plan.primary} is the primary afterwards{former}"
    lines = [
        f"plan: {plan.verb} of {plan.group}: {afterwards}",
        *_labelled("expected gap", plan.gap),
        *_labelled("predicted loss", str(plan.loss)),
        *_labelled("one writer", plan.proof),
        *(line for need in plan.needs for line in _labelled("needed", need)),
        *(line for warning in plan.warnings for line in _labelled("warning", warning)),
        *evidence_lines(plan.evidence),
        *ranking_lines(plan.ranking),
    ]
    for number, step in enumerate(plan.steps, start=1):
        lines.append(f"{number:>2}. {step.where:<10} {step.sentence}")
        if step.changes:
            lines.extend(f"{'':15}{' '.join(command)}" for command in step.commands)
    return lines


def refusal_lines(refusal: Refusal) -> list[str]:
    """A refusal for people: each reason, then what was seen and who could have taken the role."""
    return [*str(refusal).splitlines(), *evidence_lines(refusal.evidence), *ranking_lines(refusal.ranking)]


def evidence_lines(evidence: Sequence[Evidence]) -> list[str]:
    """Each item with when it was seen, and by whom; the day is left out, the times are UTC."""
    lines = ["evidence (UTC)"] if evidence else []
    for item in evidence:
        clock = item.when[11:23] or "unknown"
        lines += wrap(f"{clock:<13} {item}", WIDTH, initial_indent="  ", subsequent_indent=" " * 16)
    return lines


COLUMNS = ("", "node", "offset", "prio", "disk", "memory", "zone")


def ranking_lines(ranking: Sequence[Place]) -> list[str]:
    """A table of the candidates, best first, with the reason for each place beneath it."""
    if not ranking:
        return []
    rows = [COLUMNS, *(_columns(number, place) for number, place in enumerate(ranking, start=1))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines = ["candidates", f"  {shown[0]}"]
    for line, place in zip(shown[1:], ranking, strict=True):
        lines += [f"  {line}", *wrap(place.why, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)]
    return lines


def _columns(number: int, place: Place) -> tuple[str, ...]:
    which = f"{number}." if place.eligible else "no"
    return (which, place.node, place.offset, place.priority, place.disk, place.memory, place.zone)


def _labelled(label: str, text: str) -> list[str]:
    """A line ``label  text``, wrapped beneath the text."""
    return wrap(text, WIDTH, initial_indent=f"{label:<15} ", subsequent_indent=" " * 16)

"""A plan as text for people, at most 80 columns wide."""

from __future__ import annotations

from textwrap import wrap

from keydb_runbooks.runbooks.plan import Plan

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
        *(line for warning in plan.warnings for line in _labelled("warning", warning)),
    ]
    for number, step in enumerate(plan.steps, start=1):
        lines.append(f"{number:>2}. {step.where:<10} {step.sentence}")
        if step.changes:
            lines.extend(f"{'':15}{' '.join(command)}" for command in step.commands)
    return lines


def _labelled(label: str, text: str) -> list[str]:
    """A line ``label  text``, wrapped beneath the text."""
    return wrap(text, WIDTH, initial_indent=f"{label:<15} ", subsequent_indent=" " * 16)

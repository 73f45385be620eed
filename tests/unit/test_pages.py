"""The verbs' pages: the same headings in each, the plan as it is printed, and every refusal by its code."""

import re
from pathlib import Path

import pytest
from worlds import codes, fenced, group, guarded, primary, proxy, replica

from keydb_runbooks.operations.show import plan_lines
from keydb_runbooks.runbooks import abort, demote, fence, promote, unfence
from keydb_runbooks.runbooks.plan import Request

DOCS = Path(__file__).parents[2] / "docs"
HEADINGS = [
    "What it promises",
    "Before you start",
    "Dry run",
    "The run",
    "How it looks afterwards",
    "When it goes wrong",
    "Exit codes",
]
HEALTHY = (primary(1), replica(2), replica(3), proxy(1))

# verb: its module, what is seen, what is asked for
VERBS = {
    "fence": (fence, HEALTHY, Request(node="keydb-1")),
    "unfence": (unfence, (fenced(primary(1)), *HEALTHY[1:]), Request(node="keydb-1")),
    "demote": (demote, (primary(1), primary(2), guarded(3)), Request(node="keydb-2")),
    "promote": (promote, (guarded(1), guarded(2), guarded(3)), Request(to="keydb-2")),
    "abort": (abort, (primary(1, paused=True), *HEALTHY[1:]), Request()),
}


def page(verb: str) -> str:
    return (DOCS / f"{verb}.md").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_each_page_has_the_same_headings(verb):
    assert re.findall(r"^## (.*)$", page(verb), re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("verb", VERBS)
def test_the_plan_on_a_page_is_what_is_printed(verb):
    module, members, request = VERBS[verb]
    block = page(verb).partition("## Dry run")[2].partition("## The run")[0]
    shown = [line.removeprefix("    ") for line in block.split("\n") if line.startswith("    ")]
    assert shown[1:] == plan_lines(module.plan(group(*members), request, 1))


@pytest.mark.parametrize("verb", VERBS)
def test_each_refusal_of_a_verb_is_on_its_page(verb):
    told = page(verb).partition("## When it goes wrong")[2]
    missing = {code for code in codes("Refusal", verb) if code.partition("*")[0] not in told}
    assert missing == set()

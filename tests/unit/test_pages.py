"""The verbs' pages and README's incident card: headings, refusals, commands. Samples are tests/sandbox/test_pages.py's."""

import re
from pathlib import Path

import pytest
from worlds import codes

from keydb_runbooks.operations.options import OPTIONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HEADINGS = [
    "What it promises",
    "Before you start",
    "Dry run",
    "The run",
    "How it looks afterwards",
    "When it goes wrong",
    "Exit codes",
]
VERBS = ("switchover", "failover", "rejoin", "fence", "unfence", "promote", "demote", "abort")
CARD = "## Writes fail"


def page(verb: str) -> str:
    return (DOCS / f"{verb}.md").read_text()


def card() -> list[str]:
    """The lines of README's card, from its heading to the next one."""
    text = (ROOT / "README.md").read_text()
    assert text.count(f"{CARD}\n") == 1
    return (CARD + text.partition(CARD)[2].partition("\n## ")[0]).rstrip().splitlines()


@pytest.mark.parametrize("verb", VERBS)
def test_each_page_has_the_same_headings(verb):
    assert re.findall(r"^## (.*)$", page(verb), re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("verb", VERBS)
def test_no_sample_of_a_page_waits_to_be_recorded(verb):
    assert not re.findall(r"^    \.\.\.$", page(verb), re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_each_refusal_of_a_verb_is_on_its_page(verb):
    told = page(verb).partition("## When it goes wrong")[2]
    missing = {code for code in codes("Refusal", verb) if code.partition("*")[0] not in told}
    assert missing == set()


@pytest.mark.parametrize("verb", VERBS)
def test_each_option_on_a_page_is_one(verb):
    named = re.findall(r"--data (?!keydb_)(\w+)=", page(verb)) + re.findall(r"^\| `(\w+)=", page(verb), re.MULTILINE)
    assert set(named) <= set(OPTIONS)


def test_the_incident_card_is_one_screen():
    lines = card()
    assert len(lines) <= 24
    assert [line for line in lines if len(line) > 80] == []


def test_each_command_on_the_incident_card_exists():
    text = "\n".join(card())
    deploys = re.findall(r"\b(\w+)\.py\b", text.replace("inventories/prod.py", ""))
    assert len(deploys) > 5
    assert {name for name in deploys if not (ROOT / "deploys" / f"{name}.py").exists()} == set()
    assert set(re.findall(r"--data (\w+)=", text)) <= set(OPTIONS)
    assert (ROOT / "inventories" / "prod.py").exists()
    assert {name for name in re.findall(r"docs/\w+\.md", text) if not (ROOT / name).exists()} == set()


def test_each_state_on_the_incident_card_is_a_finding():
    """The first word of each row is what status prints."""
    rows = [line.split()[0] for line in card() if re.match(r"    [a-z]+-?[a-z-]+ .* {2,}\S", line)]
    named = {row for row in rows if row not in ("status", "healthy:", "pyinfra")}
    assert len(named) >= 6
    assert named <= codes("Finding", "topology") | {"proxy-*", "node-*"}

"""The verbs' pages and README's incident card: headings, refusals, commands. Samples are tests/sandbox/test_pages.py's."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from card import card, first_row, rows
from worlds import GOOD, codes, fenced, group, guarded, orphan, primary, promoted, proxy, replica, silent, stream

from keydb_runbooks.operations.options import OPTIONS
from keydb_runbooks.runbooks import abort, failover, rejoin, switchover
from keydb_runbooks.runbooks.findings import find
from keydb_runbooks.runbooks.incident import next_verb
from keydb_runbooks.runbooks.kinds import HINTS
from keydb_runbooks.runbooks.made import HINTS as MADE
from keydb_runbooks.runbooks.plan import Plan, Request
from keydb_runbooks.runbooks.proxy import UnreadProxy
from keydb_runbooks.runbooks.replication import SILENT
from tests.unit.test_refusal_codes import first_words, proxy_codes

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
VERBS = (
    *("switchover", "failover", "rejoin", "fence", "unfence", "promote", "demote", "abort"),
    *("restart", "upgrade", "backup", "restore"),
)


def page(verb: str) -> str:
    return (DOCS / f"{verb}.md").read_text()


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
    named = re.findall(r"--data (?!keydb_)(\w+)=", page(verb)) + re.findall(
        r"^\| `(?!keydb_)(\w+)=", page(verb), re.MULTILINE
    )
    assert set(named) <= set(OPTIONS)


def test_the_incident_card_is_one_screen():
    lines = card()
    assert len(lines) <= 40
    assert [line for line in lines if len(line) > 80] == []


def test_each_command_on_the_incident_card_exists():
    text = "\n".join(card())
    deploys = re.findall(r"\b(\w+)\.py\b", text.replace("inventories/prod.py", ""))
    assert len(deploys) > 5
    assert {name for name in deploys if not (ROOT / "deploys" / f"{name}.py").exists()} == set()
    assert set(re.findall(r"--data ([a-z_]+)=", text)) <= set(OPTIONS)
    assert (ROOT / "inventories" / "prod.py").exists()
    assert {name for name in re.findall(r"docs/\w+\.md", text) if not (ROOT / name).exists()} == set()


def test_each_state_on_the_incident_card_is_a_finding():
    """The first word of each row is what status prints."""
    named = {one.split()[0].rstrip(":") for says, _ in rows() for one in says}
    assert len(named) >= 12
    silent_codes = {*(f"node-{code}" for code in SILENT), "proxy-refused"}
    assert named <= codes("Finding", "findings") | silent_codes


STOPPED = [silent(number, "refused", stopped=True) for number in (1, 2, 3)]
NO_PROXY = UnreadProxy("proxy-1", "refused", "is not there")
AFTER = {"replication_id": stream("b"), "offset": 1200}

# (what is seen, the row's deploys, the verb that must have a plan then)
STATES = [
    ((STOPPED[0], STOPPED[1], STOPPED[2], proxy()), ["start"], None),
    ((STOPPED[0], orphan(2), orphan(3), proxy()), ["failover"], failover),
    ((guarded(1), guarded(2), guarded(3), proxy()), ["failover"], failover),
    ((STOPPED[0], orphan(2), orphan(3), NO_PROXY), ["start"], None),
    ((primary(1), replica(2), replica(3), NO_PROXY), ["start"], None),
    ((primary(1), replica(2), STOPPED[2], proxy(1)), ["start"], None),
    ((primary(1, good_replicas=0), STOPPED[1], STOPPED[2], proxy(1)), ["start"], None),
    ((primary(1, good_replicas=0), guarded(2), guarded(3), proxy(1)), ["rejoin"], rejoin),
    ((promoted(2), replica(3, 2, **AFTER), silent(1), proxy(2)), ["start"], None),
    ((promoted(2), replica(3, 2, **AFTER), guarded(1), proxy(2)), ["rejoin"], rejoin),
    ((promoted(2), primary(1, paused=True, good_replicas=0), replica(3, 1), proxy(1)), ["rejoin"], rejoin),
    ((primary(1, paused=True), replica(2), replica(3), proxy(1)), ["abort"], abort),
    ((primary(1, paused=True, epoch=4), guarded(2, epoch=5), replica(3, epoch=4), proxy(1)), ["failover"], None),
    ((STOPPED[0], guarded(2, epoch=5), orphan(3, epoch=4), proxy()), ["failover"], failover),
    ((primary(1), replica(2), replica(3), proxy(2)), ["rejoin"], rejoin),
    (
        (primary(1, keys=0, epoch=None, replication_id=stream("f")), orphan(2), orphan(3), proxy(1)),
        ["failover"],
        failover,
    ),
    ((fenced(primary(1)), replica(2), replica(3), proxy(1)), ["unfence"], None),
    (
        (primary(1, condition=replace(GOOD, saved=False, dumped=False)), replica(2), replica(3), proxy(1)),
        ["switchover"],
        switchover,
    ),
    ((primary(1, memory_limit=9, memory_used=9), replica(2), replica(3), proxy(1)), ["install"], None),
    ((primary(1), replica(2), replica(3), proxy(1)), [], None),
]


@pytest.mark.parametrize("members, deploys, verb", STATES)
def test_the_first_row_of_the_incident_card_that_is_there_is_right(members, deploys, verb):
    seen = group(*members)
    assert first_row((one.code, one.severity.value, one.sentence) for one in find(seen)) == deploys
    # What status calls next is the same row's verb, if no person has something to do first.
    assert next_verb(find(seen)) is None or next_verb(find(seen))[0] == deploys[0]
    if verb is not None:
        assert isinstance(verb.plan(seen, Request(), 1), Plan)


def test_every_finding_is_on_the_page_of_findings_and_no_other():
    """Codes stand in the first column of its tables; those of who can't be read are made of the links' codes."""
    cells = [line.split("|")[1] for line in (DOCS / "findings.md").read_text().splitlines() if line.startswith("| `")]
    shown = [code for cell in cells for code in re.findall("`([^`]+)`", cell)]
    told = {code for code in codes("Finding", "findings") if not code.endswith("*")}
    nodes = {f"node-{code}" for code in first_words("LinkError", "connectors")}
    proxies = {f"proxy-{code}" for code in proxy_codes()}
    assert len(told) > 20 and len(nodes) > 8 and len(proxies) > 3
    assert sorted(shown) == sorted({*told, *nodes, *proxies, *HINTS, *MADE} - {"made-unknown"})


def test_how_bad_a_finding_is_stands_on_the_page_as_status_tells_it():
    text = (ROOT / "runbooks" / "findings.py").read_text()
    for line in (DOCS / "findings.md").read_text().splitlines():
        if line.startswith("| `"):
            _, first, bad, *_ = line.split("|")
            for code in re.findall("`([^`]+)`", first):
                told = set(re.findall(rf'Finding\("{code}", Severity\.(\w+)', text))
                assert not told or {word.lower() for word in told} == set(bad.strip().split(", or ")), code

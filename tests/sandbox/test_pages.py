"""Every sample in the verbs' pages is what its command prints in the page's story (``pages.py``)."""

from __future__ import annotations

import pytest
from kit import Sandbox
from pages import DOCS, PAGES, excerpt, mask, tell
from printed import Result, waits

OFTEN = ("switchover", "failover", "rejoin")


@pytest.mark.first_engine
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[] if page in OFTEN else [pytest.mark.in_ci]) for page in PAGES]
)
def test_a_page_shows_what_its_commands_print(group: Sandbox, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(group.environment, "COLUMNS", "80")
    seen = 0
    for sample, printed in tell(group, (DOCS / f"{page}.md").read_text()):
        assert mask(sample.text) == mask(printed), f"{sample.command}\n{printed}"
        seen += 1
    assert seen, "no sample was found"


RUN = """
--> Starting operation: Switchover of demo
    [keydb-2] Skipped
              waits: keydb-2 is 1,310,004 bytes behind, gets 59,800 bytes/s,
                21.9 s left (3 s of 30 s, until 13:05:40 UTC)
              waits: it is slow (1 s)
         1/2 keydb-3        0.7 ms  is 0 bytes behind keydb-1, and that is so
                                    long that it is wrapped
        done: switchover in 0.01 s
--> Results:
"""


@pytest.mark.first_engine
def test_the_lines_of_a_wait_are_no_part_of_a_sample_however_they_are_wrapped(founded: Sandbox) -> None:
    assert waits(RUN) == [
        "keydb-2 is 1,310,004 bytes behind, gets 59,800 bytes/s, 21.9 s left (3 s of 30 s, until 13:05:40 UTC)",
        "it is slow (1 s)",
    ]
    shown = excerpt(founded, Result(0, RUN)).splitlines()
    assert [line.split()[0] for line in shown] == ["1/2", "long", "done:"]

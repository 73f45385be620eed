"""Every sample in the verbs' pages is what its command prints in the page's story (``pages.py``)."""

from __future__ import annotations

import pytest
from kit import Sandbox
from pages import DOCS, PAGES, mask, tell

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

"""Waiting until a moved Service leads to the primary, which a cluster may be late with."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from keydb_runbooks.operations import perform_service  # noqa: F401 - it adds the steps that it performs
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.runbooks.steps_service import ServiceLeads

LEADS = ServiceLeads("keydb-write", "keydb-1", 0.3)


def links(*looks: set[str], moved: float | None = None) -> SimpleNamespace:
    """A Service that leads to these, one after another, and then to the last of them."""
    left = list(looks)
    service = SimpleNamespace(leads_to=lambda: left.pop(0) if len(left) > 1 else left[0])
    return SimpleNamespace(service=lambda _: service, moved_at={} if moved is None else {"keydb-write": moved})


def test_one_that_leads_there_at_once_moved_when_it_was_patched():
    there = links({"keydb-1"}, moved=7.0)
    assert perform(LEADS, there) == "leads to keydb-1 alone"
    assert there.moved_at == {"keydb-write": 7.0}


@pytest.mark.parametrize("moved", [7.0, None])
def test_one_that_was_waited_for_moved_when_it_led_there(moved):
    there, before = links({"keydb-0"}, {"keydb-0", "keydb-1"}, {"keydb-1"}, moved=moved), time.monotonic()
    perform(LEADS, there)
    assert before < there.moved_at["keydb-write"] <= time.monotonic(), "clients were led to keydb-0 until then"


def test_one_that_never_leads_there_is_told():
    with pytest.raises(StepFailed, match="keydb-write names keydb-1, but leads to keydb-0"):
        perform(LEADS, links({"keydb-0"}))
    with pytest.raises(StepFailed, match=r"but leads to nobody: is pod keydb-1 ready\?"):
        perform(LEADS, links(set()))

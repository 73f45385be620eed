"""What pyinfra finds without the sources of its callers is what it finds with them."""

import inspect
from types import SimpleNamespace

import pytest
from pyinfra.api import util

from keydb_runbooks.operations import callers


@pytest.fixture
def as_it_was(monkeypatch):
    """Whatever a test lets pyinfra do is over when it ends."""
    for name in ("stack", "getframeinfo"):
        monkeypatch.setattr(util, name, getattr(inspect, name))


def found():
    # On one line, since the lines are what is compared.
    return [(util.get_operation_order_from_stack(SimpleNamespace(current_deploy_filename=name)), util.get_call_location()) for name in (None, __file__)]  # fmt: skip


def test_callers_are_the_same_and_no_source_is_read(as_it_was, monkeypatch):
    told = []
    for change in (lambda: None, callers.read_no_sources):
        change()
        told.append(found())
    assert told[0] == told[1]
    assert len(told[0][1][0]) > 1

    def read(*_):
        raise AssertionError("a source was read")

    monkeypatch.setattr(inspect, "findsource", read)
    found()


def test_another_way_of_pyinfras_to_find_them_stays(as_it_was, monkeypatch):
    monkeypatch.setattr(util, "stack", other := lambda: [])
    monkeypatch.delattr(util, "getframeinfo")
    callers.read_no_sources()
    assert util.stack is other
    assert not hasattr(util, "getframeinfo")

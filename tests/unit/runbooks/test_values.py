"""A value with a few fields changed is what dataclasses.replace makes of it."""

from dataclasses import FrozenInstanceError, replace

import pytest

from keydb_runbooks.runbooks.condition import UNKNOWN
from keydb_runbooks.runbooks.values import changed


def test_a_changed_value_is_the_one_that_replace_makes():
    assert changed(UNKNOWN, saved=True, clients=3) == replace(UNKNOWN, saved=True, clients=3)
    assert hash(changed(UNKNOWN, saved=True)) == hash(replace(UNKNOWN, saved=True))


def test_the_value_itself_stays():
    before = replace(UNKNOWN)
    changed(before, saved=True)
    assert before == UNKNOWN


def test_a_changed_value_is_frozen():
    with pytest.raises(FrozenInstanceError):
        changed(UNKNOWN, saved=True).saved = False


def test_a_field_that_is_not_there_is_an_error():
    with pytest.raises(TypeError, match="Condition has no save_point"):
        changed(UNKNOWN, save_point=True)

"""Each step says what it does and which raw commands it sends; steps.yaml has a row for every kind."""

from pathlib import Path

import pytest
import yaml

from keydb_runbooks.runbooks import steps
from keydb_runbooks.runbooks.replication import Address
from keydb_runbooks.runbooks.steps import Step

ROWS = yaml.safe_load((Path(__file__).parent / "steps.yaml").read_text())
KINDS = {kind.__name__ for kind in Step.__subclasses__()}


def made(row) -> Step:
    fields = dict(row["fields"])
    if "address" in fields:
        fields["address"] = Address(*fields["address"])
    if "others" in fields:
        fields["others"] = tuple(fields["others"])
    return getattr(steps, row["step"])(**fields)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['step']}-{number}" for number, row in enumerate(ROWS)])
def test_a_step_says_what_it_does_and_sends_nothing_else(row):
    step = made(row)
    assert (step.sentence, [" ".join(command) for command in step.commands]) == (row["sentence"], row["commands"])
    assert (step.code, step.changes, step.commits) == (row["step"], row["changes"], row["step"] == "Promote")


def test_every_kind_of_step_has_a_row():
    assert {row["step"] for row in ROWS} == KINDS


def test_a_step_without_commands_must_say_so_itself():
    bare = Step("keydb-1")
    assert bare.commands == ()
    with pytest.raises(NotImplementedError):
        bare.sentence  # noqa: B018


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_name_of_a_step_is_found_in_its_module(kind):
    assert getattr(steps, kind).__module__ == steps.__name__

"""Each step says what it does and which raw commands it sends; steps.yaml has a row for every kind."""

from pathlib import Path

import pytest
import yaml
from worlds import group, guarded, orphan, primary, proxy, replica, silent, virgin

from keydb_runbooks.runbooks import (
    failover,
    founding,
    rejoin,
    steps,
    steps_backup,
    steps_clients,
    steps_fence,
    steps_members,
    steps_restart,
    steps_restore,
    steps_save,
    steps_service,
    switchover,
)
from keydb_runbooks.runbooks.plan import Request
from keydb_runbooks.runbooks.replication import Address, ClientUser
from keydb_runbooks.runbooks.steps import Step

ROWS = yaml.safe_load((Path(__file__).parent / "steps.yaml").read_text())
KINDS = {kind.__name__: kind for kind in (*Step.__subclasses__(), *steps_save.SaveData.__subclasses__())}


def made(row) -> Step:
    fields = dict(row["fields"])
    if "address" in fields:
        fields["address"] = Address(*fields["address"])
    for name in {"others", "unmet", "replicas", "silent"} & set(fields):
        fields[name] = tuple(fields[name])
    if "users" in fields:
        fields["users"] = tuple(ClientUser(*user[:4], fence=tuple(user[4])) for user in fields["users"])
    return KINDS[row["step"]](**fields)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['step']}-{number}" for number, row in enumerate(ROWS)])
def test_a_step_says_what_it_does_and_sends_nothing_else(row):
    step = made(row)
    assert (step.sentence, [" ".join(command) for command in step.commands]) == (row["sentence"], row["commands"])
    assert (step.code, step.changes, step.commits) == (row["step"], row["changes"], row["step"] == "Promote")
    assert step.spare == (row["step"] in ("Route", "EndSessions", "LabelPods"))
    assert step.lasting == (row["step"] in ("Follow", "Guard", "Restart", "RestartAlone", "UseProgram", "Leave"))
    assert step.vital == (type(step).__module__ == steps_save.__name__)
    assert step.ends == (row["step"] == "Leave" or type(step).__module__ == steps_restart.__name__)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['step']}-{number}" for number, row in enumerate(ROWS)])
def test_a_step_saves_last_so_that_a_full_disk_leaves_nothing_undone(row):
    assert not {steps.SAVE, steps_fence.SAVE_USERS} & set(made(row).commands[:-1])


PLANS = (
    switchover.plan(group(primary(1), replica(2), replica(3), proxy(1)), Request(to="keydb-2"), 1),
    rejoin.plan(group(primary(1), replica(2), guarded(3), proxy(2)), Request(), 1),
    failover.plan(group(silent(1, "refused", stopped=True), orphan(2), orphan(3), proxy(1)), Request(), 1),
    founding.plan(group(virgin(1), virgin(2), virgin(3), proxy(1)), "keydb-1", min_replicas=1),
)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.verb)
def test_a_proxy_that_could_not_be_told_is_proved_to_lead_to_the_primary_all_the_same(plan):
    told = [step.where for step in plan.steps if step.code == "Route" and step.spare]
    proved = [step.where for step in plan.steps if step.code == "VerifyWrite"]
    assert told == proved == ["proxy-1"]


def test_every_kind_of_step_has_a_row():
    assert {row["step"] for row in ROWS} == set(KINDS)


def test_a_step_without_commands_must_say_so_itself():
    bare = Step("keydb-1")
    assert bare.commands == ()
    with pytest.raises(NotImplementedError):
        bare.sentence  # noqa: B018


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_name_of_a_step_is_found_in_its_module(kind):
    kind_of = (
        steps, steps_backup, steps_clients, steps_fence, steps_members, steps_restart, steps_restore, steps_save,
        steps_service,
    )  # fmt: skip
    assert any(getattr(module, kind, None) is KINDS[kind] for module in kind_of)

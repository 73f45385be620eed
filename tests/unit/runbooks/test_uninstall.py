"""Uninstall: what is named goes, a primary doesn't, and a whole group only by its name."""

from dataclasses import replace

import pytest
from worlds import codes, group, guarded, primary, proxy, replica, silent, silent_proxy

from keydb_runbooks.runbooks.condition import Machine
from keydb_runbooks.runbooks.plan import Refusal
from keydb_runbooks.runbooks.uninstall import Removal, decide

HEALTHY = group(primary(1), replica(2), silent(3, stopped=True), proxy(1), silent_proxy(2))


@pytest.mark.parametrize(
    "topology, node, whole, members, warned",
    [
        (HEALTHY, "keydb-2", None, ("keydb-2",), "take keydb-2 out of the inventory of keydb-1 and keydb-3"),
        (HEALTHY, "keydb-3", None, ("keydb-3",), "take keydb-3 out"),
        (HEALTHY, "proxy-1", None, ("proxy-1",), "clients that use proxy-1 reach nobody"),
        (HEALTHY, "proxy-2", None, ("proxy-2",), "clients that use proxy-2 reach nobody"),
        (HEALTHY, None, "demo", ("keydb-1", "keydb-2", "keydb-3", "proxy-1", "proxy-2"), ""),
        (group(guarded(1)), "keydb-1", None, ("keydb-1",), "take keydb-1 out"),
    ],
)
def test_what_is_named_goes(topology, node, whole, members, warned):
    answer = decide(topology, node, whole, remove_data=False)
    assert isinstance(answer, Removal)
    assert answer.members == members
    assert warned in " ".join(answer.warnings)
    assert bool(answer.warnings) is bool(warned)
    assert str(answer) == f"uninstall of demo: {' and '.join(members)}; their data stay"
    assert str(decide(topology, node, whole, remove_data=True)).endswith("; their data are removed as well")


@pytest.mark.parametrize("keys, warned", [(1234, ("1,234 keys are gone with the data: is there a backup?",)), (0, ())])
def test_data_that_go_are_counted(keys, warned):
    answer = decide(group(primary(1, keys=keys), replica(2, keys=0)), None, "demo", remove_data=True)
    assert answer.warnings == warned
    assert str(answer).endswith("their data are removed as well")
    assert decide(group(silent(1)), None, "demo", remove_data=True).warnings == ()


REFUSED = {
    "nothing-named": (HEALTHY, None, None),
    "other-group": (HEALTHY, None, "dem"),
    "unknown-member": (HEALTHY, "keydb-9", None),
    "node-unread": (group(primary(1), silent(2)), "keydb-2", None),
    "last-node": (group(primary(1)), "keydb-1", None),
    "primary": (HEALTHY, "keydb-1", None),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_would_cost_a_group_its_primary_is_refused(code):
    topology, node, whole = REFUSED[code]
    answer = decide(topology, node, whole, remove_data=False)
    assert isinstance(answer, Refusal)
    assert answer.code == code


@pytest.mark.parametrize("process, goes", [(False, True), (True, False), (None, False)])
def test_a_node_whose_machine_says_that_no_server_runs_is_no_primary(process, goes):
    seen = replace(silent(2), machine=Machine(process=process))
    answer = decide(group(primary(1), seen), "keydb-2", None, remove_data=False)
    assert isinstance(answer, Removal) is goes


def test_named_twice_is_not_named():
    assert decide(HEALTHY, "keydb-2", "demo", remove_data=False).code == "nothing-named"


def test_every_refusal_has_a_case():
    assert codes("Refusal", "uninstall") <= set(REFUSED)

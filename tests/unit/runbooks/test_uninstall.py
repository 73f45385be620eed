"""Uninstall: what is named goes, a primary doesn't, and a whole group only by its name."""

from dataclasses import replace

import pytest
from worlds import codes, fenced, group, guarded, link, primary, proxy, replica, silent, silent_proxy

from keydb_runbooks.runbooks.condition import Machine
from keydb_runbooks.runbooks.plan import Refusal
from keydb_runbooks.runbooks.replication import Replica
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


WELL = group(primary(1), replica(2), proxy(1))
SERVERS, ALL = ("keydb-1", "keydb-2"), ("keydb-1", "keydb-2", "proxy-1")

# (topology, node, whole group, who was there before install, whether the data go)
REFUSED = {
    "nothing-named": (HEALTHY, None, None, (), False),
    "other-group": (HEALTHY, None, "dem", (), False),
    "unknown-member": (HEALTHY, "keydb-9", None, (), False),
    "node-unread": (group(primary(1), silent(2)), "keydb-2", None, (), False),
    "last-node": (group(primary(1)), "keydb-1", None, (), False),
    "primary": (HEALTHY, "keydb-1", None, (), False),
    "adopted": (WELL, "keydb-2", None, ALL, False),
    "mixed": (WELL, None, "demo", ("keydb-1",), False),
    "not-ours": (WELL, None, "demo", SERVERS, True),
    "not-in-order": (group(primary(1), guarded(2)), None, "demo", SERVERS, False),
}


def refused(code: str) -> Refusal:
    topology, node, whole, adopted, remove_data = REFUSED[code]
    answer = decide(topology, node, whole, remove_data=remove_data, adopted=adopted)
    assert isinstance(answer, Refusal)
    return answer


@pytest.mark.parametrize("code", REFUSED)
def test_what_would_cost_a_group_its_primary_is_refused(code):
    assert refused(code).code == code


@pytest.mark.parametrize("adopted, proxies", [(ALL, ()), (SERVERS, ("proxy-1",))])
def test_servers_of_somebody_else_are_given_back_all_at_once(adopted, proxies):
    answer = decide(WELL, None, "demo", remove_data=False, adopted=adopted)
    assert isinstance(answer, Removal)
    assert (answer.given_back, answer.members, answer.remove_data) == (SERVERS, proxies, False)
    assert answer.warnings[0].startswith("from its next start on no boot guard looks")
    assert answer.warnings[1:] == tuple(f"clients that use {name} reach nobody afterwards" for name in proxies)
    told = "; proxy-1; their data stay" if proxies else ""
    assert str(answer) == f"uninstall of demo: keydb-1 and keydb-2 given back, and run on as they are{told}"


@pytest.mark.parametrize("members, where, told", [
    ((primary(1), silent(2)), "keydb-2", "node-no-answer"),
    ((primary(1), silent(2, stopped=True)), "keydb-2", "node-no-answer"),
    ((primary(1), fenced(replica(2))), "keydb-2", "fenced"),
    ((primary(1, paused=True), replica(2)), "keydb-1", "paused"),
    ((primary(1), replica(2, paused=None)), "keydb-2", "it could not be proved whether it holds writes back"),
    ((primary(1, config_replicaof="10.0.0.2 6379"), replica(2)), "keydb-1", "not-saved"),
])  # fmt: skip
def test_a_group_is_given_back_only_if_nothing_is_left_to_do_for_it(members, where, told):
    answer = decide(group(*members), None, "demo", remove_data=False, adopted=SERVERS)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.where) == ("not-in-order", where)
    assert answer.sentence.startswith(told)
    again = "run this again when it is less busy"
    assert answer.hint == (again if "proved" in told else "a group is given back when status finds nothing")


@pytest.mark.parametrize("members", [
    (primary(1, replicas=(Replica(replica(2).address, False, 0, 0),)), replica(2)),
    (primary(1), replica(2, links=(link(1, last_io_seconds=9),))),
])  # fmt: skip
def test_what_is_only_told_and_an_idle_link_keep_no_group(members):
    assert isinstance(decide(group(*members), None, "demo", remove_data=False, adopted=SERVERS), Removal)


def test_a_proxy_of_somebody_else_is_left_alone():
    whole = decide(WELL, None, "demo", remove_data=True, adopted=("proxy-1",))
    assert isinstance(whole, Removal)
    assert (whole.members, whole.given_back) == (SERVERS, ())
    alone = decide(WELL, "proxy-1", None, remove_data=False, adopted=("proxy-1",))
    assert isinstance(alone, Refusal)
    assert str(alone) == (
        "refused: adopted proxy-1: is somebody else's HAProxy, and nothing of install is there; "
        "who installed it takes it away"
    )


@pytest.mark.parametrize("process, goes", [(False, True), (True, False), (None, False)])
def test_a_node_whose_machine_says_that_no_server_runs_is_no_primary(process, goes):
    seen = replace(silent(2), machine=Machine(process=process))
    answer = decide(group(primary(1), seen), "keydb-2", None, remove_data=False)
    assert isinstance(answer, Removal) is goes


def test_named_twice_is_not_named():
    assert decide(HEALTHY, "keydb-2", "demo", remove_data=False).code == "nothing-named"


def test_every_refusal_has_a_case():
    assert codes("Refusal", "uninstall") <= set(REFUSED)

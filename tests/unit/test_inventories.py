"""Broken inventories are refused with the right key, each through pyinfra's own inventory; and what is no error."""

from __future__ import annotations

from functools import cache

import pyinfra.api.inventory
import pytest
from broken_inventories import MUTATIONS, Broken, broken_inventories, good_inventory
from pyinfra.api.inventory import Inventory

from keydb_runbooks.connectors.group import GroupError, advised, all_groups, the_group
from keydb_runbooks.connectors.secrets import Secret
from keydb_runbooks.operations.options import refuse, refuse_names, refuse_other_name

BROKEN = broken_inventories(200)


@pytest.fixture(autouse=True, scope="module")
def connectors():
    """pyinfra looks for its connectors anew for every host, in every package that is installed: here only once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("get_all_connectors", "get_execution_connectors"):
            patch.setattr(f"pyinfra.api.inventory.{name}", cache(getattr(pyinfra.api.inventory, name)))
        yield


def loaded(groups: dict, override_data: dict | None = None, group_data: dict | None = None) -> Inventory:
    """The inventory as pyinfra makes it out of an inventory file."""
    names = dict.fromkeys(name for hosts in groups.values() for name, _ in hosts)
    given = {name: (hosts, (group_data or {}).get(name, {})) for name, hosts in groups.items()}
    given |= {name: ([], data) for name, data in (group_data or {}).items() if name not in groups}
    return Inventory((list(names), {}), override_data=override_data, **given)


def errors(inventory: Inventory) -> list[str]:
    """Every error as it is told, none if the inventory is taken."""
    all_groups.cache_clear()
    try:
        all_groups(inventory)
    except GroupError as error:
        head, *lines = str(error).split("\n")
        count = len(lines)
        assert head == f"{count} error{'s' if count > 1 else ''} in the inventory, nothing was changed:"
        return [line.removeprefix("    ") for line in lines]
    return []


def test_the_good_inventory_is_taken():
    assert errors(loaded(good_inventory())) == []


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.title)
def test_a_broken_inventory_is_refused_with_the_key_that_is_to_blame(broken: Broken):
    told = errors(loaded(broken.inventory))
    assert [line for line in told if f": {broken.key}: " in line and broken.said in line], told
    assert "never-told" not in "".join(told)


def test_every_mutation_was_tried_several_times():
    assert len(MUTATIONS) > 25
    assert len(BROKEN) == 200
    tried = [broken.title[4:].partition(":")[0] for broken in BROKEN]
    assert min(map(tried.count, tried)) >= 2


# What is no error


FOREIGN = [
    "ssh_user",
    "sandbox_directory",
    "sandbox_port_hint",
    "my_keydb_port",
    "keydb2_port",
    "keydb1_address",
    "_keydb_users",
    "redis_port",
    "proxy_address",
    "http_proxy",
    "apache_port",
    "keepalived_address",
    "keyboard_layout",
    "keyd_config",
    "key_users",
    "hapee_check",
    "keydb",
    "haproxy",
    "group",
    "to",
]


def test_other_peoples_data_are_left_alone_however_like_ours_they_are():
    groups = good_inventory()
    for _, data in [*groups["keydb"], *groups["haproxy"]]:
        data.update(dict.fromkeys(FOREIGN, "x"))
    assert errors(loaded(groups)) == []


def test_other_peoples_groups_are_left_alone():
    groups = good_inventory()
    for name in ("web", "keydbs", "keydb2", "haproxy_internal", "keyd", "Keydb"):
        groups[name] = list(groups["keydb"])
    data = {"prod": {"keydb_port": 1}, "keydb3": {"keydb_port": 1}}
    assert errors(loaded(groups, group_data=data)) == []


def test_a_misspelt_file_of_group_data_is_told():
    told = errors(loaded(good_inventory(), group_data={"haprxy": {"haproxy_check_interval": 100}}))
    assert told == ["inventory: haprxy: is not a group that is known; did you mean haproxy, the proxies?"]


def test_a_host_may_be_a_node_and_a_proxy():
    groups = good_inventory()
    _, data = groups["haproxy"].pop()
    groups["keydb"][0][1].update(data)
    groups["haproxy"].append((groups["keydb"][0][0], {}))
    assert errors(loaded(groups)) == []


def ssh(groups: dict) -> dict:
    """The same hosts on machines of their own, each with the paths and ports that are usual there."""
    shared = [
        key
        for _, data in groups["keydb"] + groups["haproxy"]
        for key in data
        if key.endswith(("_directory", "_file", "_socket", "_port"))
    ]
    places = iter(range(1, 99))
    return {
        group: [
            (
                name.partition("/")[2],
                {**{key: data[key] for key in data if key not in shared}, f"{group}_address": f"10.0.0.{next(places)}"},
            )
            for name, data in hosts
        ]
        for group, hosts in groups.items()
    }


def test_machines_of_their_own_may_have_the_same_paths_and_ports():
    assert errors(loaded(ssh(good_inventory()))) == []


def test_proxies_beside_the_clients_listen_on_loopback_of_each_machine():
    groups = ssh(good_inventory())
    for _, data in groups["haproxy"]:
        data["haproxy_address"] = "127.0.0.1"
    assert errors(loaded(groups)) == []


def test_a_node_on_loopback_is_reached_by_nobody_else():
    groups = ssh(good_inventory())
    groups["keydb"][1][1]["keydb_address"] = "localhost"
    told = "keydb-2: keydb_address: 'localhost' is every machine's own; allowed is one that the others reach"
    assert errors(loaded(groups)) == [told]


@pytest.mark.parametrize(
    "one, other",
    [("::1", "0:0:0:0:0:0:0:1"), ("localhost", "127.0.0.1"), ("Node.example.com", "node.example.com")],
)
def test_one_address_is_the_same_however_it_is_written(one, other):
    groups = good_inventory()
    for (_, data), address in zip(groups["keydb"], (one, other), strict=False):
        data.update(keydb_address=address, keydb_port=6379)
    [told] = errors(loaded(groups))
    assert told.startswith("keydb-2: keydb_port: ") and "is keydb-1's already" in told


def test_a_proxy_that_listens_everywhere_takes_the_port_of_a_node_on_its_machine():
    groups = good_inventory()
    groups["haproxy"][0][1].update(haproxy_address="0.0.0.0", haproxy_write_port=17011)
    assert errors(loaded(groups)) == [
        "proxy-1: haproxy_write_port: 0.0.0.0:17011 is keydb-1's already; take another one"
    ]


def test_a_hidden_password_is_one_like_any_other_and_shows_nowhere():
    groups = good_inventory()
    for _, data in [*groups["keydb"], *groups["haproxy"]]:
        for user in data["keydb_users"].values():
            user["password"] = Secret(user["password"])
    inventory = loaded(groups)
    assert errors(inventory) == []
    assert "never-told" not in repr(groups) + str(groups)
    assert all_groups(inventory)["demo"].nodes[0].user("check").password == "never-told-check"
    groups["keydb"][1][1]["keydb_users"]["check"]["password"] = Secret("another\n")
    told = errors(loaded(groups))
    assert told and "another" not in "".join(told)


# What is given on the command line


def test_a_misspelt_key_on_the_command_line_is_told():
    told = errors(loaded(good_inventory(), override_data={"keydb_maxmemroy": "1gb"}))
    assert told == [
        "every host: keydb_maxmemroy: is not a key that is known; did you mean keydb_maxmemory? docs/inventory.md lists them"
    ]


@pytest.mark.parametrize(
    "wanted, told",
    [
        ("dmeo", "there is no group 'dmeo'; did you mean demo? allowed are demo"),
        ("", "there is no group ''; allowed are demo"),
        ("web", "there is no group 'web'; allowed are demo"),
    ],
)
def test_a_group_that_is_not_there_is_told_with_those_that_are(wanted, told):
    with pytest.raises(GroupError) as raised:
        the_group(loaded(good_inventory()), wanted)
    assert str(raised.value) == told


OPTION = "is not an option; did you mean {}?"


@pytest.mark.parametrize(
    "key, meant",
    [
        ("acceptloss", "accept_loss"),
        ("allow-unread", "allow_unread"),
        ("accept_los", "accept_loss"),
        ("ACCEPT_SPLIT", "accept_split"),
        ("accept_spilt", "accept_split"),
        ("accept_minoritylock", "accept_minority_lock"),
        ("Group", "group"),
        ("gruop", "group"),
        ("formats", "format"),
        ("target", "to"),
        ("too", "to"),
        ("nodes", "node"),
        ("node_name", "node"),
    ],
)
def test_a_misspelt_option_is_told_with_the_one_that_is_meant(key, meant):
    assert list(refuse({key: "keydb-2"})) == [f"--data {key}: {OPTION.format(meant)}"]


@pytest.mark.parametrize(
    "key",
    ["to", "node", "group", "ssh_user", "_sudo", "web_port", "tag", "do", "so", "mode", "code", "reason", "keydb_prot"],
)
def test_other_peoples_options_are_left_alone(key):
    assert list(refuse({key: "x"})) == []


@pytest.mark.parametrize(
    "verb, named_by, given, told",
    [
        ("switchover", "to", {"to": "keydb-2", "node": None}, None),
        ("fence", "node", {"to": None, "node": "keydb-2"}, None),
        ("rejoin", "to", {"to": None, "node": None}, None),
        (
            "switchover",
            "to",
            {"to": None, "node": "keydb-2"},
            "--data node=keydb-2: switchover names the node that becomes the primary by to=NAME",
        ),
        (
            "fence",
            "node",
            {"to": "keydb-2", "node": "keydb-1"},
            "--data to=keydb-2: fence names the node that it acts on by node=NAME",
        ),
    ],
)
def test_a_node_that_is_named_by_the_other_option_is_never_overlooked(verb, named_by, given, told):
    assert refuse_other_name(verb, named_by, given) == told


def test_passwords_are_not_taken_from_a_command_line():
    [told] = refuse({"keydb_users": {"operator": {"name": "operator", "password": "never-told"}}})
    assert told == "--data keydb_users: others can read a command line; passwords belong into the inventory"


def test_a_name_that_is_no_member_is_told_with_those_that_are():
    members = ("keydb-1", "keydb-2", "proxy-1")
    assert list(refuse_names("accept_loss", {"keydb-1", "kedyb-2", "keydb-9"}, members)) == [
        "--data accept_loss=kedyb-2: no node or proxy has that name; did you mean keydb-2? allowed are keydb-1, keydb-2, proxy-1",
        "--data accept_loss=keydb-9: no node or proxy has that name; allowed are keydb-1, keydb-2, proxy-1",
    ]


# Advice


@pytest.mark.parametrize(
    "count, told",
    [
        (1, []),
        (
            2,
            [
                "advice: group demo: keydb: the operators' lock needs 2 of 2 nodes and bears the loss of 0, no more than with 1; an odd number is advised"
            ],
        ),
        (3, []),
    ],
)
def test_an_odd_number_of_nodes_is_advised(count, told):
    groups = good_inventory()
    groups["keydb"] = groups["keydb"][:count]
    for _, data in groups["keydb"]:
        data["keydb_min_replicas_to_write"] = 0
    inventory = loaded(groups)
    assert errors(inventory) == []
    assert advised(all_groups(inventory)["demo"]) == told


def pods(*places: str, **data) -> dict:
    """Three pods by their namespace and name, with a Service in front."""
    users = good_inventory()["keydb"][0][1]["keydb_users"]

    def pod(place: str) -> tuple[str, dict]:
        name = place.rpartition("/")[2]
        return f"@kubernetes/{place}", {"keydb_address": name, "keydb_users": users, "keydb_write_service": "write"}

    made = [pod(place) for place in places]
    made[-1][1].update(data)
    return {"keydb": made}


def test_pods_with_a_service_in_front_are_taken():
    inventory = loaded(pods("cache/keydb-0", "cache/keydb-1", "cache/keydb-2"))
    assert errors(inventory) == []
    (service,) = the_group(inventory, None).services
    assert (service.name, service.host.name) == ("write", "keydb-0")


@pytest.mark.parametrize("inventory, told", [
    (pods("cache/keydb-0", "other/keydb-1"), "keydb-1: keydb_write_service: is of another namespace or context than keydb-0; a Service leads to pods of its own only"),
    (pods("cache/keydb-0", "cache/keydb-1", kubernetes_context="far"), "keydb-1: keydb_write_service: is of another namespace or context than keydb-0; a Service leads to pods of its own only"),
    (pods("cache/keydb-0", "cache/keydb-1", keydb_write_service="read"), "keydb-1: keydb_write_service: differs from keydb-0's 'write'; all hosts of a group have the same"),
    (pods("cache/keydb-0", "cache/keydb-1", keydb_write_service="-"), "keydb-1: keydb_write_service: '-' is wrong; allowed is small letters, digits and dashes"),
])  # fmt: skip
def test_a_service_that_cannot_lead_to_all_pods_is_told(inventory, told):
    assert told in errors(loaded(inventory))


def test_a_service_is_for_pods():
    inventory = good_inventory()
    for _, data in inventory["keydb"]:
        data["keydb_write_service"] = "write"
    assert "is for pods: @kubernetes/NAMESPACE/POD" in errors(loaded(inventory))[0]

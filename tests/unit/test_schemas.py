"""An inventory's errors, word for word and all at once; the cases lie in schemas.yaml."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from keydb_runbooks.schemas import check_hosts, default_of, schema
from keydb_runbooks.schemas.__main__ import page

DATA = yaml.safe_load(Path(__file__).with_name("schemas.yaml").read_text())
CASES = DATA["cases"]
SECRET = "hunter2-never-repeated"


def hosts(part: str, case: dict) -> dict:
    """The hosts of a case: a good one each, changed as the case says; None takes a key away."""
    made = {}
    for name, changes in (case.get(part) or DATA["usual"][part]).items():
        data = {**deepcopy(DATA["good"][part]), **(changes or {})}
        made[name] = {key: value for key, value in data.items() if value is not None}
    return made


def complaints(case: dict) -> list[str]:
    return [str(one) for one in check_hosts(hosts("nodes", case), hosts("proxies", case))]


@pytest.mark.parametrize("title", CASES)
def test_an_inventory_is_told_all_its_errors(title):
    assert complaints(CASES[title]) == CASES[title]["told"]


@pytest.mark.parametrize("name", ["HZ 5", "a\nb", "5"])
def test_a_setting_whose_name_is_no_directive_is_told_what_is_allowed(name):
    [told] = complaints({"nodes": {"keydb-1": {"keydb_settings": {name: 1}}}})
    assert told.startswith("keydb-1: keydb_settings") and "None" not in told


@pytest.mark.parametrize("name", ["replicaof", "slaveof"])
def test_a_setting_must_not_be_a_role(name):
    assert complaints({"nodes": {"keydb-1": {"keydb_settings": {name: "10.0.0.2 6379"}}}}) != []


@pytest.mark.parametrize("key", ["keydb_address", "keydb_group", "keydb_port"])
def test_a_list_where_a_text_belongs_is_a_complaint_and_no_crash(key):
    told = complaints({"nodes": {"keydb-1": {key: ["a"]}}})
    assert any(line.startswith(f"keydb-1: {key}: ['a'] is wrong") for line in told)


def users_with(secret) -> dict:
    users = deepcopy(DATA["good"]["nodes"]["keydb_users"])
    users["application"]["password"] = secret
    return users


@pytest.mark.parametrize(
    "users",
    [
        users_with(["list", SECRET]),
        users_with(SECRET * 40),
        {**users_with("x"), "application": SECRET},
        {**users_with("x"), "application": [SECRET]},
        [SECRET],
        SECRET,
        {**users_with("x"), "aplication": {"name": "a", "password": SECRET}},
    ],
    ids=[
        "a list",
        "too long",
        "instead of a user",
        "a list instead of a user",
        "a list of users",
        "instead of users",
        "a misspelt role",
    ],
)
def test_a_rejected_password_is_never_repeated(users):
    told = complaints({"nodes": {"keydb-1": {"keydb_users": users}}})
    assert told and SECRET not in " ".join(told)


ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.lists(st.text(max_size=2), max_size=2)
    | st.just({})
)
KEYS = st.sampled_from([*schema()["$defs"]["node"]["properties"], "keydb_port", "keydb_address", "keydb_group"])


@given(st.dictionaries(KEYS, ODD, max_size=4))
def test_whatever_an_inventory_holds_is_a_list_of_complaints_and_never_a_crash(changes):
    good = hosts("nodes", {"nodes": {"keydb-1": None}})["keydb-1"]
    for one in check_hosts({"keydb-1": good, "keydb-2": {**good, **changes}}, {}):
        assert str(one).count(": ") >= 2


def test_defaults_stand_in_the_schema():
    assert (default_of("keydb_port"), default_of("haproxy_write_port"), default_of("keydb_users")) == (6379, 6380, None)
    assert default_of("no_such_key") is None


@pytest.mark.parametrize("part", ["node", "proxy"])
def test_every_key_is_described_and_every_default_is_allowed(part):
    properties = schema()["$defs"][part]["properties"]
    assert [key for key, value in properties.items() if not value.get("description")] == []
    defaults = {key: value["default"] for key, value in properties.items() if "default" in value}
    # By default a primary needs one replica.
    case = {"nodes": {"keydb-1": defaults, "keydb-2": {"keydb_address": "10.0.0.2", **defaults}}}
    if part == "proxy":
        case = {"proxies": {"proxy-1": defaults}}
    assert complaints(case) == []


def test_the_page_about_inventories_is_what_the_schema_says():
    told = (Path(__file__).parents[2] / "docs" / "inventory.md").read_text()
    assert told == page(), "make it anew: python -m keydb_runbooks.schemas > docs/inventory.md"

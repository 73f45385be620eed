"""What a reload keeps: whoever is known stays as it is, whoever is new is down until it was asked."""

import pytest

from keydb_runbooks.runbooks.proxy_states import carried_over
from keydb_runbooks.runbooks.replication import Address

HEAD = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight"
REST = "0 1 1 3 15 3 2 6 0 0 0"


def row(number, name, state, host="10.0.0.1", port=6379, backend="demo-write", fqdn="-"):
    return f"4 {backend} {number} {name} {host} {state} {REST} {fqdn} {port} - 0 0 - - 0"


def at(*hosts):
    return {f"keydb-{number}": Address(host, 6379) for number, host in enumerate(hosts, start=1)}


STATES = "\n".join(["1", HEAD, row(1, "keydb-1", 0), row(2, "keydb-2", 2, "10.0.0.2"), ""])


@pytest.mark.parametrize(
    "wanted, rows",
    [
        (at("10.0.0.1", "10.0.0.2"), [row(1, "keydb-1", 0), row(2, "keydb-2", 2, "10.0.0.2")]),
        ({"keydb-2": Address("10.0.0.2", 6379)}, [row(2, "keydb-2", 2, "10.0.0.2")]),
        (
            {"keydb-0": Address("10.0.0.9", 7000), "keydb-2": Address("10.0.0.2", 6379)},
            [row(1, "keydb-0", 0, "10.0.0.9", 7000), row(2, "keydb-2", 2, "10.0.0.2")],
        ),
        (
            at("10.0.0.1", "10.0.0.2", "10.0.0.3"),
            [row(1, "keydb-1", 0), row(2, "keydb-2", 2, "10.0.0.2"), row(3, "keydb-3", 0, "10.0.0.3")],
        ),
        ({"keydb-2": Address("10.0.0.3", 6379)}, [row(1, "keydb-2", 0, "10.0.0.3")]),
        ({"keydb-2": Address("10.0.0.2", 6380)}, [row(1, "keydb-2", 0, "10.0.0.2", 6380)]),
        ({"keydb-3": Address("three.example.com", 6379)}, []),
    ],
)
def test_known_servers_keep_their_state_and_new_ones_are_down(wanted, rows):
    assert carried_over(STATES, {"demo-write": wanted}) == "\n".join(["1", HEAD, *rows, ""])


def test_a_name_is_an_address_too():
    named = row(1, "keydb-1", 2, fqdn="one.example.com")
    told = carried_over(f"1\n{HEAD}\n{named}\n", {"demo-write": {"keydb-1": Address("one.example.com", 6379)}})
    assert named in told


def test_backends_are_kept_apart():
    other = row(1, "keydb-1", 2, backend="demo-read")
    told = carried_over(f"{STATES}{other}\nshort row\n", {"demo-read": at("10.0.0.1"), "more-read": at("10.0.0.1")})
    assert told == "\n".join(["1", HEAD, other, ""])


@pytest.mark.parametrize("answer", ["", "2\n# more\n", "Unknown command.\n"])
def test_another_version_is_not_carried_over(answer):
    assert carried_over(answer, {"demo-write": at("10.0.0.1")}) is None

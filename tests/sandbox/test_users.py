"""Each right of each limited user is needed: without it something fails, by its name."""

from __future__ import annotations

import pytest
from kit import NODES, Sandbox, eventually

from keydb_runbooks.operations.users import ACL

ADMINISTRATOR = "test-administrator"

OPERATORS_RIGHTS = [rule for rule in ACL["operator"].split() if rule.startswith("+") and rule != "+bgsave"]
"""``bgsave`` is asked for by a rejoin that saves, see test_rejoin."""

VERBS = {
    "+ping": ("status", "not-permitted"),
    "+info": ("status", "not-permitted"),
    "+acl|list": ("drift", "running-unknown"),
    "+acl|setuser": ("install", "restart"),
}
"""Which deploy needs a right, and what it says without it; every other right is asked for before a switchover."""


def _without(role: str, right: str) -> list[str]:
    rules = ACL[role].split()
    assert right in rules
    return [rule for rule in rules if rule != right]


@pytest.fixture
def administrated(group: Sandbox) -> Sandbox:
    """The founded group with a user who may do everything."""
    for node in NODES:
        group.ask(node, "ACL", "SETUSER", ADMINISTRATOR, "on", f">{group.passwords['operator']}", "~*", "&*", "+@all")
    return group


def _ask(group: Sandbox, node: str, *command: str) -> object:
    client = group.client(node)
    client.connection_pool.connection_kwargs["username"] = ADMINISTRATOR
    try:
        return client.execute_command(*command)
    finally:
        client.close()
        client.connection_pool.disconnect()


def _take(group: Sandbox, role: str, right: str) -> None:
    """Take one right of a role away, on every node, also from connections that are open."""
    for node in NODES:
        password = f">{group.passwords[role]}"
        _ask(group, node, "ACL", "SETUSER", role, "reset", "on", password, *_without(role, right))
        _ask(group, node, "ACL", "LOG", "RESET")


def _denied(group: Sandbox, node: str, role: str, command: str) -> bool:
    """Whether a server wrote down that it refused this command to this user."""
    rows = _ask(group, node, "ACL", "LOG")
    assert isinstance(rows, list)
    entries = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
    return any(entry["username"] == role and command in entry["object"] for entry in entries)


@pytest.mark.parametrize("right", ["+psync", "+replconf"])
def test_a_replica_needs_each_of_its_rights(administrated: Sandbox, right: str) -> None:
    _take(administrated, "replication", right)
    _ask(administrated, "keydb-1", "CLIENT", "KILL", "TYPE", "replica")
    eventually(
        lambda: _denied(administrated, "keydb-1", "replication", right[1:]), f"keydb-1 refuses {right[1:]} to a replica"
    )


def test_the_check_needs_its_right(administrated: Sandbox) -> None:
    _take(administrated, "check", "+info")
    eventually(lambda: _denied(administrated, "keydb-1", "check", "info"), "keydb-1 refuses info to the proxy")
    eventually(lambda: not administrated.writable(), "the proxy takes keydb-1 out")


def test_facts_need_their_right(administrated: Sandbox) -> None:
    _take(administrated, "monitoring", "+info")
    arguments = {
        "address": "127.0.0.1",
        "port": administrated.port_of("keydb-1"),
        "auth_file": administrated.directory / "keydb-1" / "monitoring.auth",
    }
    words = [f"{key}={value}" for key, value in arguments.items()]
    administrated.pyinfra("inventories/sandbox.py", "fact", "facts.keydb.KeydbReplication", *words)
    assert _denied(administrated, "keydb-1", "monitoring", "info")


@pytest.mark.in_ci
@pytest.mark.first_engine
@pytest.mark.parametrize("right", OPERATORS_RIGHTS)
def test_the_operator_needs_each_of_its_rights(administrated: Sandbox, right: str) -> None:
    _take(administrated, "operator", right)
    deploy, said = VERBS.get(right, ("switchover", right[1:].replace("|", " ").upper()))
    if deploy == "install":
        config = administrated.config("keydb-1")
        config.write_text(config.read_text().replace("+psync", "+ping +psync"))
    result = administrated.run(deploy)
    # A long sentence is wrapped.
    told = " ".join(result.text.split())
    assert said in told or f"no permission to run the '{right[1:]}'" in told, result.text
    assert "Traceback" not in result.text

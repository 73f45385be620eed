"""Fence and unfence on real servers: what clients can no longer do, what goes on, and what a restart finds."""

from __future__ import annotations

import pytest
import redis
from kit import FAULTS, NODES, Sandbox, eventually, writing

from keydb_runbooks.operations.users import ACL
from tests.sandbox.test_bad_day import full_disk

SCRIPT = "return redis.call('SET', 'test:script', 'x')"
ADMINISTRATOR = "test-administrator"


def denied(client: redis.Redis, *command: object) -> bool:
    try:
        client.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return True
    return False


def permits_writes(group: Sandbox, node: str, role: str = "application") -> bool:
    return not denied(group.client(node, role), "SET", "test:fence", "x")


def users(group: Sandbox, node: str) -> dict[str, set[str]]:
    """Each user's rules, as a set of words."""
    rows = [str(row).split() for row in group.ask(node, "ACL LIST")]  # type: ignore[attr-defined]
    return {words[1]: set(words[2:]) - {"sanitize-payload"} for words in rows}


@pytest.mark.every_engine_in_ci
def test_a_fenced_primary_takes_no_write_and_its_replicas_stay(group: Sandbox) -> None:
    before = users(group, "keydb-1")
    with group.unchanged():
        shown = group.run("fence", dry=True, node="keydb-1").ok().text
    assert "ACL SETUSER application -@write -@scripting" in shown
    group.run("fence", node="keydb-1").ok()

    assert not permits_writes(group, "keydb-1")
    assert group.findings() == ["fenced"]
    assert all(group.follows(node, "keydb-1") for node in NODES[1:])
    with group.unchanged():
        assert "nothing to do: already-fenced keydb-1" in group.run("fence", node="keydb-1").ok().text
        drifted = group.run("drift")
        assert drifted.code == 1
        assert "1 drifted, 0 unknown" in drifted.text
        assert "fenced keydb-1" in drifted.text

    group.run("unfence", node="keydb-1").ok()

    group.healthy("keydb-1")
    assert group.writable()
    assert users(group, "keydb-1") == before
    with group.unchanged():
        assert "nothing to do: not-fenced keydb-1" in group.run("unfence", node="keydb-1").ok().text
        group.run("drift").ok()


def test_connections_that_are_open_can_do_nothing_that_writes(group: Sandbox) -> None:
    client = group.client("keydb-1", "application")
    digest = client.execute_command("SCRIPT", "LOAD", SCRIPT)
    if group.engine != "keydb":
        body = "redis.register_function('write', function() return redis.call('SET', 'test:function', 'x') end)"
        client.execute_command("FUNCTION", "LOAD", f"#!lua name=tests\n{body}")
    queued = [group.client("keydb-1", "application").connection_pool.get_connection() for _ in range(2)]
    for connection, command in zip(queued, (("SET", "test:queued", "x"), ("EVAL", SCRIPT, "0")), strict=True):
        for words in (("MULTI",), command):
            connection.send_command(*words)
            connection.read_response()
    blocked = group.client("keydb-1", "application").connection_pool.get_connection()
    blocked.send_command("BLPOP", "test:list", "0")
    listener = group.client("keydb-1", "application").pubsub()
    listener.subscribe("test:channel")
    assert listener.get_message(timeout=2)

    group.run("fence", node="keydb-1").ok()

    writes = [("SET", "test:a", "x"), ("EVAL", SCRIPT, "0"), ("EVALSHA", digest, "0"), ("SORT", "x", "STORE", "y")]
    writes += [] if group.engine == "keydb" else [("FCALL", "write", "0")]
    assert [command for command in writes if not denied(client, *command)] == []
    for connection in queued:
        connection.send_command("EXEC")
        assert [type(answer) for answer in connection.read_response()] == [redis.exceptions.NoPermissionError]
    assert not blocked.can_read(timeout=0.1)
    written = [key for key in ("test:script", "test:function", "test:queued", "test:a", "y") if client.exists(key)]
    assert written == []
    assert client.get("test:1") == "x" * 100
    # No write: it goes on, and moves the offset.
    assert client.publish("test:channel", "x") == 1


def test_a_fence_holds_under_writers_and_a_switchover_leads_away_from_it(group: Sandbox) -> None:
    with writing(group) as writer:
        group.run("fence", node="keydb-1").ok()
        keys = group.keys("keydb-1")
        group.run("failover").refused("refused: primary-fenced keydb-1", "run switchover, or unfence node=keydb-1")
        assert group.keys("keydb-1") == keys

        told = group.run("switchover", to="keydb-2").ok().text

        assert "keydb-1 is fenced and stays so" in " ".join(told.split())
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")
    assert group.findings() == ["fenced"]
    with group.unchanged():
        group.run("switchover", to="keydb-1").refused("refused: target-fenced keydb-1", "run unfence node=keydb-1")
    group.run("unfence", node="keydb-1").ok()
    group.run("switchover", to="keydb-1").ok()
    group.healthy("keydb-1")
    assert group.findings() == []


def test_a_fence_survives_a_restart_and_an_install(group: Sandbox) -> None:
    group.run("fence", node="keydb-2").ok()
    group.kill("keydb-2")
    group.run("start").ok()
    group.run("rejoin").ok()
    assert not permits_writes(group, "keydb-2")
    assert group.findings() == ["fenced"]

    with group.unchanged():
        group.install().ok()
    # Something else that an install has to change takes nothing of it back.
    config = group.config("keydb-2")
    config.write_text(config.read_text().replace("repl-backlog-ttl 0", "repl-backlog-ttl 9"))
    assert "keydb-2 is fenced, and installing leaves it so" in group.install().ok().text

    assert not permits_writes(group, "keydb-2")
    assert "repl-backlog-ttl 0" in config.read_text()
    assert group.findings() == ["fenced"]


@pytest.mark.parametrize("verb, death", [("fence", "Fence:1"), ("unfence", "Unfence:1")])
def test_who_runs_it_again_finds_nothing_left_to_do(group: Sandbox, verb: str, death: str) -> None:
    if verb == "unfence":
        group.run("fence", node="keydb-1").ok()
    killed = group.run(FAULTS, verb=verb, node="keydb-1", die_after=death)
    assert killed.code == -9, killed.text

    with group.unchanged():
        assert "nothing to do" in group.run(verb, node="keydb-1").ok().text
    assert permits_writes(group, "keydb-1") is (verb == "unfence")


def test_a_fence_that_could_not_be_saved_says_so_and_is_saved_later(group: Sandbox) -> None:
    with full_disk(group, "keydb-1"):
        result = group.run("fence", node="keydb-1")
        result.refused(
            "keydb-1 could not save its users in",
            "Mend that, then run this to finish: pyinfra inventories/sandbox.py deploys/fence.py --data node=keydb-1",
        )
        assert not permits_writes(group, "keydb-1")
        assert group.findings() == ["fenced", "fence-not-saved"]
    group.run("fence", node="keydb-1").ok()
    assert group.findings() == ["fenced"]
    with full_disk(group, "keydb-1"):
        group.run("unfence", node="keydb-1").refused("could not save its users in")
        assert group.findings() == ["fence-not-saved"]
    group.run("unfence", node="keydb-1").ok()
    assert group.findings() == []


def test_users_that_the_inventory_does_not_know_are_fenced_and_get_exactly_their_rights_back(group: Sandbox) -> None:
    password = f">{group.passwords['application']}"
    group.ask("keydb-1", "ACL", "SETUSER", "batch", "on", password, "~test:*", "resetchannels", "-@all", "+get", "+set")
    group.ask("keydb-1", "ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all")
    before = users(group, "keydb-1")
    client = group.client("keydb-1", "application")
    client.connection_pool.connection_kwargs["username"] = "batch"
    anybody = redis.Redis(port=group.port_of("keydb-1"), protocol=2, driver_info=None, decode_responses=True)
    assert client.execute_command("SET", "test:batch", "x")
    assert anybody.set("test:anybody", "x")

    told = group.run("fence", node="keydb-1").ok().text

    assert "batch can do nothing there" in " ".join(told.split())
    assert denied(client, "SET", "test:batch", "y")
    assert denied(anybody, "SET", "test:anybody", "y")
    assert anybody.get("test:anybody") == "x"
    assert group.findings() == ["fenced"]
    assert "extra-user keydb-1: user before-fence" not in group.run("drift").text
    with group.unchanged():
        group.run("fence", node="keydb-1").ok()

    group.run("unfence", node="keydb-1").ok()

    assert users(group, "keydb-1") == before
    assert client.execute_command("SET", "test:batch", "y")
    assert anybody.set("test:anybody", "y")


def test_a_fence_is_saved_in_a_file_of_users_where_there_is_one(group: Sandbox) -> None:
    config, acl = group.config("keydb-2"), group.directory / "keydb-2" / "users.acl"
    lines = config.read_text().splitlines()
    rows = [line for line in lines if line.startswith("user ")]
    acl.write_text("\n".join(rows).replace("+acl|setuser", "+acl|setuser +acl|save") + "\n")
    config.write_text("\n".join([*(line for line in lines if line not in rows), f'aclfile "{acl}"', ""]))
    group.stop("keydb-2")
    group.boot("keydb-2")

    group.run("fence", node="keydb-2").ok()

    assert "user application" not in config.read_text()
    assert "-@write" in acl.read_text()
    group.kill("keydb-2")
    group.boot("keydb-2")
    assert not permits_writes(group, "keydb-2")
    with group.unchanged():
        assert "already-fenced" in group.run("fence", node="keydb-2").ok().text
    group.run("unfence", node="keydb-2").ok()
    assert "-@write" not in acl.read_text()


def test_a_second_writer_is_refused(group: Sandbox) -> None:
    group.run("fence", node="keydb-1").ok()
    group.ask("keydb-2", "CONFIG", "SET", "min-replicas-to-write", "0")
    group.ask("keydb-2", "REPLICAOF", "NO", "ONE")
    group.ask("keydb-2", "SET", "runbook:epoch", "7")
    with group.unchanged():
        result = group.run("unfence", node="keydb-1")
        result.refused("refused: second-writer keydb-1: is a primary, but keydb-2 is the rightful one", "run rejoin")
    assert not permits_writes(group, "keydb-1")


def test_a_replica_that_takes_writes_of_its_own_stays_fenced(group: Sandbox) -> None:
    group.run("fence", node="keydb-2").ok()
    group.ask("keydb-2", "CONFIG", "SET", "replica-read-only", "no")
    with group.unchanged():
        told = "refused: second-writer keydb-2: is a replica, and not known to be read-only"
        group.run("unfence", node="keydb-2").refused(told, "CONFIG SET replica-read-only yes there")
    assert not permits_writes(group, "keydb-2")
    group.ask("keydb-2", "CONFIG", "SET", "replica-read-only", "yes")
    group.run("unfence", node="keydb-2").ok()
    assert group.findings() == []


@pytest.mark.first_engine
def test_refusals_name_what_is_missing(group: Sandbox) -> None:
    group.stop("keydb-3")
    with group.unchanged():
        group.run("fence").refused("refused: no-node-named demo", "add node=NAME, one of keydb-1, keydb-2, keydb-3")
        group.run("fence", node="keydb-9").refused("refused: unknown-node keydb-9", "allowed are keydb-1, keydb-2")
        group.run("fence", node="keydb-3").refused("refused: node-unread keydb-3", "stop its server or its machine")
        group.run("fence", to="keydb-1").refused("fence names the node that it acts on by node=NAME")
        group.run("switchover", node="keydb-2").refused("switchover names the node that becomes the primary by to=NAME")


def test_a_role_that_moves_meanwhile_takes_no_fence_away(group: Sandbox) -> None:
    """Replicas have users of their own: what is fenced is a node, whatever role it has."""
    group.run("fence", node="keydb-2").ok()
    group.run("switchover").ok()
    group.healthy("keydb-3")
    assert not permits_writes(group, "keydb-2")
    eventually(group.writable, "the new primary takes writes")
    assert set(ACL) == set(users(group, "keydb-2")) - {"default", ADMINISTRATOR}

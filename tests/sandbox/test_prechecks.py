"""Pre-checks and evidence from real states of real servers: what is told, what is overridden, and that nothing changed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from kit import GUARD, Sandbox, eventually

WARN = "warning "


def look(group: Sandbox, verb: str = "switchover", **data: str) -> str:
    """What a dry run prints, with its lines put together again."""
    return " ".join(group.run(verb, dry=True, **data).text.split())


@contextmanager
def endless_script(group: Sandbox, node: str) -> Iterator[None]:
    """A client's script that never ends, until somebody ends it."""
    group.ask(node, "CONFIG", "SET", "lua-time-limit", "100")
    client = group.client(node, "application", timeout=30)
    running = threading.Thread(target=lambda: _run(client), daemon=True)
    running.start()
    eventually(lambda: _is_busy(group, node), f"{node} is busy")
    try:
        yield
    finally:
        group.ask(node, "SCRIPT", "KILL", role="application")
        running.join(10)


def _run(client: redis.Redis) -> None:
    with suppress(redis.RedisError):
        client.execute_command("EVAL", "while true do end", "0")


def _is_busy(group: Sandbox, node: str) -> bool:
    try:
        group.ask(node, "PING")
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


def fail_to_save(group: Sandbox, node: str) -> None:
    """Take the directory away that a server saves in: a save fails then whoever runs it.

    One write only: a replica of Redis 7 or Valkey that can't save ends itself when the next one comes.
    """
    shutil.rmtree(group.directory / node / "data")
    group.ask(node, "CONFIG", "SET", "save", "1 1")
    assert group.writable()
    eventually(lambda: group.info(node)["rdb_last_bgsave_status"] == "err", f"{node} can't save", 20)


def test_a_plan_shows_who_saw_what_who_could_be_primary_and_what_it_costs(group: Sandbox) -> None:
    with group.unchanged():
        text = group.run("switchover", dry=True).ok().text
    shown = " ".join(text.split())
    for item in (
        "the operator: keydb-1 answers in",
        "the operator: keydb-3 answers in",
        "keydb-2: keydb-1 is heard: link up, heard",
        "keydb-3: keydb-1 is heard: link up, heard",
        "proxy-1: keydb-1 is UP",
        "last check L7OK",
        "its machine: keydb-1 has a server process, disk",
        "1. keydb-2",
        "first by name 2. keydb-3",
        "expected gap writers wait while the role moves: about",
        "by the round trips measured just now",
    ):
        assert item in shown, text
    assert not [line for line in text.splitlines() if "keydb" in line and len(line) > 84], text
    assert WARN not in shown


def test_a_failover_shows_what_each_place_saw_of_the_dead_primary(group: Sandbox) -> None:
    group.kill("keydb-1")
    shown = look(group, "failover")
    for item in (
        "the operator: keydb-1 was not read: nothing listens on",
        "keydb-2: keydb-1 is not reached: link down",
        "keydb-3: keydb-1 is not reached: link down",
        "its machine: keydb-1 has no server process",
        "no keydb-1",
        "node-refused: nothing listens on",
    ):
        assert item in shown, shown


def test_a_target_that_takes_fewer_clients_than_there_are_is_refused_or_accepted(group: Sandbox) -> None:
    group.ask("keydb-2", "CONFIG", "SET", "maxclients", "12")
    clients = [group.client("keydb-1", "application") for _ in range(20)]
    for client in clients:
        client.connection_pool.get_connection()
    with group.unchanged():
        told = "refused: clients-limit keydb-2: takes 12 clients, and keydb-1 has"
        result = group.run("switchover", to="keydb-2").refused(told, "or accept=clients-limit", "clients-fewer keydb-2")
        assert result.text.index("refused: clients-limit") < result.text.index("warning: clients-fewer")
        assert "keydb-3 is the primary afterwards" in look(group)
        assert "clients-limit: takes 12 clients" in look(group)
    assert "accepted by accept=clients-limit: keydb-2 takes 12" in look(group, to="keydb-2", accept="clients-limit")


def test_a_target_that_can_not_save_would_refuse_every_write(group: Sandbox) -> None:
    fail_to_save(group, "keydb-2")
    told = "refused: target-refuses-writes keydb-2: could not save its data"
    group.run("switchover", to="keydb-2").refused(told)
    group.run("switchover", to="keydb-2", accept="target-refuses-writes").refused(
        "accept=target-refuses-writes: no pre-check of that code can be accepted"
    )
    group.kill("keydb-1")
    shown = look(group, "failover")
    assert "keydb-3 is the primary afterwards instead of keydb-1" in shown
    assert "target-refuses-writes: could not save its data" in shown
    group.run("failover", to="keydb-2").refused(told, "keydb-1 is not reached")


def test_a_target_that_can_not_save_and_takes_writes_all_the_same_can_be_accepted(group: Sandbox) -> None:
    group.ask("keydb-2", "CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    fail_to_save(group, "keydb-2")
    group.run("switchover", to="keydb-2").refused(
        "refused: persistence-failing keydb-2: could not save its data last time", "or accept=persistence-failing"
    )
    group.run("switchover", to="keydb-2", accept="persistence-failing").ok()
    assert group.primaries() == ["keydb-2"]


def test_settings_of_a_target_that_differ_are_warnings(group: Sandbox) -> None:
    group.ask("keydb-2", "CONFIG", "SET", "save", "")
    group.ask("keydb-2", "CONFIG", "SET", "maxmemory", str(32 * 1024 * 1024))
    with group.unchanged():
        shown = look(group, to="keydb-2")
    assert "less-durable keydb-2 keeps nothing on disk, but keydb-3 and keydb-1 did" in shown
    assert "memory-smaller keydb-2 has a memory limit of 33,554,432 bytes, keydb-1's is 67,108,864 bytes" in shown
    # And they count in the ranking.
    assert "its persistence is off, keydb-3's is ok" in look(group)


def test_a_replica_that_takes_writes_of_its_own_is_no_target(group: Sandbox) -> None:
    group.ask("keydb-2", "CONFIG", "SET", "replica-read-only", "no")
    with group.unchanged():
        group.run("switchover", to="keydb-2").refused(
            "refused: target-writable keydb-2: is a replica that takes writes of its own", "or accept=target-writable"
        )
        assert "keydb-3 is the primary afterwards" in look(group)


def test_clients_that_wait_in_a_blocking_command_are_told(group: Sandbox) -> None:
    client = group.client("keydb-1", "application", timeout=30)
    connection = client.connection_pool.get_connection()
    connection.send_command("BLPOP", "test:none", "0")
    eventually(lambda: int(str(group.info("keydb-1")["blocked_clients"])) == 1, "the client waits")
    assert "clients-blocked keydb-1 has 1 clients that wait in a blocking command" in look(group)
    connection.disconnect()


def test_a_file_that_says_another_role_is_told_and_saved(group: Sandbox) -> None:
    path = group.config("keydb-3")
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "replicaof" not in line) + "\n")
    shown = look(group, to="keydb-2")
    assert f"not-saved keydb-3 runs with replicaof 127.0.0.1 {group.port_of('keydb-1')}, its file says none" in shown


def test_a_full_disk_of_a_target_is_named(group: Sandbox) -> None:
    """Its data directory is made to lie in /proc, where nothing is free; the server runs on in the old one."""
    data = group.directory / "keydb-2" / "data"
    data.rename(data.with_name("moved"))
    data.symlink_to("/proc")
    try:
        group.run("switchover", to="keydb-2").refused(
            "refused: disk-full keydb-2: has 0 bytes of free disk", "or accept=disk-full"
        )
        assert "accepted by accept=disk-full" in look(group, to="keydb-2", accept="disk-full")
    finally:
        data.unlink()
        data.with_name("moved").rename(data)


def test_more_replicas_needed_than_will_follow_is_refused(group: Sandbox) -> None:
    group.stop("keydb-3")
    needed = {"keydb_min_replicas_to_write": "2"}
    with group.unchanged():
        group.run("switchover", to="keydb-2", **needed).refused(
            "refused: too-few-replicas keydb-2: will have 1 replicas of the 2 that it needs"
        )
    group.kill("keydb-1")
    group.boot("keydb-3", *GUARD[:3])
    assert "too-few-replicas keydb-2 will have 1 replicas of the 2" in look(group, "failover", **needed)


def test_a_target_that_the_proxy_can_not_reach_is_refused(group: Sandbox) -> None:
    group.ask_proxy("set server demo-write/keydb-2 addr 127.0.0.1 port 1")
    eventually(lambda: "L4CON" in group.ask_proxy("show stat").decode(), "the proxy's check fails")
    group.run("switchover", to="keydb-2").refused(
        "refused: target-unreached keydb-2: proxy-1 gets no answer from it (DOWN, L4CON)"
    )
    assert "keydb-3 is the primary afterwards" in look(group)


@pytest.mark.in_ci
def test_a_server_in_an_endless_script_is_named_and_not_gone(group: Sandbox) -> None:
    with endless_script(group, "keydb-3"):
        group.run("switchover", to="keydb-2").refused(
            "refused: node-busy-script keydb-3:", "runs a script that does not end", "SCRIPT KILL"
        )
    with endless_script(group, "keydb-1"):
        group.run("failover").refused("is not gone")
        # Even if its replicas hear nothing while it is busy.
        for node in ("keydb-2", "keydb-3"):
            group.kill(node)
            group.boot(node, *GUARD[:3])
        group.run("failover").refused("refused: still-reached the operator: still gets answers from keydb-1")
    assert group.primaries() == ["keydb-1"]


def test_one_place_alone_does_not_call_a_primary_gone(group: Sandbox) -> None:
    """Frozen, its replicas restarted, and the proxy told by a person not to ask it: only the operator is left."""
    group.ask_proxy("set server demo-write/keydb-1 state maint")
    group.freeze("keydb-1")
    for node in ("keydb-2", "keydb-3"):
        group.kill(node)
        group.boot(node, *GUARD[:3])
    group.ask_proxy("shutdown sessions server demo-write/keydb-1")
    told = "refused: one-witness keydb-1: only the operator says that it is gone, and two places must"
    group.run("failover").refused(told, "proxy-1: keydb-1 is MAINT")


def test_a_primary_that_the_operator_alone_does_not_reach_is_not_gone(networked: Sandbox) -> None:
    networked.network.cut("operator", "keydb-1")
    refused = networked.run("failover").refused("refused: still-followed", "it is not gone; mend the way")
    assert "looking again for 3 s" in refused.text
    networked.network.heal()
    networked.healthy("keydb-1")


def test_a_closed_descriptor_0_of_a_target_is_found(group: Sandbox) -> None:
    """A KeyDB that was a primary closes it when it meets one that follows nobody; the next connection gets it."""
    if group.engine != "keydb":
        assert "descriptor" not in look(group, to="keydb-2")
        return
    descriptor = Path(f"/proc/{group.pid('keydb-2')}/fd/0")
    group.ask("keydb-3", "REPLICAOF", "255.255.255.255", "1")
    group.ask("keydb-2", "REPLICAOF", "NO", "ONE")
    group.ask("keydb-2", "REPLICAOF", "127.0.0.1", group.port_of("keydb-3"))
    eventually(lambda: not descriptor.is_symlink() or "socket" in str(descriptor.readlink()), "it is closed")
    for node in ("keydb-3", "keydb-2"):
        group.ask(node, "REPLICAOF", "127.0.0.1", group.port_of("keydb-1"))
        eventually(lambda node=node: group.follows(node, "keydb-1"), f"{node} follows again", 30)
    group.run("switchover", to="keydb-2").refused("refused: descriptor-target keydb-2: its file descriptor 0 is")
    assert "keydb-3 is the primary afterwards" in look(group)
    # A new process has it again, so it may take the role when the primary's turn comes.
    group.run("restart", to="keydb-2").ok()
    group.healthy("keydb-2")
    assert group.findings() == []


def test_a_misspelt_code_or_size_is_told_with_what_is_allowed(group: Sandbox) -> None:
    with group.unchanged():
        group.run("switchover", accept="client-limit").refused("did you mean clients-limit?")
        group.run("switchover", allow_lag="much").refused("--data allow_lag=much: is no size")


@pytest.mark.first_engine
def test_a_replica_that_lags_is_refused_with_a_lag_that_may_be_pasted(networked: Sandbox) -> None:
    networked.network.slow("keydb-1", "keydb-2", bytes_per_second=20_000)
    client = networked.client("proxy-1", "application")
    for number in range(200):
        client.set(f"test:{number}", "x" * 20_000)

    told = ("refused: replica-lagging keydb-2: is", "bytes behind; wait, or allow_lag=")
    networked.run("switchover", to="keydb-2").refused(*told)
    shown = look(networked)
    assert "keydb-3 is the primary afterwards" in shown, shown
    assert "replica-lagging: is" in shown, shown

    networked.network.heal()
    networked.run("switchover", to="keydb-2", allow_lag="8mb").ok()
    networked.healthy("keydb-2")

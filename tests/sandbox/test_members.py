"""Add-node and remove-node: a group grows and shrinks under clients, and nobody's data are thrown away by it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from bare_servers import one_that_saved
from kit import NODES, Sandbox, eventually, writing


@contextmanager
def nodes(group: Sandbox, count: int) -> Iterator[None]:
    """The inventory has so many nodes."""
    group.environment["KEYDB_SANDBOX_NODES"] = str(count)
    try:
        yield
    finally:
        del group.environment["KEYDB_SANDBOX_NODES"]


def asked_by_guard(group: Sandbox, node: str) -> list[str]:
    """Whom a node's boot guard asks."""
    lines = (group.directory / node / "boot-guard.env").read_text().splitlines()
    (peers,) = (line for line in lines if line.startswith("KEYDB_GUARD_NODES="))
    return [word.partition("=")[0] for word in peers.partition("=")[2].strip("'").split()]


def led_to(group: Sandbox) -> set[str]:
    """The nodes that the proxy knows, as writers or as readers."""
    rows = [row.split(",") for row in group.ask_proxy("show stat").decode().splitlines() if row.startswith("demo-")]
    return {row[1] for row in rows} - {"FRONTEND", "BACKEND"}


def as_it_should_be(group: Sandbox) -> None:
    assert "all as it should be" in group.run("drift").ok().text
    assert group.findings() == []


def without_keydb_3(group: Sandbox) -> Path:
    """keydb-3's machine is a new one with nothing on it; where its data will be."""
    group.run("remove_node", node="keydb-3").ok()
    home = group.directory / "keydb-3"
    shutil.rmtree(home)
    return home / "data"


@pytest.mark.every_engine_in_ci
def test_a_group_grows_and_shrinks_under_writers(group: Sandbox) -> None:
    processes = {node: group.info(node)["run_id"] for node in NODES}
    with writing(group) as writer:
        with nodes(group, 4):
            dry = group.run("add_node", dry=True, node="keydb-4").ok().text
            assert "full resync of keydb-4 from keydb-1" in " ".join(dry.split())
            assert not (group.directory / "keydb-4").exists()

            told = group.run("add_node", node="keydb-4").ok().text
            assert "done: add-node in " in told
            assert "keydb-4 is a replica of keydb-1, in sync" in told
            for node in (*NODES, "keydb-4"):
                assert asked_by_guard(group, node) == [*NODES, "keydb-4"]
            assert led_to(group) == {*NODES, "keydb-4"}
            eventually(lambda: group.findings() == [], "all is well")
            as_it_should_be(group)
            assert group.run("add_node", node="keydb-4").ok().total()[1:3] == (0, 0)
            assert group.install().ok().total()[1:3] == (0, 0)
            # Who came last can be the primary as well.
            group.run("switchover", to="keydb-4").ok()
            group.run("remove_node", node="keydb-4").refused("refused: primary keydb-4: is the primary")
            group.run("switchover", to="keydb-1").ok()
            writer.write_on()

            told = group.run("remove_node", node="keydb-4").ok().text
            assert "left: take keydb-4 out of the inventory" in " ".join(told.split())
            assert group.run("remove_node", node="keydb-4").ok().total()[1:3] == (0, 0)
        assert not group.processes.of(group.directory / "keydb-4" / "server.pid")
        assert (group.directory / "keydb-4" / "data" / "dump.rdb").exists()
        assert [path.name for path in (group.directory / "keydb-4").glob("*.auth")] == []
        for node in NODES:
            assert asked_by_guard(group, node) == list(NODES)
        assert led_to(group) == {*NODES}
        as_it_should_be(group)
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-1")
    assert {node: group.info(node)["run_id"] for node in NODES} == processes


def test_a_node_that_comes_back_with_its_data_joins_again(group: Sandbox) -> None:
    group.run("remove_node", node="keydb-3").ok()
    eventually(lambda: group.writable("own:meanwhile"), "clients write")
    group.run("add_node", node="keydb-3").ok()
    group.healthy("keydb-1")
    assert group.ask("keydb-3", "EXISTS", "own:meanwhile", role="application")


@pytest.mark.first_engine
def test_data_of_another_history_are_never_thrown_away(group: Sandbox) -> None:
    data = without_keydb_3(group)
    one_that_saved(group.engine, data, "own:stranger")
    kept = (data / "dump.rdb").read_bytes()

    group.run("add_node", node="keydb-3").refused("refused: unrelated keydb-3", "rejoin accept_loss=keydb-3 saves them")

    assert group.ask("keydb-3", "EXISTS", "own:stranger", role="application")
    assert (data / "dump.rdb").read_bytes() == kept
    # Nobody was told of it.
    assert asked_by_guard(group, "keydb-1") == ["keydb-1", "keydb-2"]
    assert led_to(group) == {"keydb-1", "keydb-2"}
    # Another run goes on when somebody has decided.
    group.run("rejoin", accept_loss="keydb-3").ok()
    group.run("add_node", node="keydb-3").ok()
    group.healthy("keydb-1")
    assert asked_by_guard(group, "keydb-1") == list(NODES)


@pytest.mark.first_engine
def test_files_that_its_server_would_not_read_are_refused(group: Sandbox) -> None:
    data = without_keydb_3(group)
    data.parent.mkdir()
    data.write_text("no directory\n")
    group.run("add_node", node="keydb-3").refused("refused: data-unknown keydb-3")
    data.unlink()
    data.mkdir(mode=0o700)
    (data / "appendonly.aof").write_text("*1\r\n$4\r\nPING\r\n")
    group.run("add_node", node="keydb-3").refused("refused: data-unread keydb-3", "has appendonly.aof")
    assert sorted(path.name for path in data.parent.iterdir()) == ["data"]


@pytest.mark.first_engine
def test_what_would_harm_who_stays_is_refused(group: Sandbox) -> None:
    with group.unchanged():
        group.run("remove_node", node="keydb-1").refused("refused: primary keydb-1", "run switchover to=keydb-2 first")
        group.run("remove_node", node="proxy-1").refused("refused: proxy-named proxy-1", "uninstall node=proxy-1")
        group.run("add_node").refused("refused: nothing-named demo")
        group.run("add_node", node="keydb-9").refused("refused: unknown-member keydb-9")
    group.ask("keydb-3", "REPLICAOF", "127.0.0.1", group.port_of("keydb-2"))
    eventually(lambda: group.follows("keydb-3", "keydb-2"), "keydb-3 follows keydb-2")
    group.run("remove_node", node="keydb-2").refused("refused: follows-other keydb-3", "run rejoin first")
    group.ask("keydb-2", "REPLICAOF", "255.255.255.255", "1")
    group.run("rejoin").ok()
    group.ask("keydb-2", "REPLICAOF", "255.255.255.255", "1")
    group.run("remove_node", node="keydb-3").refused("refused: too-few-replicas keydb-1")
    needed = {"keydb_min_replicas_to_write": "0"}
    group.run("remove_node", node="keydb-3", **needed).refused(
        "refused: no-replica-left keydb-1", "accept=no-replica-left"
    )
    assert group.follows("keydb-3", "keydb-1")


@pytest.mark.first_engine
def test_a_proxy_that_can_not_be_told_keeps_a_node_from_leaving(group: Sandbox) -> None:
    told = group.run("remove_node", node="keydb-3", haproxy_program="/bin/false")
    told.refused("HAProxy refuses the new configuration", "refused: proxy-leads proxy-1: still leads to keydb-3")
    group.healthy("keydb-1")
    assert asked_by_guard(group, "keydb-1") == list(NODES)


@pytest.mark.first_engine
def test_a_node_waits_until_its_clients_have_gone(group: Sandbox) -> None:
    client = group.client("keydb-3", "application")
    client.ping()
    running = group.start("inventories/sandbox.py", "deploys/remove_node.py", "--data", "node=keydb-3", "-y")
    try:
        eventually(lambda: "keydb-3" not in led_to(group), "the proxy forgot it", 20)
        assert client.exists("test:1")
    finally:
        with suppress(redis.RedisError):
            client.connection_pool.disconnect()
    text, _ = running.communicate(timeout=30)
    assert "no client is connected to it" in text
    assert group.pid("keydb-3") is None


class Newcomers:
    """Clients each of which connects through the proxy, writes once and goes; what they were told instead of OK."""

    def __init__(self, group: Sandbox) -> None:
        self.group = group
        self.served, self.errors = 0, list[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._come)

    def __enter__(self) -> Newcomers:
        self._thread.start()
        eventually(lambda: self.served > 10, "clients come")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _come(self) -> None:
        while not self._over.is_set():
            try:
                self.group.ask("proxy-1", "SET", "test:newcomer", "x", role="application")
                self.served += 1
            except redis.RedisError as error:
                self.errors.append(f"{type(error).__name__}: {error}")


def test_new_connections_find_the_primary_whenever_the_proxy_is_reloaded(group: Sandbox) -> None:
    # A process that had asked nobody would lead them to keydb-2: it asks the first server at once, the next ones later.
    group.run("switchover", to="keydb-3").ok()
    # With seldom checks it would do so for long.
    seldom = {"haproxy_check_interval": "60000"}
    with Newcomers(group) as clients:
        group.run("remove_node", node="keydb-1", **seldom).ok()
        group.run("add_node", node="keydb-1", **seldom).ok()
        before = clients.served
        eventually(lambda: clients.served > before + 50, "clients still come")
    assert clients.errors == []
    assert not (group.directory / "proxy-1" / "server-states").exists()

"""Install: a group out of nothing, and nothing to do the second time."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
import redis
from kit import NODES, Sandbox, eventually

OPERATIONS = 22


def command_lines() -> set[str]:
    """The arguments of everything that runs on this machine now."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


class Watch:
    """Looks at every process's arguments as often as it can while something runs."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.is_set():
            self.seen |= command_lines()
            time.sleep(0.005)


def open_to_others(sandbox: Sandbox) -> list[str]:
    """Files that hold a secret and can be read by others."""
    paths = [path for path in sandbox.directory.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    secrets = sandbox.passwords.values()
    # The server's own log and pid file hold none; that is looked at, too.
    return [str(path) for path in paths if any(secret in path.read_text(errors="replace") for secret in secrets)]


@pytest.mark.every_engine
def test_an_install_founds_a_group_and_tells_no_secret(nothing: Sandbox) -> None:
    dry = nothing.run("install", dry=True).ok()
    assert nothing.processes.all() == []
    # The inventory itself makes the passwords; nothing else may come into being.
    assert [path.name for path in nothing.directory.rglob("*")] == ["passwords.json"]

    with Watch() as watch:
        installed = nothing.install().ok()

    assert installed.total() == (OPERATIONS, OPERATIONS, 0, 0)
    nothing.healthy("keydb-1")
    assert [nothing.ask(node, "GET", "runbook:epoch") for node in NODES] == ["1"] * 3
    assert any("cat >" in line for line in watch.seen), "the watch saw nothing of the install"
    logs = "".join(path.read_text() for path in nothing.directory.rglob("*.log"))
    for secret in nothing.passwords.values():
        assert not [line for line in watch.seen if secret in line]
        assert secret not in dry.text + installed.text + logs
    assert nothing.directory.joinpath("passwords.json").stat().st_mode & 0o777 == 0o600
    directories = [path for path in nothing.directory.rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in directories} == {0o700}
    # A rewritten keydb.conf holds masterauth in plain text.
    assert open_to_others(nothing) == []


def test_each_user_may_do_what_it_needs_and_no_more(group: Sandbox) -> None:
    application = group.client("keydb-1", "application")
    assert application.set("test:acl", "1")
    for command in (["CONFIG", "GET", "port"], ["FLUSHALL"], ["ACL", "LIST"], ["REPLICAOF", "NO", "ONE"]):
        with pytest.raises(redis.exceptions.NoPermissionError):
            application.execute_command(*command)
    for command in (["GET", "test:acl"], ["CONFIG", "GET", "port"], ["INFO"]):
        with pytest.raises(redis.exceptions.NoPermissionError):
            group.ask("keydb-1", *command, role="replication")
    for role in ("monitoring", "check"):
        assert group.ask("keydb-1", "INFO", role=role)
        with pytest.raises(redis.exceptions.NoPermissionError):
            group.ask("keydb-1", "GET", "test:acl", role=role)
    with pytest.raises(redis.exceptions.NoPermissionError):
        group.ask("keydb-1", "GET", "test:acl", role="operator")
    unknown = redis.Redis(port=group.port_of("keydb-1"), driver_info=None, protocol=2)
    with pytest.raises(redis.AuthenticationError):
        unknown.get("test:acl")
    unknown.connection_pool.disconnect()
    application.connection_pool.disconnect()


def test_a_second_install_changes_nothing_and_moves_no_role(group: Sandbox) -> None:
    with group.unchanged():
        assert group.install().ok().total() == (OPERATIONS, 0, 0, OPERATIONS)

    group.run("switchover", to="keydb-2").ok()
    for node in NODES:
        group.ask(node, "CONFIG", "REWRITE")
    with group.unchanged():
        assert group.install().ok().total() == (OPERATIONS, 0, 0, OPERATIONS)
    group.healthy("keydb-2")


def test_a_new_empty_node_is_attached_by_install(group: Sandbox) -> None:
    group.kill("keydb-3")
    for path in sorted((group.directory / "keydb-3").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (group.directory / "keydb-3").rmdir()

    group.install().ok()

    group.healthy("keydb-1")
    assert group.keys("keydb-3") == group.keys("keydb-1")


def test_a_taken_port_is_named_with_the_setting_that_moves_it(nothing: Sandbox) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", nothing.port_of("keydb-2")))
        other.listen()
        result = nothing.install()

    result.refused(
        f"port 127.0.0.1:{nothing.port_of('keydb-2')} is taken by another process", "keydb_port", "KEYDB_SANDBOX_PORT"
    )
    assert nothing.pid("keydb-2") is None
    # Freed, the same install finishes.
    nothing.install().ok()
    nothing.healthy("keydb-1")


def test_a_port_of_the_proxy_that_is_taken_is_named_too(nothing: Sandbox) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", nothing.port))
        other.listen()
        result = nothing.install()

    result.refused(f"port 127.0.0.1:{nothing.port} is taken", "haproxy_write_port", "KEYDB_SANDBOX_PORT")
    assert nothing.pid("proxy-1") is None


def test_every_error_of_an_inventory_comes_at_once_and_nothing_is_started(nothing: Sandbox) -> None:
    inventory = nothing.directory / "broken.py"
    user = {"name": "a b", "password": "do-not-repeat-me"}
    inventory.write_text(
        f"users = {{role: {user!r} for role in ('application', 'replication', 'operator', 'monitoring')}}\n"
        "common = {'keydb_address': '127.0.0.1', 'keydb_users': users}\n"
        "keydb = [\n"
        "    ('@sandbox/one', {**common, 'keydb_port': 'six', 'keydb_prot': 1}),\n"
        "    ('@sandbox/two', {**common, 'keydb_port': 70000, 'keydb_engine': 'mysql'}),\n"
        "    ('@sandbox/three', {'keydb_port': 6379}),\n"
        "]\n"
    )
    before = sorted(nothing.directory.rglob("*"))

    result = nothing.pyinfra(str(inventory), "deploys/install.py", "-y").refused(
        "one: keydb_port: 'six' is wrong",
        "one: keydb_prot: is not a key that is known",
        "two: keydb_port: 70000 is wrong",
        "two: keydb_engine: 'mysql' is wrong; allowed are keydb, valkey, redis",
        "three: keydb_address: is missing",
        "three: keydb_users: is missing",
        "keydb_users.check: is missing",
        "keydb_users.application.name: 'a b' is wrong",
        "nothing was changed",
    )

    assert user["password"] not in result.text
    assert nothing.processes.all() == []
    assert sorted(nothing.directory.rglob("*")) == before


# Configuration


def test_a_changed_datum_is_taken_over_live_and_the_old_file_is_kept(group: Sandbox) -> None:
    for node in NODES:
        path = group.config(node)
        path.write_text(path.read_text() + "\n# by hand\nlfu-decay-time 7\n")
    old, runs = {node: group.config(node).read_text() for node in NODES}, group.info("keydb-2")["run_id"]

    group.run("install", keydb_maxmemory="32mb").ok()

    for node in NODES:
        assert group.ask(node, "CONFIG", "GET", "maxmemory") == ["maxmemory", str(32 * 1024**2)]
        text = group.config(node).read_text()
        assert "maxmemory 32mb" in text
        assert "lfu-decay-time 7" in text
        kept = group.config(node).with_name("keydb.conf.previous")
        assert kept.read_text() == old[node]
    assert group.info("keydb-2")["run_id"] == runs
    group.healthy("keydb-1")
    assert group.run("install", keydb_maxmemory="32mb").ok().total() == (OPERATIONS, 0, 0, OPERATIONS)


def test_a_directive_that_the_server_refuses_never_replaces_the_old_file(group: Sandbox) -> None:
    before = group.snapshot()

    result = group.run("install", keydb_settings='{"nonsense-directive": "1"}')

    result.refused("the server refuses the new configuration", "nonsense-directive")
    after = group.snapshot()
    ignored = {f"{node}/keydb.conf.new" for node in NODES} | set(NODES)
    assert {key: value for key, value in after.items() if key not in ignored} == {
        key: value for key, value in before.items() if key not in ignored
    }
    group.healthy("keydb-1")
    eventually(group.writable, "writes are taken")

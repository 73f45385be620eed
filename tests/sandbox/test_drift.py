"""Drift: nothing is told of a group that is as it should be, and each way in which it isn't is told by its code."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import machines as behind_ssh
import pytest
import redis
from jsonschema import Draft202012Validator
from kit import COLOR, INVENTORY, NODES, REPOSITORY, Sandbox, eventually, prefork

from keydb_runbooks.connectors.programs import find_server
from tests.conftest import missing_for_ssh

# A group of two nodes whose machines are off: nothing listens on port 1.
FAR = """
import json
import runpy
from pathlib import Path

globals().update(runpy.run_path({inventory!r}))
_users = {{role: dict(name=role, password=word) for role, word in json.loads(Path({passwords!r}).read_text()).items()}}
_common = dict(ssh_port=1, keydb_group="far", keydb_users=_users)
keydb += [
    (f"far-{{n}}", dict(_common, ssh_hostname=f"127.0.0.{{n}}", keydb_address=f"10.0.0.{{n}}")) for n in (1, 2)
]
"""


@dataclass(frozen=True)
class Seen:
    """One run of the drift deploy, as cron starts it: no terminal, standard output apart."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict:
        """The whole of standard output as the document that the schema describes."""
        assert self.out, self.err
        found = json.loads(self.out)
        validator().validate(found)
        return found

    @property
    def told(self) -> list[str]:
        """``code where key`` of each drift, what is unknown with a question mark."""
        return [
            " ".join(filter(None, (one["code"], one["where"], one.get("key")))) + "?" * (one["verdict"] == "unknown")
            for group in self.document["groups"]
            for one in group["drifts"]
        ]


@cache
def validator() -> Draft202012Validator:
    schema = json.loads((files("keydb_runbooks.schemas") / "drift.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def drift(sandbox: Sandbox, *arguments: str, inventory: str = INVENTORY, **data: str) -> Seen:
    given = [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
    words = (*arguments, inventory, "deploys/drift.py", *given)
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder) / "errors"
        run = prefork().start(words, REPOSITORY, {**sandbox.environment, "COLUMNS": "80"}, errors)
        text, _ = run.communicate(timeout=60)
        told = COLOR.sub("", errors.read_text())
    assert "Traceback" not in told, told
    assert run.returncode is not None
    return Seen(run.returncode, COLOR.sub("", text), told)


def look(group: Sandbox) -> list[str]:
    """What drifted; the exit code says whether anything did, and nothing was changed by looking."""
    with group.unchanged():
        seen = drift(group, format="json")
    assert seen.code == (1 if seen.told else 0), seen
    return sorted(seen.told)


def as_it_should_be(group: Sandbox) -> None:
    """A replica that has just attached counts as in sync a moment later."""
    found: list[list[str]] = []

    def nothing_is_told() -> bool:
        found.append(look(group))
        return found[-1] == []

    try:
        eventually(nothing_is_told, "nothing drifted")
    except AssertionError as error:
        raise AssertionError(f"{error}, told was {found}") from None


def ask_proxy(group: Sandbox, *commands: str) -> None:
    for command in commands:
        assert group.ask_proxy(command).strip() in (b"", b"IP changed from '127.0.0.1' to '127.0.0.9' by 'stats socket command'")  # fmt: skip


def edit(path: Path, *changes: tuple[str, str], more: str = "") -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text + more)


def test_nothing_has_drifted_after_install_switchover_failover_rejoin_and_rewriting(nothing: Sandbox) -> None:
    nothing.install().ok()
    as_it_should_be(nothing)
    # Servers and HAProxy have just started; whom it hasn't reached yet it is not led to.
    eventually(lambda: nothing.ask_proxy("show stat").count(b"L7") == 2 * len(NODES), "the proxy has asked everybody")
    nothing.run("switchover", to="keydb-2").ok()
    as_it_should_be(nothing)

    nothing.kill("keydb-2")
    nothing.run("failover").ok()
    told = look(nothing)
    assert "node-refused keydb-2" in told and not [one for one in told if one.endswith("?")], told
    nothing.run("start").ok()
    assert "guarded keydb-2" in look(nothing)
    nothing.run("rejoin").ok()
    as_it_should_be(nothing)

    for node in NODES:
        nothing.ask(node, "CONFIG", "REWRITE")
    # Somebody else's lock is none of its business.
    holder = nothing.client(NODES[0])
    holder.client_setname("runbook:0123:held:failover/somebody@elsewhere")
    as_it_should_be(nothing)
    holder.connection_pool.disconnect()
    # Each directive that install writes can be compared on every engine.
    assert drift(nothing, format="json").document["groups"][0]["not_compared"] == {}


def test_a_server_that_was_changed_by_hand_is_told_with_the_way_out(group: Sandbox) -> None:
    group.ask("keydb-2", "CONFIG", "SET", "maxmemory", "33554432")
    group.ask("keydb-2", "CONFIG", "SET", "masterauth", "hunter2")
    group.ask("keydb-2", "ACL", "SETUSER", "default", "on")
    group.ask("keydb-3", "CONFIG", "SET", "repl-backlog-ttl", "7")
    group.ask("keydb-3", "CONFIG", "REWRITE")
    group.ask("keydb-3", "CONFIG", "SET", "repl-backlog-ttl", "9")
    group.ask("keydb-3", "CONFIG", "SET", "save", "900 1")
    group.ask("keydb-3", "CONFIG", "REWRITE")
    group.ask("keydb-3", "CONFIG", "SET", "repl-backlog-ttl", "11")
    group.ask("keydb-1", "ACL", "SETUSER", "monitoring", "+get")
    group.ask("keydb-1", "ACL", "SETUSER", "mallory", "on", ">hunter2", "~*", "+@all")
    changes = (("maxmemory-policy noeviction", "maxmemory-policy allkeys-lru"),)
    edit(group.config("keydb-1"), *changes, more="\nlfu-decay-time 7\nrename-command DEBUG no-more-debug\n")

    assert look(group) == [
        "all-differ keydb-3 repl-backlog-ttl",
        "default-user-on keydb-2 user default",
        "extra-user keydb-1 user mallory",
        "file-differs keydb-1 maxmemory-policy",
        "inventory-differs keydb-3 save",
        "running-differs keydb-1 lfu-decay-time",
        "running-differs keydb-1 user monitoring",
        "running-differs keydb-2 masterauth",
        "running-differs keydb-2 maxmemory",
    ]

    seen = drift(group)
    assert seen.code == 1
    words = " ".join(seen.out.split())
    assert words.startswith("demo: 9 drifted, 0 unknown (3 servers and 1 proxy)")
    assert "critical default-user-on keydb-2" in words
    assert "runs with 33554432, its file and the inventory say 64mb; CONFIG SET maxmemory 64mb" in words
    assert "(has also +get)" in words
    assert words.endswith("not compared with what runs: rename-command of keydb-1")
    assert [line for line in seen.out.splitlines() if len(line) > 80] == []
    tells_no_secret(group, seen, drift(group, format="json"))

    # Each way out leads out.
    group.ask("keydb-2", "CONFIG", "SET", "maxmemory", "64mb")
    group.ask("keydb-2", "CONFIG", "SET", "masterauth", group.passwords["replication"])
    group.ask("keydb-2", "ACL", "SETUSER", "default", "off")
    group.ask("keydb-1", "ACL", "SETUSER", "monitoring", "-get")
    # The operator may not: it takes somebody who may do more, here herself.
    mallory = redis.Redis(port=group.port_of("keydb-1"), username="mallory", password="hunter2", driver_info=None, protocol=2)  # fmt: skip
    with suppress(redis.ConnectionError):
        mallory.execute_command("ACL", "DELUSER", "mallory")
    mallory.connection_pool.disconnect()
    group.ask("keydb-1", "CONFIG", "SET", "lfu-decay-time", "7")
    group.install().ok()
    as_it_should_be(group)


def tells_no_secret(group: Sandbox, *runs: Seen) -> None:
    text = "".join(seen.out + seen.err for seen in runs)
    passwords = [*group.passwords.values(), "hunter2"]
    hashes = [hashlib.sha256(password.encode()).hexdigest() for password in passwords]
    for secret in (*passwords, *hashes, group.passwords["check"].encode().hex()):
        assert secret not in text


def test_a_proxy_that_was_changed_by_hand_is_told_with_the_way_out(group: Sandbox) -> None:
    ask_proxy(
        group,
        "disable server demo-read/keydb-3",
        "disable health demo-read/keydb-1",
        "set server demo-read/keydb-2 state drain",
        "set maxconn frontend demo-read 10",
        "set server demo-write/keydb-3 addr 127.0.0.9",
        "disable frontend statistics",
    )
    assert look(group) == [
        "check-off proxy-1 demo-read/keydb-1",
        "frontend-closed proxy-1 statistics",
        "proxy-running-differs proxy-1 demo-read maxconn",
        "proxy-running-differs proxy-1 demo-write/keydb-3 address",
        "server-held proxy-1 demo-read/keydb-2",
        "server-held proxy-1 demo-read/keydb-3",
    ]

    # Writes to two nodes: the check would end it, so it is off.
    ask_proxy(group, "disable health demo-write/keydb-2", "set server demo-write/keydb-2 health up")
    assert {"wrong-route proxy-1", "check-off proxy-1 demo-write/keydb-2"} <= set(look(group))
    # Writes to nobody, since somebody holds the primary: told once, by its cause.
    ask_proxy(group, "set server demo-write/keydb-2 health down", "disable server demo-write/keydb-1")
    told = look(group)
    assert "server-held proxy-1 demo-write/keydb-1" in told
    assert "wrong-route proxy-1" not in told

    group.kill("proxy-1")
    assert look(group) == ["proxy-refused proxy-1"]
    group.run("start").ok()
    eventually(group.writable, "the proxy takes writes")
    as_it_should_be(group)


def newer_than_haproxy(path: Path, change: Callable[[], object]) -> None:
    """HAProxy tells the second in which it started: a change within that very second can't be seen, so it comes again."""
    second = int((path.parent / "haproxy.pid").stat().st_ctime) + 2

    def is_newer() -> bool:
        change() if path.stat().st_ctime < second else None
        return path.stat().st_ctime >= second

    eventually(is_newer, "the file is newer than the process")


def test_a_proxys_file_that_was_edited_is_told_by_its_lines_and_install_mends_it(group: Sandbox) -> None:
    path = group.directory / "proxy-1" / "haproxy.cfg"
    check = group.passwords["check"].encode().hex()
    changes = (("timeout check 1s", "timeout check 3s"), (check, check[::-1]))
    edit(path, *changes)
    newer_than_haproxy(path, lambda: edit(path, more="\n"))

    seen = drift(group, format="json")

    places = [one for one in seen.told if one.startswith("proxy-file-differs")]
    assert len(places) == 1 and "lines" in places[0]
    assert sorted(seen.told) == ["not-reloaded proxy-1", *places]
    assert "`timeout check 3s`, wanted is `timeout check 1s`" in seen.out
    assert check not in seen.out and check[::-1] not in seen.out
    assert look(group) == sorted(seen.told)

    group.install().ok()
    eventually(group.writable, "the proxy takes writes")
    as_it_should_be(group)


def test_roles_by_hand_and_servers_that_are_away_are_told_apart(group: Sandbox) -> None:
    group.ask("keydb-3", "REPLICAOF", "127.0.0.1", group.port_of("keydb-2"))
    assert {"chained keydb-3", "not-saved keydb-3"} <= set(look(group))
    group.run("rejoin").ok()
    as_it_should_be(group)

    group.stop("keydb-3")
    group.freeze("keydb-2")
    told = look(group)
    assert "node-refused keydb-3" in told
    assert "node-no-answer keydb-2?" in told
    assert len([one for one in told if "keydb-2" in one]) == 1, "whoever is silent is told once"
    words = " ".join(drift(group).out.split())
    assert "unknown node-no-answer keydb-2" in words
    assert "warning node-refused keydb-3" in words and "run start, then rejoin" in words

    # What its machine says of its file is known all the same.
    edit(group.config("keydb-2"), ("maxmemory 64mb", "maxmemory 32mb"))
    assert "file-differs keydb-2 maxmemory" in look(group)
    group.thaw("keydb-2")


def test_a_second_process_and_another_file_are_told(group: Sandbox) -> None:
    first = group.pid("proxy-1")
    group.boot_proxy()
    eventually(lambda: group.pid("proxy-1") not in (None, first), "a second HAProxy runs")
    eventually(group.writable, "it takes writes")
    group.stop("keydb-3")
    other = group.directory / "keydb-3" / "other.conf"
    other.write_text(group.config("keydb-3").read_text().replace("server.pid", "other.pid"))
    other.chmod(0o600)
    _, program = find_server(group.engine)
    group._spawn([program, str(other), "--set-proc-title", "no"])
    eventually(lambda: group.follows("keydb-3", "keydb-1"), "the server follows")

    told = look(group)

    assert {"several-processes proxy-1", "other-file keydb-3", "other-process keydb-3"} <= set(told)
    os.kill(first, signal.SIGKILL)


def test_passwords_that_others_may_read_are_told_until_they_may_not(group: Sandbox) -> None:
    first, second, third = map(group.config, NODES)
    proxy, kept = group.directory / "proxy-1" / "haproxy.cfg", group.directory / "keydb-2" / "monitoring.auth.previous"
    kept.write_text("AUTH monitoring older\n")
    opened = {second: 0o644, kept: 0o604, proxy: 0o640}
    for path, mode in opened.items():
        path.chmod(mode)
    # HAProxy's file counts as newer than its process by that.
    newer_than_haproxy(proxy, lambda: proxy.chmod(0o640))
    told = sorted(["not-reloaded proxy-1", *(f"file-open {path.parent.name} {path}" for path in opened)])
    assert look(group) == told

    # Somebody started it by hand: what the server writes from now on is open to others.
    group.stop("keydb-3")
    _, program = find_server(group.engine)
    group._spawn([program, str(third), "--set-proc-title", "no"], umask=0o022)
    eventually(lambda: group.follows("keydb-3", "keydb-1"), "the server follows")
    eventually(lambda: look(group) == sorted([*told, "umask-open keydb-3"]), "nothing else is told")
    group.ask("keydb-3", "CONFIG", "REWRITE")
    assert third.stat().st_mode & 0o777 == 0o644
    told = sorted([*told, f"file-open keydb-3 {third}"])
    assert look(group) == told
    words = " ".join(drift(group).out.split())
    assert f"run restart first, since its server opens what it rewrites; then chmod 600 {third}" in words

    # Each way out leads out, and stays so.
    group.run("restart").ok()
    for path in (second, third, kept, proxy):
        path.chmod(0o600)
    for node in NODES:
        group.ask(node, "CONFIG", "REWRITE")
    group.kill("proxy-1")
    group.boot_proxy()
    eventually(group.writable, "the proxy takes writes")
    as_it_should_be(group)
    assert {path.stat().st_mode & 0o777 for path in (first, second, third)} == {0o600}


def test_a_data_directory_behind_a_link_is_the_same_directory(group: Sandbox) -> None:
    group.stop("keydb-3")
    data = group.directory / "keydb-3" / "data"
    data.rename(group.directory / "disk")
    data.symlink_to(group.directory / "disk")
    group.boot("keydb-3")
    group.ask("keydb-3", "CONFIG", "REWRITE")
    assert f'dir "{group.directory / "disk"}"' in group.config("keydb-3").read_text()
    eventually(lambda: group.follows("keydb-3", "keydb-1"), "the server follows")
    as_it_should_be(group)


def test_machines_that_are_off_are_unknown_and_all_groups_are_looked_at(group: Sandbox) -> None:
    inventory = group.directory / "two_groups.py"
    values = {"inventory": str(REPOSITORY / INVENTORY), "passwords": str(group.directory / "passwords.json")}
    inventory.write_text(FAR.format(**values))
    data = group.directory / "group_data"
    data.mkdir()
    sandbox_data = REPOSITORY / "inventories" / "group_data" / "sandbox.py"
    (data / "two_groups.py").symlink_to(sandbox_data)

    both = drift(group, "-y", inventory=str(inventory), format="json")

    assert both.code == 1
    verdicts = {one["group"]: one["verdict"] for one in both.document["groups"]}
    assert verdicts == {"demo": "fine", "far": "unknown"}
    off = ["no-primary far?", "node-unreachable-host far-1?", "node-unreachable-host far-2?"]
    assert both.told == off
    # Nobody of that group answers, and another group's host tells it.
    far = drift(group, "-y", inventory=str(inventory), format="json", group="far")
    assert (far.code, far.told) == (1, off)
    demo = drift(group, "-y", inventory=str(inventory), group="demo")
    assert (demo.code, demo.out.strip()) == (0, "demo: all as it should be (3 servers and 1 proxy)")

    shown = group.pyinfra("-y", str(inventory), "deploys/status.py").text
    assert "group demo" in shown and "healthy: nothing found" in shown, shown
    assert shown.index("group demo") < shown.index("group far") < shown.index("no-primary far"), shown
    one = group.pyinfra("-y", str(inventory), "deploys/status.py", "--data", "group=demo").text
    assert "group demo" in one and "far-1  " not in one, one


def test_a_wrong_word_prints_no_document(group: Sandbox) -> None:
    for data in ({"format": "xml"}, {"group": "other", "format": "json"}):
        seen = drift(group, **data)
        assert (seen.code, seen.out) == (1, "")
        assert "allowed are" in seen.err


# The sandbox's processes let themselves go and have no user of their own, which on machines systemd sees to.
AS_MACHINES = [
    *(f"inventory-differs keydb-{number} daemonize" for number in (1, 2, 3)),
    "proxy-file-differs proxy-1 line 7",
]


@pytest.mark.in_ci
@pytest.mark.skipif(bool(missing_for_ssh()), reason=f"no {', '.join(missing_for_ssh())} on PATH")
def test_machines_behind_ssh_are_looked_at_alike(group: Sandbox, tmp_path: Path) -> None:
    home = group.directory / "proxy-1"
    data = {
        "keydb_engine": group.engine,
        "keydb_maxmemory": "64mb",
        "keydb_server_threads": "1",
        "haproxy_config_directory": str(home),
        "haproxy_pid_file": str(home / "haproxy.pid"),
        "haproxy_read_port": str(group.port + 1),
        "haproxy_statistics_port": str(group.port + 2),
    }
    with behind_ssh.machines(group, tmp_path) as start:
        inventory = start("local")
        fine = drift(group, inventory=inventory, format="json", **data)
        assert fine.told == AS_MACHINES, fine
        group.ask("keydb-2", "CONFIG", "SET", "maxmemory", "33554432")
        ask_proxy(group, "disable server demo-read/keydb-3")
        seen = drift(group, inventory=inventory, format="json", **data)
        found = ["running-differs keydb-2 maxmemory", "server-held proxy-1 demo-read/keydb-3"]
        assert (seen.code, sorted(seen.told)) == (1, sorted([*AS_MACHINES, *found]))

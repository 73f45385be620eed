"""One real server state for each code of a refusal that no story makes anyway, and that nothing is changed by it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kit import NODES, Sandbox, eventually
from versions import impostor

from keydb_runbooks.connectors.ports import is_free
from keydb_runbooks.connectors.programs import engines, find_server
from keydb_runbooks.connectors.sandbox import MARK

GUARD = ("REPLICAOF", "255.255.255.255", "1")
GUARD_ARGUMENTS = ("--replicaof", "255.255.255.255", "1")
ENDLESS = 10**12


def as_it_is(_group: Sandbox) -> None:
    """The founded group."""


def all_guarded(group: Sandbox) -> None:
    for node in NODES:
        group.ask(node, *GUARD)


def guarded(node: str) -> Callable[[Sandbox], None]:
    return lambda group: group.ask(node, *GUARD) and None


def promoted(node: str) -> Callable[[Sandbox], None]:
    def promote(group: Sandbox) -> None:
        group.ask(node, "CONFIG", "SET", "min-replicas-to-write", "0")
        group.ask(node, "REPLICAOF", "NO", "ONE")
        group.ask(node, "SET", "runbook:epoch", "2")

    return promote


def nobody_follows(group: Sandbox) -> None:
    for node in NODES[1:]:
        group.ask(node, *GUARD)


def two_promoted_off_one(group: Sandbox) -> None:
    for node in NODES[1:]:
        group.ask(node, "REPLICAOF", "NO", "ONE")
    group.kill("keydb-1")


def chained(group: Sandbox) -> None:
    group.ask("keydb-2", "REPLICAOF", "127.0.0.1", group.port_of("keydb-3"))
    eventually(lambda: group.follows("keydb-2", "keydb-3"), "keydb-2 follows a replica")


def locked_out(group: Sandbox) -> None:
    """The replica's password for its primary is wrong, so its link never comes up again."""
    group.ask("keydb-2", *GUARD)
    group.ask("keydb-2", "CONFIG", "SET", "masterauth", "wrong")
    group.ask("keydb-2", "REPLICAOF", "127.0.0.1", group.port_of("keydb-1"))
    eventually(lambda: group.info("keydb-2").get("master_link_status") == "down", "the link is down")


def setting(node: str, name: str, value: str) -> Callable[[Sandbox], None]:
    return lambda group: group.ask(node, "CONFIG", "SET", name, value) and None


def emptied(group: Sandbox, node: str) -> None:
    shutil.rmtree(group.directory / node / "data")
    (group.directory / node / "data").mkdir(mode=0o700)


def stranger(group: Sandbox) -> None:
    """keydb-3 lost its disk, was a primary of its own for a while, and follows nobody now."""
    group.kill("keydb-3")
    emptied(group, "keydb-3")
    group.boot("keydb-3", *GUARD_ARGUMENTS)
    group.ask("keydb-3", "REPLICAOF", "NO", "ONE")
    group.ask("keydb-3", "CONFIG", "SET", "min-replicas-to-write", "0")
    group.ask("keydb-3", "SET", "test:stranger", "x", role="application")
    group.ask("keydb-3", *GUARD)


def diverged(group: Sandbox) -> None:
    """keydb-2 was promoted while keydb-1 went on taking writes."""
    promoted("keydb-2")(group)
    group.ask("keydb-1", "SET", "test:behind-the-fork", "x", role="application")


def half_a_switchover(group: Sandbox) -> None:
    group.ask("keydb-1", "CLIENT", "PAUSE", ENDLESS, "WRITE")
    group.kill("keydb-3")


def older_data_came_back(group: Sandbox) -> None:
    """The primary's data are those of an earlier promotion than keydb-3's, as after a restore."""
    group.ask("keydb-1", "SET", "runbook:epoch", "2")
    eventually(lambda: group.ask("keydb-3", "GET", "runbook:epoch") == "2", "keydb-3 has the newer epoch")
    group.ask("keydb-3", *GUARD)
    group.ask("keydb-1", "SET", "runbook:epoch", "1")


def silent_primary(group: Sandbox) -> None:
    group.freeze("keydb-1")
    eventually(lambda: all(silent_for(group, node) > 3 for node in NODES[1:]), "the replicas hear nothing", 15)


def silent_for(group: Sandbox, node: str) -> int:
    return int(str(group.info(node)["master_last_io_seconds_ago"]))


def one_returned_and_one_frozen(group: Sandbox) -> None:
    for node in NODES[:2]:
        group.kill(node)
    group.boot("keydb-2", *GUARD_ARGUMENTS)
    group.freeze("keydb-3")


def one_empty(group: Sandbox) -> None:
    for node in NODES[:2]:
        group.kill(node)
    emptied(group, "keydb-2")
    group.boot("keydb-2", *GUARD_ARGUMENTS)


def one_behind(group: Sandbox) -> None:
    group.ask("keydb-3", *GUARD)
    group.ask("keydb-1", "SET", "test:only-keydb-2-has-it", "x", role="application")
    eventually(lambda: group.keys("keydb-2") == group.keys("keydb-1"), "keydb-2 has it")
    group.kill("keydb-1")


def frozen(node: str) -> Callable[[Sandbox], None]:
    return lambda group: group.freeze(node)


def a_wrong_process_in_its_pid_file(group: Sandbox) -> None:
    """Nothing listens there, but the machine names a server that runs, so it can't say that it is stopped."""
    group.kill("keydb-3")
    shutil.copy(group.directory / "keydb-2" / "server.pid", group.directory / "keydb-3" / "server.pid")


def a_proxy_of_another_group(group: Sandbox) -> None:
    path = group.directory / "proxy-1" / "haproxy.cfg"
    group.kill("proxy-1")
    path.write_text(path.read_text().replace("demo-write", "other-write"))
    group.boot_proxy()
    eventually(lambda: group.writable(), "the proxy serves")


ANSWERS_ERRORS = """
import socketserver
class Stranger(socketserver.BaseRequestHandler):
    def handle(self):
        while self.request.recv(65536):
            self.request.sendall(b"-ERR what do you want?\\r\\n")
socketserver.TCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", {port}), Stranger).serve_forever()
"""


def something_else_listens(group: Sandbox) -> None:
    """Another program has keydb-3's port; it ends with the sandbox."""
    group.kill("keydb-3")
    script = ANSWERS_ERRORS.format(port=group.port_of("keydb-3"))
    words = ["sh", "-c", '"$@" &', "sh", sys.executable, "-c", script]
    subprocess.run(words, env={**os.environ, MARK: str(group.directory)}, start_new_session=True, check=True)
    eventually(lambda: not is_free("127.0.0.1", group.port_of("keydb-3")), "it listens")


def two_dead(group: Sandbox) -> None:
    for node in NODES[:2]:
        group.kill(node)


def another_password(group: Sandbox) -> None:
    group.ask("keydb-3", "ACL", "SETUSER", "operator", "resetpass", ">another")


def empty_primary(group: Sandbox) -> None:
    for node in NODES:
        group.kill(node)
    emptied(group, "keydb-1")
    group.boot("keydb-1")
    for node in NODES[1:]:
        group.boot(node, *GUARD_ARGUMENTS)


def emptied_after_a_promotion(group: Sandbox) -> None:
    """keydb-2 took the role from keydb-1, which nobody follows any more, and was emptied."""
    group.ask("keydb-3", *GUARD)
    group.ask("keydb-2", "CONFIG", "SET", "min-replicas-to-write", "0")
    group.ask("keydb-2", "REPLICAOF", "NO", "ONE")
    delete_all(group, "keydb-2")
    eventually(lambda: group.info("keydb-1")["connected_slaves"] == 0, "keydb-1 has lost its replicas")


def failing_to_save(group: Sandbox) -> None:
    """keydb-2 can write no file, as on a full disk, and has tried to save."""
    pid = group.pid("keydb-2")
    assert pid is not None
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]))
    group.ask("keydb-2", "BGSAVE")
    eventually(lambda: group.info("keydb-2")["rdb_last_bgsave_status"] == "err", "it could not save")


def emptied_by_a_command(group: Sandbox) -> None:
    """Somebody deleted all keys on purpose or not, while keydb-3 was away."""
    group.ask("keydb-3", *GUARD)
    delete_all(group, "keydb-1")


def delete_all(group: Sandbox, node: str) -> None:
    client = group.client(node, "application")
    for key in list(client.scan_iter()):
        client.delete(key)
    client.connection_pool.disconnect()


COMMON = ("bind", "port", "daemonize", "pidfile", "logfile", "dir", "user", "masteruser", "masterauth")
"""Settings that every engine has."""


def of_another_engine(group: Sandbox) -> None:
    """Somebody started another engine's program on keydb-3, on an empty disk: not everyone reads each other's files."""
    others = [program for engine, program in engines().items() if engine != group.engine]
    if not others:
        pytest.skip("there is one engine on this machine")
    group.kill("keydb-3")
    emptied(group, "keydb-3")
    path = group.config("keydb-3")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if line.startswith(COMMON)))
    group.boot("keydb-3", *GUARD_ARGUMENTS, program=others[0])


def started_without_a_file(group: Sandbox) -> None:
    """keydb-2 got its settings through a pipe, so it knows of no file to save its role in."""
    group.kill("keydb-2")
    program = group.directory / "without-a-file"
    program.write_text(f'#!/bin/sh\nexec {find_server(group.engine)[1]} - <"$1"\n')
    program.chmod(0o700)
    group.boot("keydb-2", program=str(program))
    eventually(lambda: group.follows("keydb-2", "keydb-1"), "keydb-2 follows")


@dataclass(frozen=True)
class Case:
    """What makes a code: a state of real servers, and the verb that is asked in it."""

    code: str
    make: Callable[[Sandbox], None]
    verb: str
    data: dict[str, str] = field(default_factory=dict)


TO_2 = {"to": "keydb-2"}
CASES = (
    Case("no-primary", all_guarded, "switchover", TO_2),
    Case("several-primaries", promoted("keydb-2"), "switchover", {"to": "keydb-3"}),
    Case("two-primaries", two_promoted_off_one, "rejoin"),
    Case("no-target", nobody_follows, "switchover"),
    Case("target-guarded", guarded("keydb-2"), "switchover", TO_2),
    Case("target-stray", chained, "switchover", TO_2),
    Case("target-not-in-sync", locked_out, "switchover", TO_2),
    Case("target-never-primary", setting("keydb-2", "slave-priority", "0"), "switchover", TO_2),
    Case("memory-full", setting("keydb-2", "maxmemory", "1000"), "switchover", TO_2),
    Case("unrelated", stranger, "rejoin"),
    Case("diverged", diverged, "rejoin"),
    Case("perhaps-superseded", half_a_switchover, "rejoin"),
    Case("superseded", older_data_came_back, "rejoin"),
    Case("not-fenced", silent_primary, "failover", {"keydb_clients_only_through_proxies": "False"}),
    Case("target-returned", one_returned_and_one_frozen, "failover", {"accept_split": "yes"}),
    Case("target-empty", one_empty, "failover", TO_2),
    Case("target-empty", one_empty, "failover", {**TO_2, "accept_loss": "keydb-3"}),
    Case("target-behind", one_behind, "failover", {"to": "keydb-3"}),
    Case("node-no-answer", frozen("keydb-3"), "switchover", TO_2),
    Case("node-refused", a_wrong_process_in_its_pid_file, "switchover", TO_2),
    Case("node-wrong-password", another_password, "switchover", TO_2),
    Case("node-not-a-server", something_else_listens, "switchover", TO_2),
    Case("proxy-no-answer", frozen("proxy-1"), "switchover", TO_2),
    Case("proxy-no-backend", a_proxy_of_another_group, "switchover", TO_2),
    Case("no-majority", two_dead, "failover"),
    Case("empty-primary", empty_primary, "rejoin"),
    Case("empty-primary", emptied_after_a_promotion, "demote", {"node": "keydb-1"}),
    Case("emptied-primary", emptied_by_a_command, "failover"),
    Case("cannot-save", failing_to_save, "restart"),
    Case("not-in-sync", locked_out, "restart", {"since": "2026-01-01T00:00:00Z"}),
    Case("role-stays", as_it_is, "restart", {"since": "2026-01-01T00:00:00Z", **TO_2}),
    Case("sole-holder", stranger, "restart", {"accept_loss": "keydb-3"}),
    Case("target-restarts", as_it_is, "restart", {"to": "keydb-1"}),
    Case("program-unknown", as_it_is, "upgrade", {"keydb_server": "/bin/true"}),
    Case("nothing-to-undo", guarded("keydb-2"), "abort"),
    Case("engine-differs", of_another_engine, "switchover", TO_2),
    Case("no-config-file", started_without_a_file, "switchover", TO_2),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_state_is_refused_by_its_code_and_nothing_changes(group: Sandbox, case: Case) -> None:
    case.make(group)
    with group.unchanged():
        result = group.run(case.verb, **case.data)
    refused = result.refused(f"refused: {case.code}")
    told = " ".join(refused.text.split())
    assert f"refused: {case.code}: " in told or f"refused: {case.code} " in told


@pytest.mark.parametrize(
    ("code", "same", "format"), [("other-engine", False, 0), ("format-unknown", True, 0), ("older-format", True, 1)]
)
def test_a_program_that_can_not_take_over_is_refused_by_its_code(
    group: Sandbox, tmp_path: Path, code: str, same: bool, format: int
) -> None:
    names = {"keydb": "KeyDB", "valkey": "Valkey", "redis": "Redis"}
    other = names["redis" if group.engine != "redis" else "keydb"]
    program = impostor(tmp_path / f"{group.engine}-server", names[group.engine] if same else other, format)
    with group.unchanged():
        group.run("upgrade", keydb_server=program).refused(f"refused: {code} keydb-1: ")

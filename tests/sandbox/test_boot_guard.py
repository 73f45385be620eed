"""The boot guard: what becomes of servers that start again, on real servers; docs/boot-guard.md has the rules."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit import FAULTS, NODES, Sandbox, eventually, writing

from keydb_runbooks.connectors.booting import settings_of
from keydb_runbooks.connectors.certificates import kept_certificates
from keydb_runbooks.connectors.sandbox import MARK
from tests.sandbox.test_tls import WITH_TLS


class Guard:
    """Starts servers of a sandbox as a unit does: ``pre``, the server with its arguments, ``post``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.watching: dict[str, subprocess.Popen[str]] = {}

    def home(self, node: str) -> Path:
        return self.sandbox.directory / node

    def run(self, node: str, step: str, **settings: object) -> subprocess.Popen[str]:
        """Run one step of the script for a node, with what ``install`` wrote; its log is a file."""
        environment = settings_of(self.home(node)) | {
            f"KEYDB_GUARD_{name}": str(value) for name, value in settings.items()
        }
        with self.log(node).open("a") as log:
            return subprocess.Popen(
                [self.home(node) / "boot-guard", step],
                env={**os.environ, **environment, MARK: str(self.sandbox.directory)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def start(self, *nodes: str) -> None:
        """Start servers guarded, and look no further."""
        for node in nodes:
            with self.run(node, "pre") as process:
                words, _ = process.communicate(timeout=20)
            self.sandbox.boot(node, *words.split())

    def watch(self, *nodes: str, **settings: object) -> None:
        """Let nodes watch until each has decided."""
        for node in nodes:
            self.watching[node] = self.run(node, "post", **settings)

    def boot(self, *nodes: str, **settings: object) -> None:
        """Start servers one after the other, each with its watch behind it."""
        for node in nodes:
            self.start(node)
            self.watch(node, **settings)

    def decided(self, node: str, *sentences: str) -> None:
        """Wait until the watch of a node has ended, with these words in the last line of its log."""
        with self.watching.pop(node) as process:
            assert process.wait(timeout=60) == 0, self.told(node)
        for sentence in sentences:
            assert sentence in self.told(node)[-1], self.told(node)

    def sees(self, node: str, *sentences: str, **settings: object) -> None:
        """Let a node look once and decide, with these words."""
        self.watch(node, WAIT=0, **settings)
        self.decided(node, *sentences)

    def waits(self, node: str, sentence: str) -> None:
        """Wait until the watch of a node tells that it waits for this."""
        eventually(
            lambda: any("waiting: " in line and sentence in line for line in self.told(node)),
            f"{node} waits since {sentence}",
            30,
        )

    def log(self, node: str) -> Path:
        return self.home(node) / "boot-guard.log"

    def told(self, node: str) -> list[str]:
        return self.log(node).read_text().splitlines()

    def end(self) -> None:
        for process in self.watching.values():
            with process:
                process.kill()


@pytest.fixture
def guard(group: Sandbox) -> Iterator[Guard]:
    """The founded group, whose nodes have the script and the operator's credentials."""
    guard = Guard(group)
    try:
        yield guard
    finally:
        guard.end()


@pytest.fixture(scope="session")
def _founded_with_aof(engine: str) -> Iterator[Sandbox]:
    sandbox = Sandbox(engine)
    try:
        sandbox.run("install", keydb_persistence="aof").ok()
        sandbox.fill(50)
        sandbox.keep_image()
        yield sandbox
    finally:
        sandbox.remove()


@pytest.fixture
def aof(_founded_with_aof: Sandbox) -> Iterator[Guard]:
    """The same of a group that keeps its data in AOF files."""
    _founded_with_aof.restore()
    guard = Guard(_founded_with_aof)
    try:
        yield guard
    finally:
        guard.end()
        _founded_with_aof.kill_all()


@pytest.fixture(params=WITH_TLS)
def encrypted(request: pytest.FixtureRequest) -> Iterator[Guard]:
    """The same of a group that speaks TLS."""
    sandbox = Sandbox(request.param, tls=True)
    try:
        sandbox.install().ok()
        guard = Guard(sandbox)
        try:
            yield guard
        finally:
            guard.end()
    finally:
        sandbox.remove()


@pytest.fixture
def partitioned(engine: str) -> Iterator[Guard]:
    """The same with a network that can be cut; the operator goes around it."""
    sandbox = Sandbox(engine, relays=True)
    try:
        sandbox.install().ok()
        guard = Guard(sandbox)
        try:
            yield guard
        finally:
            guard.end()
    finally:
        sandbox.remove()


def lose_power(group: Sandbox) -> None:
    for node in NODES:
        group.kill(node)


def save(group: Sandbox, *nodes: str) -> None:
    """Let nodes save their data into their RDB files as they do by themselves from time to time."""
    for node in nodes:
        group.ask(node, "CONFIG", "SET", "save", "1 1")
        eventually(lambda node=node: _saved(group, node), f"{node} has saved")
        group.ask(node, "CONFIG", "SET", "save", "")


def _saved(group: Sandbox, node: str) -> bool:
    info = group.info(node)
    return info["rdb_changes_since_last_save"] == 0 and info["rdb_bgsave_in_progress"] == 0


def synced(group: Sandbox, *nodes: str, to: str) -> None:
    for node in nodes:
        eventually(lambda node=node: group.follows(node, to), f"{node} follows {to}", 20)


def nobody_leads(group: Sandbox) -> None:
    assert group.primaries() == []
    assert all(group.ask(node, "GET", "runbook:epoch") for node in NODES if group.pid(node) and group.keys(node))


def healthy(group: Sandbox, primary: str, keys: int) -> None:
    """All is well, everybody has the data, and KeyDB closed no file descriptor that it needs."""
    group.healthy(primary)
    eventually(lambda: len({group.keys(node) for node in NODES}) == 1, "everybody has the same")
    assert group.keys(primary) >= keys
    assert [node for node in NODES if not Path(f"/proc/{group.pid(node)}/fd/0").exists()] == []


@pytest.mark.first_engine
def test_pre_reads_the_last_primary_from_the_file(guard: Guard) -> None:
    group = guard.sandbox
    group.kill("keydb-1")
    group.kill("keydb-2")
    guard.start("keydb-1", "keydb-2")

    marks = {node: group.info(node)["master_port"] for node in NODES[:2]}

    assert {group.info(node)["master_host"] for node in NODES[:2]} == {"255.255.255.255"}
    assert marks["keydb-1"] == marks["keydb-2"] > 1
    # A guarded server that saves its role keeps the mark over its next start.
    group.ask("keydb-2", "CONFIG", "REWRITE")
    group.kill("keydb-2")
    guard.start("keydb-2")
    assert group.info("keydb-2")["master_port"] == marks["keydb-1"]


@pytest.mark.parametrize("order", [NODES, NODES[::-1]], ids=["primary first", "primary last"])
def test_after_a_power_loss_the_primary_is_primary_again(guard: Guard, order: tuple[str, ...]) -> None:
    group = guard.sandbox
    group.fill(300)
    keys = group.keys("keydb-1")
    save(group, "keydb-1")
    lose_power(group)

    guard.boot(*order)

    guard.decided("keydb-1", "primary: every peer answers, and had me as its primary", "(epoch 1)")
    guard.decided("keydb-2", "follow: keydb-1, which is primary")
    guard.decided("keydb-3", "follow: keydb-1, which is primary")
    healthy(group, "keydb-1", keys)
    assert group.ask("keydb-3", "GET", "runbook:epoch") == "1"


def test_after_a_power_loss_the_one_with_the_newest_file_takes_over(guard: Guard) -> None:
    group = guard.sandbox
    group.fill(300)
    keys = group.keys("keydb-1")
    save(group, "keydb-2")
    lose_power(group)

    guard.boot(*NODES)

    guard.decided("keydb-2", "primary: every peer answers, and had keydb-1 as its primary", "(epoch 2)")
    guard.decided("keydb-1", "follow: keydb-2")
    guard.decided("keydb-3", "follow: keydb-2")
    healthy(group, "keydb-2", keys)
    assert group.ask("keydb-1", "GET", "runbook:epoch") == "2"


@pytest.mark.first_engine
def test_after_a_power_loss_nobody_leads_until_everybody_is_back(guard: Guard) -> None:
    group = guard.sandbox
    keys = group.keys("keydb-1")
    save(group, "keydb-1")
    lose_power(group)

    guard.boot("keydb-1", "keydb-2")

    guard.waits("keydb-1", "keydb-3 does not answer, and every peer must answer; start keydb-3, or run failover")
    guard.waits("keydb-2", "keydb-3 does not answer")
    nobody_leads(group)
    guard.boot("keydb-3")
    guard.decided("keydb-1", "primary")
    guard.decided("keydb-2", "follow")
    guard.decided("keydb-3", "follow")
    healthy(group, "keydb-1", keys)


@pytest.mark.first_engine
def test_without_the_last_primary_nobody_leads_and_failover_decides(guard: Guard) -> None:
    group = guard.sandbox
    group.fill(100)
    keys = group.keys("keydb-1")
    save(group, "keydb-3")
    lose_power(group)
    guard.start("keydb-2", "keydb-3")

    for node in ("keydb-2", "keydb-3"):
        guard.sees(node, "guarded: keydb-1 was the primary, but keydb-1 does not answer", "or run failover")

    nobody_leads(group)
    group.run("failover").ok()
    guard.boot("keydb-1")
    guard.decided("keydb-1", "follow")
    healthy(group, group.primaries()[0], keys)


def test_a_primary_that_restarts_alone_with_its_data_is_primary_again(guard: Guard) -> None:
    group = guard.sandbox
    group.fill(100)
    keys = group.keys("keydb-1")
    group.stop("keydb-1")

    guard.boot("keydb-1")

    guard.decided("keydb-1", "primary: every peer answers")
    healthy(group, "keydb-1", keys)
    assert group.ask("keydb-1", "GET", "runbook:epoch") == "1"
    # Who comes back with data of before is recognised: it was recorded what the data descend from.
    group.stop("keydb-1")
    guard.boot("keydb-1")
    guard.decided("keydb-1", "primary: every peer answers")
    assert len(str(group.ask("keydb-1", "GET", "runbook:lineage")).split(",")) >= 3
    healthy(group, "keydb-1", keys)


def test_a_primary_whose_file_is_older_than_what_its_replicas_have_stays_guarded(guard: Guard) -> None:
    group = guard.sandbox
    save(group, "keydb-1")
    group.fill(300)
    keys = group.keys("keydb-2")
    group.kill("keydb-1")
    guard.start("keydb-1")

    guard.sees("keydb-1", "guarded: keydb-1 was the primary, but keydb-2 holds ", " bytes that I lack; run failover")

    assert group.keys("keydb-1") < keys
    nobody_leads(group)
    group.run("failover").ok()
    healthy(group, group.primaries()[0], keys)


@pytest.mark.first_engine
def test_a_primary_that_lost_its_disk_is_nobodys_source(guard: Guard) -> None:
    group = guard.sandbox
    keys = group.keys("keydb-1")
    group.kill("keydb-1")
    shutil.rmtree(group.directory / "keydb-1" / "data")
    (group.directory / "keydb-1" / "data").mkdir(mode=0o700)
    guard.boot("keydb-1")

    guard.waits("keydb-1", "I hold nothing: I must be nobody's source")

    assert [group.keys(node) for node in NODES] == [0, keys, keys]
    nobody_leads(group)
    group.run("failover").ok()
    guard.decided("keydb-1")
    healthy(group, group.primaries()[0], keys)


@pytest.mark.first_engine
def test_an_old_primary_follows_the_one_that_took_over(guard: Guard) -> None:
    group = guard.sandbox
    keys = group.keys("keydb-1")
    group.kill("keydb-1")
    group.run("failover").ok()
    new = group.primaries()[0]

    guard.boot("keydb-1")

    guard.decided("keydb-1", f"follow: {new}, which is primary (epoch 2)")
    healthy(group, new, keys)
    assert group.findings() == []


@pytest.mark.slow
def test_an_old_primary_that_holds_more_stays_guarded(guard: Guard) -> None:
    """What it alone holds is never thrown away silently."""
    group = guard.sandbox
    for node in NODES[1:]:
        group.stop(node)
    group.ask("keydb-1", "CONFIG", "SET", "min-replicas-to-write", "0")
    for number in range(20):
        group.ask("keydb-1", "SET", f"test:alone:{number}", "x", role="application")
    group.stop("keydb-1")
    guard.start("keydb-2", "keydb-3")
    group.run("failover").ok()
    new = group.primaries()[0]
    guard.start("keydb-1")

    guard.sees("keydb-1", "guarded: I hold ", f" bytes that {new}, which is primary, never had; run rejoin")

    assert group.primaries() == [new]
    group.run("rejoin").refused("keydb-1", "accept_loss=keydb-1")


@pytest.mark.first_engine
def test_a_replica_follows_the_primary_that_it_had(guard: Guard) -> None:
    group = guard.sandbox
    group.kill("keydb-3")
    group.kill("keydb-2")

    guard.boot("keydb-3")

    guard.decided("keydb-3", "follow: keydb-1, which is primary (epoch 1)")
    guard.boot("keydb-2")
    guard.decided("keydb-2", "follow: keydb-1")
    healthy(group, "keydb-1", group.keys("keydb-1"))


@pytest.mark.first_engine
def test_a_replica_waits_for_its_primary(guard: Guard) -> None:
    group = guard.sandbox
    group.stop("keydb-1")
    group.kill("keydb-3")
    guard.boot("keydb-3")
    guard.waits("keydb-3", "keydb-1 was the primary, but keydb-1 does not answer")
    nobody_leads(group)

    guard.boot("keydb-1")

    guard.decided("keydb-1", "primary")
    guard.decided("keydb-3", "follow: keydb-1")
    healthy(group, "keydb-1", group.keys("keydb-1"))


@pytest.mark.first_engine
def test_who_was_promoted_by_a_run_that_died_is_followed(guard: Guard) -> None:
    group = guard.sandbox
    killed = group.run(FAULTS, verb="switchover", to="keydb-2", die_after="Promote:1")
    assert killed.code == -9, killed.text
    keys = group.keys("keydb-2")
    group.kill("keydb-1")

    guard.boot("keydb-1")

    guard.decided("keydb-1", "follow: keydb-2, which is primary (epoch 2)")
    assert group.primaries() == ["keydb-2"]
    group.run("failover").ok()
    # The verb that finishes records what the dead run could not.
    eventually(lambda: min(group.keys(node) for node in NODES) >= keys, "nothing is lost")
    group.healthy("keydb-2")


@pytest.mark.first_engine
def test_nobody_leads_while_who_was_promoted_by_a_run_that_died_is_down_too(guard: Guard) -> None:
    group = guard.sandbox
    killed = group.run(FAULTS, verb="switchover", to="keydb-2", die_after="Promote:1")
    assert killed.code == -9, killed.text
    group.kill("keydb-1")
    group.kill("keydb-2")
    guard.start("keydb-1")

    guard.sees("keydb-1", "guarded: keydb-1 was the primary, but keydb-2 does not answer")

    nobody_leads(group)


def promote_without_saving(group: Sandbox) -> int:
    """A failover to keydb-2 of which no file knows, and writes behind it; how many keys there are then."""
    group.kill("keydb-1")
    stream = f"{group.info('keydb-2')['master_replid']}:{group.info('keydb-2')['slave_repl_offset']}"
    group.ask("keydb-2", "CONFIG", "SET", "min-replicas-to-write", "0")
    group.ask("keydb-2", "REPLICAOF", "NO", "ONE")
    group.ask("keydb-2", "SET", "runbook:epoch", "2")
    group.ask("keydb-2", "SET", "runbook:lineage", f"{stream},{group.ask('keydb-2', 'GET', 'runbook:lineage')}")
    group.ask("keydb-3", "REPLICAOF", group.known_address_of("keydb-2"), group.port_of("keydb-2"))
    synced(group, "keydb-3", to="keydb-2")
    for number in range(100):
        group.ask("keydb-2", "SET", f"test:after:{number}", "x", role="application")
    return group.keys("keydb-2")


def test_a_failover_that_no_file_knows_is_not_forgotten(guard: Guard) -> None:
    group = guard.sandbox
    keys = promote_without_saving(group)
    group.stop("keydb-3")
    group.stop("keydb-2")
    assert {group.on_disk(node) for node in NODES[1:]} == {"keydb-1"}

    guard.boot(*NODES)

    guard.decided("keydb-2", "primary: every peer answers, and had keydb-1 as its primary", "(epoch 3)")
    guard.decided("keydb-1", "follow: keydb-2")
    guard.decided("keydb-3", "follow: keydb-2")
    healthy(group, "keydb-2", keys)


@pytest.mark.slow
def test_two_files_that_both_name_themselves_leave_both_guarded(guard: Guard) -> None:
    """keydb-1 was killed before the failover to keydb-2, and all lose their power before it comes back."""
    group = guard.sandbox
    group.kill("keydb-1")
    group.run("failover", to="keydb-2").ok()
    keys = group.keys("keydb-2")
    save(group, "keydb-2")
    for node in NODES[1:]:
        group.kill(node)
    guard.start(*NODES)

    guard.sees("keydb-1", "guarded: keydb-1 was the primary, but keydb-2 was started with a file that names itself")
    guard.sees("keydb-2", "guarded: keydb-2 was the primary, but keydb-1 was started with a file that names itself")
    guard.sees("keydb-3", "guarded: keydb-2 was the primary, but keydb-1 was started with a file that names itself")

    nobody_leads(group)
    group.run("failover").ok()
    healthy(group, "keydb-2", keys)


@pytest.mark.first_engine
def test_the_guard_waits_while_an_operator_is_at_work(guard: Guard) -> None:
    group = guard.sandbox
    group.kill("keydb-3")
    operator = group.client("keydb-1")
    held = operator.connection_pool.get_connection()
    held.send_command("CLIENT", "SETNAME", "runbook:0123456789abcdef:held:switchover/alice@desk")
    held.read_response()

    guard.boot("keydb-3")

    guard.waits("keydb-3", "another run is at work: switchover/alice@desk")
    assert group.info("keydb-3")["master_host"] == "255.255.255.255"
    held.disconnect()
    guard.decided("keydb-3", "follow: keydb-1")

    def gone() -> bool:
        names = [row["name"] for node in NODES for row in group.ask(node, "CLIENT LIST")]  # type: ignore[attr-defined]
        return not any("boot-guard" in name for name in names)

    eventually(gone, "the lock has gone with the script")


@pytest.mark.slow
def test_who_does_not_answer_may_be_frozen(guard: Guard) -> None:
    group = guard.sandbox
    group.stop("keydb-1")
    group.freeze("keydb-3")
    guard.start("keydb-1")

    guard.sees("keydb-1", "guarded: keydb-1 was the primary, but keydb-3 does not answer")

    group.thaw("keydb-3")
    guard.sees("keydb-1", "primary: every peer answers")
    healthy(group, "keydb-1", group.keys("keydb-1"))


@pytest.mark.slow
def test_a_wrong_password_is_told_and_nothing_is_done(guard: Guard) -> None:
    group = guard.sandbox
    group.stop("keydb-1")
    guard.start("keydb-1")
    (guard.home("keydb-1") / "operator.auth").write_text("AUTH operator not-the-password\n")

    guard.sees("keydb-1", "guarded: my own server answers WRONGPASS")

    nobody_leads(group)
    assert "not-the-password" not in guard.log("keydb-1").read_text()


@pytest.mark.slow
def test_the_password_is_in_no_argument_and_no_environment(guard: Guard) -> None:
    group = guard.sandbox
    lose_power(group)
    guard.boot("keydb-2")
    guard.waits("keydb-2", "does not answer")
    password = group.passwords["operator"].encode()

    shown = [Path(f"/proc/{pid}/{name}") for pid in group.processes.all() for name in ("cmdline", "environ")]

    assert len(shown) >= 4
    assert [path for path in shown if path.exists() and password in path.read_bytes()] == []
    assert password.decode() not in guard.log("keydb-2").read_text()


@pytest.mark.slow
def test_a_script_that_is_killed_leaves_no_process(guard: Guard) -> None:
    """One of those that it asks is frozen: its connection is open, and nothing comes."""
    group = guard.sandbox
    group.kill("keydb-2")
    group.kill("keydb-3")
    group.freeze("keydb-1")
    guard.start("keydb-3")
    before = set(group.processes.all())
    guard.watch("keydb-3")
    guard.waits("keydb-3", "does not answer")
    eventually(lambda: len(set(group.processes.all()) - before) > 1, "it asks")

    guard.end()

    eventually(lambda: set(group.processes.all()) <= before, "all that asked is gone", 20)


# What install and start have to do with it


@pytest.mark.first_engine
def test_servers_that_lost_power_are_booted_from_the_command_line_of_the_sandbox(guard: Guard) -> None:
    group = guard.sandbox
    keys = group.keys("keydb-1")
    save(group, "keydb-1")

    assert play(group, "kill", *NODES).returncode == 0
    assert group.primaries() == []
    assert play(group, "boot", *NODES[::-1]).returncode == 0

    healthy(group, "keydb-1", keys)
    assert "primary: every peer answers" in guard.told("keydb-1")[-1]
    told = play(group, "boot", "keydb-1")
    assert (told.returncode, told.stderr) == (1, "keydb-1 runs\n")


def play(group: Sandbox, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "keydb_runbooks.connectors.sandbox", *words]
    return subprocess.run(command, env=group.environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.first_engine
def test_start_leaves_the_role_to_a_person_and_lets_peers_see_whom_the_file_names(guard: Guard) -> None:
    group = guard.sandbox
    group.kill("keydb-3")

    group.run("start").ok()

    assert group.info("keydb-3")["master_host"] == "255.255.255.255"
    assert group.info("keydb-3")["master_port"] > 1
    guard.sees("keydb-3", "follow: keydb-1")
    healthy(group, "keydb-1", group.keys("keydb-1"))


@pytest.mark.first_engine
def test_install_mends_the_files_of_the_guard_and_tells_settings_that_it_can_not_use(guard: Guard) -> None:
    group = guard.sandbox
    script, settings, credentials = (
        guard.home("keydb-2") / name for name in ("boot-guard", "boot-guard.env", "operator.auth")
    )
    before = {path: path.read_text() for path in (script, settings, credentials)}
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in before} == {
        "boot-guard": "0o700",
        "boot-guard.env": "0o600",
        "operator.auth": "0o600",
    }
    script.unlink()
    settings.write_text(before[settings].replace("keydb-3=", "keydb-9="))
    credentials.write_text("AUTH operator yesterday\n")

    changed = group.install().ok().total()

    assert changed[1] == 1
    assert {path: path.read_text() for path in before} == before
    assert script.stat().st_mode & 0o777 == 0o700
    # Somebody's change that a boot could not use is told by the script itself.
    told = subprocess.run(
        [script, "check"],
        env={**os.environ, **settings_of(guard.home("keydb-2")), "KEYDB_GUARD_NODE": "keydb-9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, "'keydb-9' is not in KEYDB_GUARD_NODES" in told.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.first_engine
def test_thousands_of_clients_do_not_keep_it_from_the_lock(guard: Guard) -> None:
    """A shell that reads a line for each of them would hold the lock for seconds, or give up."""
    group = guard.sandbox
    group.kill("keydb-3")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(6000):
            held.enter_context(socket.create_connection((group.address_of("keydb-1"), group.port_of("keydb-1"))))
        eventually(lambda: int(str(group.info("keydb-1")["connected_clients"])) > 6000, "all are connected", 30)

        guard.boot("keydb-3")

        guard.decided("keydb-3", "follow: keydb-1")


# AOF


@pytest.mark.first_engine
def test_with_an_aof_a_replica_follows_the_primary_that_it_had(aof: Guard) -> None:
    group = aof.sandbox
    group.kill("keydb-3")

    aof.boot("keydb-3")

    aof.decided("keydb-3", "follow: keydb-1, which is primary (epoch 1)")
    healthy(group, "keydb-1", group.keys("keydb-1"))


@pytest.mark.first_engine
def test_with_an_aof_that_may_lack_its_last_seconds_nobody_leads_unless_that_is_accepted(aof: Guard) -> None:
    group = aof.sandbox
    group.fill(200)
    keys = group.keys("keydb-1")
    lose_power(group)
    aof.start(*NODES)

    aof.sees("keydb-1", "guarded: keydb-1 was the primary, but my AOF may lack its last seconds (appendfsync everysec)")
    aof.sees("keydb-2", "guarded: keydb-1 was the primary, and my AOF does not tell whether I hold more")

    nobody_leads(group)
    aof.sees("keydb-1", "primary: every peer answers, and had me as its primary", ACCEPT_AOF_GAP="yes")
    aof.sees("keydb-2", "follow: keydb-1")
    aof.sees("keydb-3", "follow: keydb-1")
    healthy(group, "keydb-1", keys)


def test_with_an_aof_that_is_synced_always_no_acknowledged_write_is_lost_by_a_power_loss(aof: Guard) -> None:
    group = aof.sandbox
    for node in NODES:
        group.ask(node, "CONFIG", "SET", "appendfsync", "always")
        group.ask(node, "CONFIG", "REWRITE")
    with writing(group) as writer:
        eventually(lambda: len(writer.journal.read_text().splitlines()) > 500, "enough writes to tell anything", 30)
        lose_power(group)
        aof.boot(*NODES[::-1])
        aof.decided("keydb-1", "primary: every peer answers")
        aof.decided("keydb-2", "follow: keydb-1")
        aof.decided("keydb-3", "follow: keydb-1")
        writer.write_on()
        group.kill("keydb-1")
        aof.boot("keydb-1")
        aof.decided("keydb-1", "primary: every peer answers")
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-1")


@pytest.mark.slow
@pytest.mark.first_engine
def test_an_aof_whose_sync_is_left_out_while_a_child_writes_is_not_believed(aof: Guard) -> None:
    group = aof.sandbox
    for node in NODES:
        group.ask(node, "CONFIG", "SET", "appendfsync", "always")
        group.ask(node, "CONFIG", "SET", "no-appendfsync-on-rewrite", "yes")
        group.ask(node, "CONFIG", "REWRITE")
    lose_power(group)
    aof.start(*NODES)

    aof.sees("keydb-1", "guarded: ", "may lack its last seconds (appendfsync always with no-appendfsync-on-rewrite)")

    nobody_leads(group)


@pytest.mark.slow
def test_with_an_aof_an_old_primary_does_not_know_whether_it_holds_more(aof: Guard) -> None:
    group = aof.sandbox
    group.kill("keydb-1")
    group.run("failover").ok()
    new = group.primaries()[0]
    aof.start("keydb-1")

    aof.sees("keydb-1", f"guarded: my AOF does not tell whether I hold more than {new}", "run rejoin")

    assert group.primaries() == [new]
    group.run("rejoin", accept_loss="keydb-1").ok()
    group.healthy(new)


@pytest.mark.slow
def test_with_an_aof_a_failover_that_no_file_knows_is_not_undone(aof: Guard) -> None:
    group = aof.sandbox
    for node in NODES:
        group.ask(node, "CONFIG", "SET", "appendfsync", "always")
        group.ask(node, "CONFIG", "REWRITE")
    keys = promote_without_saving(group)
    group.kill("keydb-3")
    group.kill("keydb-2")
    aof.start(*NODES)

    aof.sees("keydb-1", "guarded: keydb-1 was the primary, but keydb-2 holds data of epoch 2, and mine are of epoch 1")

    nobody_leads(group)
    assert group.keys("keydb-2") == keys


# TLS, the network, loading


@pytest.mark.slow
def test_with_tls_it_asks_only_whom_the_ca_knows(encrypted: Guard, tmp_path: Path) -> None:
    group = encrypted.sandbox
    group.stop("keydb-3")
    group.stop("keydb-2")
    group.stop("keydb-1")
    encrypted.start(*NODES)
    stranger = Path(kept_certificates(tmp_path / "stranger", ["127.0.0.1"])["keydb_tls_ca"])

    encrypted.sees("keydb-1", "guarded: my own server does not answer", TLS_CA=stranger)

    for node in NODES:
        encrypted.watch(node)
    encrypted.decided("keydb-1", "primary: every peer answers")
    encrypted.decided("keydb-2", "follow: keydb-1")
    encrypted.decided("keydb-3", "follow: keydb-1")
    group.healthy("keydb-1")


@pytest.mark.slow
def test_who_is_cut_off_from_the_new_primary_does_not_follow_the_old_one(partitioned: Guard) -> None:
    """keydb-1 was asleep while keydb-2 was promoted; keydb-3, which followed that, restarts and sees keydb-1 alone."""
    group = partitioned.sandbox
    group.freeze("keydb-1")
    eventually(lambda: not any(_hears(group, node) for node in NODES[1:]), "nobody hears keydb-1", 20)
    group.run("failover", to="keydb-2").ok()
    group.kill("keydb-3")
    group.thaw("keydb-1")
    # For the network the script of a node is the operator: it cannot tell from where on this machine it is called.
    group.network.cut("operator", "keydb-2")
    partitioned.boot("keydb-3")

    partitioned.waits("keydb-3", "keydb-1 is primary, but my file names keydb-2, and keydb-2 does not answer")

    group.network.heal()
    partitioned.waits("keydb-3", "keydb-1 and keydb-2 are primaries at once; run status")
    group.kill("keydb-1")
    partitioned.decided("keydb-3", "follow: keydb-2, which is primary (epoch 2)")
    eventually(lambda: group.follows("keydb-3", "keydb-2"), "keydb-3 follows keydb-2", 20)


def _hears(group: Sandbox, node: str) -> bool:
    return int(str(group.info(node)["master_last_io_seconds_ago"])) < 3


@pytest.mark.slow
def test_a_server_that_loads_its_data_is_waited_for_however_long_that_takes(guard: Guard) -> None:
    group = guard.sandbox
    group.fill(300)
    keys = group.keys("keydb-1")
    group.stop("keydb-1")
    with group.config("keydb-1").open("a") as config:
        config.write("key-load-delay 10000\nloading-process-events-interval-bytes 1024\n")
    with guard.run("keydb-1", "pre") as process:
        words, _ = process.communicate(timeout=20)
    group.boot("keydb-1", *words.split(), answering=False)

    guard.watch("keydb-1", WAIT=1)

    guard.waits("keydb-1", "my own server is loading its data")
    guard.decided("keydb-1", "primary: every peer answers")
    healthy(group, "keydb-1", keys)

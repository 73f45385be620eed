"""After a bad day: HAProxy, disks and servers fail in the middle of a run, and two runs come at once."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from kit import COLOR, FAULTS, INVENTORY, NODES, Result, Sandbox, eventually, writing

from keydb_runbooks.connectors.programs import find_proxy, find_server
from keydb_runbooks.connectors.sandbox import MARK
from keydb_runbooks.runbooks.configuration import parse

# HAProxy in the middle of a switchover


def on_proxy(group: Sandbox) -> dict[str, str]:
    """What happens to the proxy, as commands of the shell."""
    home = group.directory / "proxy-1"
    start = f"{MARK}={group.directory} {find_proxy()} -D -f {home}/haproxy.cfg"
    kill = f"kill -9 $(cat {home}/haproxy.pid)"
    return {
        "killed": kill,
        "restarted": f"{kill}; {start}",
        "reloaded": f"{start} -x {home}/admin.sock -sf $(cat {home}/haproxy.pid)",
    }


@pytest.mark.parametrize("fate", ["restarted", "reloaded"])
def test_a_proxy_that_becomes_another_process_meanwhile_still_leads_to_the_new_primary(
    group: Sandbox, fate: str
) -> None:
    """The writer keeps a connection on which writes are refused, as many clients do: an old worker's must be ended."""
    with writing(group) as writer:
        for moment, target in (("Promote:1", "keydb-2"), ("Route:1", "keydb-3"), ("Unpause:1", "keydb-1")):
            run = group.run(FAULTS, verb="switchover", to=target, hit_before=moment, hit_with=on_proxy(group)[fate])
            run.ok()
            assert ("told HAProxy's new process" in " ".join(run.text.split())) == (moment != "Unpause:1")
            writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-1")


def test_whoever_is_connected_to_a_replaced_process_of_a_proxy_finds_the_new_primary(group: Sandbox) -> None:
    """As behind an install that reloaded it: the old process keeps its connections, and tells them nothing."""
    with writing(group) as writer:
        subprocess.run(on_proxy(group)["reloaded"], shell=True, check=True, capture_output=True)
        group.run("switchover", to="keydb-2").ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def test_a_proxy_that_died_keeps_nobody_paused_and_is_named(group: Sandbox) -> None:
    with writing(group) as writer:
        hit = on_proxy(group)["killed"]
        died = group.run(FAULTS, verb="switchover", to="keydb-2", hit_before="Route:1", hit_with=hit)
        died.refused(
            "the run goes on",
            "failed and incomplete: keydb-2 is the primary of demo, but no write through proxy-1 reached keydb-2",
            "Mend that, then run this to finish: pyinfra inventories/sandbox.py",
            "--data to=keydb-2",
        )
        assert group.primaries() == ["keydb-2"]
        assert not [node for node in NODES if group.paused(node)]
        assert group.follows("keydb-1", "keydb-2")
        assert group.follows("keydb-3", "keydb-2")

        group.run("start").ok()

        writer.write_on()
        assert writer.lost() == 0
    assert "nothing to do" in group.run("switchover", to="keydb-2").ok().text
    group.healthy("keydb-2")


# A server in the middle of a switchover


@pytest.mark.parametrize(
    ("moment", "victim"),
    [("Follow:1", "keydb-3"), pytest.param("Follow:2", "keydb-1", marks=pytest.mark.slow)],
)
def test_a_node_that_dies_behind_the_promotion_is_left_behind_and_the_others_go_on(
    group: Sandbox, moment: str, victim: str
) -> None:
    with writing(group) as writer:
        hit = f"kill -9 {group.pid(victim)}"
        left = group.run(FAULTS, verb="switchover", to="keydb-2", hit_before=moment, hit_with=hit)
        left.refused("failed and incomplete: keydb-2 is the primary of demo, but", f"{group.port_of(victim)}")
        writer.write_on()
        group.run("start").ok()
        group.run("rejoin").ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def test_a_rejoin_whose_node_dies_is_not_called_unchanged(group: Sandbox) -> None:
    group.ask("keydb-3", "REPLICAOF", "255.255.255.255", "1")
    left = group.run(FAULTS, verb="rejoin", hit_before="InSync:1", hit_with=f"kill -9 {group.pid('keydb-3')}")
    left.refused(
        "failed and incomplete: keydb-1 is the primary of demo, but", "Mend that, then run this to finish: pyinfra"
    )


def asking(group: Sandbox, nodes: tuple[str, ...], code: str) -> str:
    """A command of the shell that runs a line of Python with ``server``, each of these nodes in turn."""
    path = group.directory / "ask.py"
    ports = [group.port_of(node) for node in nodes]
    user = f"username='operator', password={group.passwords['operator']!r}, protocol=2, driver_info=None"
    path.write_text(f"import redis\nfor port in {ports}:\n    server = redis.Redis(port=port, {user})\n    {code}\n")
    return f"{sys.executable} {path}"


def forbidding(group: Sandbox, node: str, command: str) -> str:
    """A command of the shell that takes a command away from the operator on one server, from held links too."""
    return asking(group, (node,), f"server.execute_command('ACL SETUSER', 'operator', '-{command}')")


def test_an_old_primary_that_refuses_to_follow_stays_paused_while_the_others_go_on(group: Sandbox) -> None:
    """Without its pause it would be a second writer."""
    with writing(group) as writer:
        hit = forbidding(group, "keydb-1", "replicaof")
        left = group.run(FAULTS, verb="switchover", to="keydb-2", hit_before="Follow:2", hit_with=hit)
        left.refused(
            "keydb-1 refused", "keydb-1 left out: end the pause", "failed and incomplete: keydb-2 is the primary"
        )
        writer.write_on()
        assert group.paused("keydb-1")
        group.ask("keydb-1", "ACL SETUSER", "operator", "+replicaof")

        group.run("switchover", to="keydb-2").ok()

        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def test_a_new_primary_that_refuses_its_record_stops_the_run_before_anybody_attaches(group: Sandbox) -> None:
    hit = forbidding(group, "keydb-2", "set")
    stopped = group.run(FAULTS, verb="switchover", to="keydb-2", hit_before="RecordLineage:1", hit_with=hit)
    stopped.refused("keydb-2 refused", "failed and incomplete, 10 steps are left: run this to finish: pyinfra")
    assert group.follows("keydb-3", "keydb-1")
    assert group.paused("keydb-1")
    group.ask("keydb-2", "ACL SETUSER", "operator", "+set")
    group.run("switchover", to="keydb-2").ok()
    group.healthy("keydb-2")


def robbing(group: Sandbox, nodes: tuple[str, ...] = NODES) -> str:
    """A command of the shell that ends the connections which hold the lock on these nodes."""
    allowed = "server.execute_command('ACL SETUSER', 'operator', '+client|kill')"
    held = "[row['id'] for row in server.client_list() if row['name'].startswith('runbook:')]"
    kill = f"[server.execute_command('CLIENT KILL', 'ID', number) for number in {held}]"
    return asking(group, nodes, f"{allowed}; {kill}")


def test_a_run_whose_lock_was_taken_away_goes_on_with_nobody(group: Sandbox) -> None:
    """Somebody else may be at work by then, and another node the primary."""
    hit = robbing(group)
    robbed = group.run(FAULTS, verb="switchover", to="keydb-2", hit_before="Follow:1", hit_with=hit)
    robbed.refused("failed and incomplete, 8 steps are left: run this to finish: pyinfra")
    assert "11/16" not in robbed.text, "no proxy is told anything"
    group.run("switchover", to="keydb-2").ok()
    group.healthy("keydb-2")


def test_a_link_that_broke_before_the_promotion_is_opened_anew_to_end_the_pause(group: Sandbox) -> None:
    """The other links hold the lock, so the pause is still this run's own."""
    with writing(group) as writer:
        hit = robbing(group, ("keydb-1",))
        broken = group.run(FAULTS, verb="switchover", to="keydb-2", hit_before="CatchUp:2", hit_with=hit)
        broken.refused("failed and unchanged")
        assert not group.paused("keydb-1")
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-1")


def test_a_run_whose_lock_was_taken_away_before_the_routes_tells_no_proxy_anything(group: Sandbox) -> None:
    hit = robbing(group)
    robbed = group.run(FAULTS, verb="switchover", to="keydb-2", hit_before="Route:1", hit_with=hit)
    robbed.refused("keydb-2 no longer says that it is the primary, so proxy-1 is not told of it; the run goes on")
    # The proxy's own check finds keydb-2 meanwhile: a plan that was made before that is refused.
    eventually(lambda: group.run("switchover", to="keydb-2").code == 0, "another run finishes it", 30)
    group.healthy("keydb-2")


# Disks


def files(group: Sandbox) -> dict[str, bytes]:
    """Every file of the group but logs, data and what says which process runs."""
    fleeting = ("server.log", "journal.txt", "history.jsonl", "server.pid", "haproxy.pid")
    paths = [path for path in group.directory.rglob("*") if path.is_file() and path.parent.name != "data"]
    return {str(path.relative_to(group.directory)): path.read_bytes() for path in paths if path.name not in fleeting}


@contextmanager
def full_disk(group: Sandbox, *nodes: str) -> Iterator[None]:
    """No server of these nodes gets another byte into a file: EFBIG stands for ENOSPC, at the same places."""
    pids = [pid for node in nodes if (pid := group.pid(node)) is not None]
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def unsaved(group: Sandbox, node: str, reason: str) -> str:
    return f"{node} could not save its role in {group.config(node)}: Rewriting config file: {reason}"


def test_full_disks_under_the_configuration_files_keep_no_writer_waiting(group: Sandbox) -> None:
    before = files(group)
    with writing(group) as writer:
        with full_disk(group, *NODES):
            full = group.run("switchover", to="keydb-2")
            full.refused(
                *(unsaved(group, node, "File too large") for node in NODES),
                "failed and incomplete: keydb-2 is the primary of demo, but",
                "Mend that, then run this to finish: pyinfra inventories/sandbox.py",
                "--data to=keydb-2",
            )
            writer.write_on()
            assert group.primaries() == ["keydb-2"]
            assert not [node for node in NODES if group.paused(node)]
            assert files(group) == before
            assert group.findings() == ["not-saved"] * 3
            group.run("switchover", to="keydb-2").refused("failed and incomplete", "could not save its role")
            assert files(group) == before

        group.run("switchover", to="keydb-2").ok()

        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


@contextmanager
def around(group: Sandbox, *words: str) -> Iterator[None]:
    """What is started within is started by these words."""
    group.around = words
    try:
        yield
    finally:
        group.around = ()


NEW_LAG = {"keydb_min_replicas_max_lag": "3"}
"""A change of every server's file and of the proxy's."""


def lags(group: Sandbox) -> set[str]:
    """The setting that ``NEW_LAG`` changes, as the servers have it now and in their files."""
    asked = [group.ask(node, "CONFIG", "GET", "min-replicas-max-lag") for node in NODES]
    lines = [line for node in NODES for line in parse(group.config(node).read_text())]
    return {str(value[1]) for value in asked} | {
        line.values[0] for line in lines if line.name == "min-replicas-max-lag"
    }


def test_an_install_on_a_full_disk_leaves_every_file_as_it_was(group: Sandbox) -> None:
    before = files(group)
    for blocks in (0, 1):
        with around(group, "sh", "-c", f'ulimit -c 0; ulimit -f {blocks}; exec "$@"', "sh"):
            full = group.run("install", **NEW_LAG)
        full.refused("can't be written", f"{group.config('keydb-2')} stays as it is", "haproxy.cfg stays as it is")
        assert files(group) == before
        assert lags(group) == {"2"}

    group.run("install", **NEW_LAG).ok()

    assert lags(group) == {"3"}
    group.healthy("keydb-1")


def read_only(directory: Path) -> tuple[str, ...]:
    """Words that start a server whose directory, but not the data in it, becomes read-only when it has started."""
    script = (
        'cd / && mount --bind "$1" "$1" && mount --bind "$1/data" "$1/data" && '
        'directory=$1; shift; "$@" && until [ -s "$directory/server.pid" ]; do sleep 0.02; done && '
        'mount -o remount,ro,bind "$directory"'
    )
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(directory))


def may_mount() -> bool:
    """Whether a mount namespace can be had here, by root or by anybody."""
    words = ["unshare", "--map-root-user", "--mount", "mount", "--bind", "/tmp", "/tmp"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


needs_namespaces = pytest.mark.skipif(
    not may_mount(), reason="no mount namespace can be had here: allow unprivileged user namespaces"
)


@needs_namespaces
def test_a_read_only_file_system_under_the_new_primary_s_file_keeps_no_writer_waiting(group: Sandbox) -> None:
    group.stop("keydb-2")
    with around(group, *read_only(group.directory / "keydb-2")):
        group.boot("keydb-2")
    eventually(lambda: group.follows("keydb-2", "keydb-1"), "keydb-2 follows")
    eventually(
        lambda: "target-unreached" not in group.run("switchover", to="keydb-2", dry=True).text, "the proxy sees it"
    )
    before = files(group)
    with writing(group) as writer:
        moved = group.run("switchover", to="keydb-2")
        moved.refused(unsaved(group, "keydb-2", "Read-only file system"), "failed and incomplete")
        writer.write_on()
        assert writer.lost() == 0
    assert files(group)["keydb-2/keydb.conf"] == before["keydb-2/keydb.conf"]
    assert group.findings() == ["not-saved"]

    mend = ["mount", "-o", "remount,rw,bind", str(group.directory / "keydb-2")]
    subprocess.run(
        ["nsenter", "-t", str(group.pid("keydb-2")), "-U", "--preserve-credentials", "-m", *mend], check=True
    )
    group.run("switchover", to="keydb-2").ok()
    group.healthy("keydb-2")


@needs_namespaces
def test_an_install_on_a_read_only_file_system_leaves_every_file_as_it_was(group: Sandbox) -> None:
    before = files(group)
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    with around(group, "unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(group.directory)):
        group.run("install", **NEW_LAG).refused("Read-only file system", f"{group.config('keydb-2')} stays as it is")
    assert files(group) == before
    assert lags(group) == {"2"}


def killed_while_saving(group: Sandbox, node: str, delay: float) -> None:
    """Kill a server that saves its configuration again and again, always another one."""
    client = group.client(node)
    client.ping()
    stop = threading.Event()

    def save() -> None:
        number = 0
        with suppress(redis.RedisError, OSError):
            while not stop.is_set():
                number += 1
                client.execute_command("CONFIG", "SET", "maxmemory", 64 * 1024**2 + number % 2 * 1024)
                client.execute_command("CONFIG", "REWRITE")

    saver = threading.Thread(target=save)
    saver.start()
    time.sleep(delay)
    group.kill(node)
    stop.set()
    saver.join()
    client.connection_pool.disconnect()


def whole(text: str) -> list[str]:
    """The lines of a configuration file, with 0 for the two values that are written in turn."""
    return [re.sub("^maxmemory (64mb|65537kb)$", "maxmemory 0", line) for line in text.splitlines()]


@pytest.mark.parametrize("rounds", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_a_server_that_is_killed_while_it_saves_leaves_a_whole_file(group: Sandbox, rounds: int) -> None:
    chance = random.Random(rounds)
    for _ in range(rounds):
        group.ask("keydb-3", "CONFIG", "REWRITE")
        before = group.config("keydb-3").read_text()
        killed_while_saving(group, "keydb-3", chance.uniform(0.005, 0.03))
        after = group.config("keydb-3").read_text()
        assert "maxmemory 0" in whole(after)
        assert whole(after) == whole(before)
        group.boot("keydb-3")
    group.kill("keydb-3")
    group.run("start").ok()
    group.run("rejoin").ok()
    group.healthy("keydb-1")


# Two runs at once, and runs that are killed


def waiting_server(group: Sandbox, config: str) -> tuple[str, Path, Path]:
    """A program for servers that waits before it starts with one configuration file.

    :returns: its path, a file that says that it waits, and one that lets it go on
    """
    _, program = find_server(group.engine)
    path, at_it, go = (group.directory / name for name in ("waiting-server", "at-it", "go"))
    wait = f": >{at_it}; while [ ! -e {go} ]; do sleep 0.02; done"
    path.write_text(f'#!/bin/sh\ncase "$1" in {group.directory}/{config}) {wait};; esac\nexec {program} "$@"\n')
    path.chmod(0o700)
    return str(path), at_it, go


def test_a_switchover_in_the_middle_of_an_install_is_not_undone(group: Sandbox) -> None:
    """It comes between the moment when install reads keydb-2's file and the one when it replaces it."""
    program, at_it, go = waiting_server(group, "keydb-2/keydb.conf.new*")
    install = group.start(INVENTORY, "deploys/install.py", "-y", *data(keydb_server=program, **NEW_LAG))
    try:
        eventually(at_it.exists, "keydb-2's new file is being checked", 30)
        group.run("switchover", to="keydb-2").ok()
    finally:
        go.touch()
        told = ended(install)

    told.refused(f"{group.config('keydb-2')} was changed meanwhile, by a verb or another install: run this again")
    group.healthy("keydb-2")
    group.run("install", **NEW_LAG).ok()
    assert lags(group) == {"3"}
    group.healthy("keydb-2")


def test_two_runs_that_start_a_server_at_once_start_it_once(group: Sandbox) -> None:
    group.kill("keydb-3")
    program, at_it, go = waiting_server(group, "keydb-3/keydb.conf")
    first = group.start(INVENTORY, "deploys/start.py", "-y", *data(keydb_server=program))
    try:
        eventually(at_it.exists, "the first one is about to start it", 30)
        second = group.start(INVENTORY, "deploys/start.py", "-y")
        eventually(lambda: any("flock" in words for words in group_commands(group)), "the second one waits", 30)
    finally:
        go.touch()
        told = ended(first)
    told.ok()
    ended(second).ok()
    assert processes_are_the_known_ones(group)


def group_commands(group: Sandbox) -> list[list[str]]:
    """The words of every command that runs in a sandbox."""
    found = []
    for pid in group.processes.all():
        with suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    return found


def data(**given: str) -> list[str]:
    return [word for key, value in given.items() for word in ("--data", f"{key}={value}")]


class Watch:
    """Looks at files and roles as often as it can while something runs."""

    def __init__(self, group: Sandbox) -> None:
        self.group = group
        self.texts: set[tuple[str, str]] = set()
        self.several: list[list[str]] = []
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
            for path in self.group.directory.glob("*/*"):
                if path.name in ("keydb.conf", "haproxy.cfg", "monitoring.auth"):
                    with suppress(OSError):
                        self.texts.add((path.name, path.read_text()))
            with suppress(redis.RedisError, OSError):
                primaries = self.group.primaries()
                self.several += [primaries] if len(primaries) > 1 else []
            time.sleep(0.001)

    def torn(self) -> list[str]:
        """Texts that lack anything of what each file of this name has."""
        ends = {"keydb.conf": ("user application", "maxmemory "), "haproxy.cfg": ("listen demo-read", "server keydb-3")}
        return [text for name, text in self.texts if not all(word in text for word in ends.get(name, ("AUTH ",)))]


def processes_are_the_known_ones(group: Sandbox) -> bool:
    known = {group.pid(node) for node in (*NODES, "proxy-1")}
    return set(group.processes.all()) == known


def installed_twice(sandbox: Sandbox, **given: str) -> list[Result]:
    """Two installs that are started together, and end as they may."""
    runs = [sandbox.start(INVENTORY, "deploys/install.py", "-y", *data(**given)) for _ in range(2)]
    return [ended(run) for run in runs]


def ended(run: subprocess.Popen[str]) -> Result:
    text, _ = run.communicate(timeout=120)
    return Result(run.returncode, COLOR.sub("", text))


def told_who_is_at_work(result: Result) -> bool:
    """Whether a run succeeded, or says that another one came first."""
    reasons = ("locked: another run is at work", "plan-differs", "was changed meanwhile, by a verb or another install")
    assert "Traceback" not in result.text, result.text
    return result.code == 0 or (result.code == 1 and any(reason in result.text for reason in reasons))


@pytest.mark.parametrize("rounds", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_two_first_installs_at_once_make_one_group(engine: str, rounds: int) -> None:
    for _ in range(rounds):
        sandbox = Sandbox(engine)
        try:
            with Watch(sandbox) as watch:
                results = installed_twice(sandbox)
            assert all(map(told_who_is_at_work, results)), [result.text for result in results]
            assert (watch.torn(), watch.several) == ([], [])
            assert len(watch.texts) >= 3, "the watch saw nothing"
            assert processes_are_the_known_ones(sandbox)
            sandbox.install().ok()
            sandbox.healthy("keydb-1")
        finally:
            sandbox.remove()


@pytest.mark.parametrize("rounds", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_two_installs_at_once_change_a_group_once(group: Sandbox, rounds: int) -> None:
    for number in range(rounds):
        lag = str(3 + number)
        with Watch(group) as watch:
            results = installed_twice(group, keydb_min_replicas_max_lag=lag)
        assert all(map(told_who_is_at_work, results)), [result.text for result in results]
        assert (watch.torn(), watch.several) == ([], [])
        eventually(lambda: processes_are_the_known_ones(group), "nothing runs twice", 40)
        group.run("install", keydb_min_replicas_max_lag=lag).ok()
        assert lags(group) == {lag}
        group.healthy("keydb-1")


def killed(group: Sandbox, moment: Callable[[], object], **given: str) -> None:
    """An install that is killed as soon as something is there."""
    install = group.start(INVENTORY, "deploys/install.py", "-y", *data(**given))
    try:
        while install.poll() is None:
            with suppress(redis.RedisError, OSError):
                if moment():
                    break
            time.sleep(0.001)
        assert install.poll() is None, f"it ended before that moment:\n{install.communicate()[0]}"
    finally:
        install.kill()
        install.communicate()


def test_an_install_that_is_killed_again_and_again_ends_as_one_that_was_not(nothing: Sandbox) -> None:
    home = nothing.directory
    for moment in (
        lambda: list(home.glob("keydb-1/keydb.conf.new.*")),
        lambda: nothing.config("keydb-2").exists(),
        lambda: nothing.pid("keydb-3"),
        lambda: (home / "proxy-1" / "haproxy.cfg").exists(),
        lambda: nothing.pid("proxy-1"),
        lambda: nothing.primaries() == ["keydb-1"],
    ):
        killed(nothing, moment)

    nothing.install().ok()

    nothing.healthy("keydb-1")
    assert processes_are_the_known_ones(nothing)
    secret = [path for path in home.glob("*/*.new.*") if path.stat().st_mode & 0o077]
    assert not secret, "a new file that was left behind can be read by others"


def test_a_changing_install_that_is_killed_is_finished_by_the_next_one(group: Sandbox) -> None:
    proxy = group.directory / "proxy-1" / "haproxy.cfg"
    old = proxy.read_text()
    for moment in (
        lambda: list(group.directory.glob("*/keydb.conf.new.*")),
        lambda: group.ask("keydb-1", "CONFIG", "GET", "min-replicas-max-lag")[1] == "3",
        lambda: proxy.read_text() != old,
    ):
        killed(group, moment, **NEW_LAG)

    group.run("install", **NEW_LAG).ok()

    assert lags(group) == {"3"}
    group.healthy("keydb-1")
    assert proxy.stat().st_mtime <= proxy.with_name("haproxy.pid").stat().st_mtime, "it knows its new file"


def test_a_proxy_that_does_not_know_its_new_file_is_reloaded(group: Sandbox) -> None:
    """So it is when an install dies between the rename and the reload."""
    os.utime(group.directory / "proxy-1" / "haproxy.cfg")
    before = group.pid("proxy-1")
    group.install().ok()
    after = group.pid("proxy-1")
    assert after not in (before, None)
    group.install().ok()
    assert group.pid("proxy-1") == after


def test_what_a_killed_install_left_behind_goes_with_a_later_one(group: Sandbox) -> None:
    home = group.config("keydb-1").parent
    old, fresh = home / "keydb.conf.new.0123abcd", home / "keydb.conf.new.4567abcd"
    for path in (old, fresh):
        path.write_text("user application")
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    group.run("install", **NEW_LAG).ok()
    assert not old.exists()
    assert fresh.exists(), "it may be another run's that is at work"

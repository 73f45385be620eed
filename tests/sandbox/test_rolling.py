"""Restart: all get new processes while clients write, one after the other, and trouble stops it where it is."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from kit import NODES, REPOSITORY, Sandbox, eventually, writing
from moments import Moment, ended, list_of, run_at, start_at, stopped
from verbs import processes, version_of_node
from versions import renamed

from keydb_runbooks.connectors.programs import find_server

BROKEN = "\nno-such-directive yes\n"


def full_syncs(group: Sandbox) -> int:
    """How often anybody got all data anew, by the logs: a process's own count ends with it."""
    logs = [(group.directory / node / "server.log").read_text() for node in NODES]
    return sum(len(re.findall("Full resync from ", log)) for log in logs)


@pytest.mark.every_engine_in_ci
def test_a_restart_under_a_writer_loses_nothing_and_needs_no_full_resync(group: Sandbox) -> None:
    before, full = processes(group), full_syncs(group)
    with writing(group) as writer:
        group.run("restart").ok()

        writer.write_on()
        assert writer.lost() == 0
    assert not set(processes(group)) & set(before)
    assert full_syncs(group) == full
    group.healthy("keydb-2")
    assert group.findings() == []


@pytest.mark.parametrize(
    ("setting", "value", "anew"), [pytest.param("appendonly", "yes", 3, marks=pytest.mark.slow), ("save", "", 0)]
)
def test_a_restart_of_servers_that_keep_an_aof_or_nothing(group: Sandbox, setting: str, value: str, anew: int) -> None:
    """A start from an AOF forgets its place in the stream; a server that never saves is told to."""
    for node in NODES:
        group.ask(node, "CONFIG", "SET", setting, value)
        group.ask(node, "CONFIG", "REWRITE")
        eventually(lambda node=node: group.info(node)["aof_rewrite_in_progress"] == 0, f"{node} has its AOF")
    before, full = processes(group), full_syncs(group)
    with writing(group) as writer:
        told = group.run("restart").ok().text

        writer.write_on()
        assert writer.lost() == 0
    assert not set(processes(group)) & set(before)
    assert full_syncs(group) - full == anew == " ".join(told.split()).count("as always behind a start from an AOF")
    group.healthy("keydb-2")


FEWER = """
from runpy import run_path
_all = run_path({inventory!r})
keydb, haproxy = _all["keydb"][:{count}], _all["haproxy"]
"""


@pytest.mark.first_engine
@pytest.mark.parametrize("count", [1, 2])
def test_a_restart_of_one_or_two_nodes_says_what_waits_and_loses_nothing(
    nothing: Sandbox, tmp_path: Path, count: int
) -> None:
    inventory = tmp_path / "fewer.py"
    inventory.write_text(FEWER.format(inventory=str(REPOSITORY / "inventories/sandbox.py"), count=count))
    (tmp_path / "group_data").mkdir()
    shutil.copy(REPOSITORY / "inventories/group_data/sandbox.py", tmp_path / "group_data" / "fewer.py")
    given = ("--data", f"keydb_min_replicas_to_write={count - 1}", "-y")
    nothing.pyinfra(str(inventory), "deploys/install.py", *given).ok()
    there = NODES[:count]
    before = [nothing.info(node)["run_id"] for node in there]
    eventually(lambda: nothing.ask_proxy("show stat").count(b"L7") == 2 * count, "the proxy has asked everybody")
    with writing(nothing) as writer:
        told = " ".join(nothing.pyinfra(str(inventory), "deploys/restart.py", *given).ok().text.split())
        writer.write_on()
        assert writer.lost() == 0
    assert (
        "nobody can read or write while keydb-1 restarts" if count == 1 else "nobody can write while a node"
    ) in told
    assert not {nothing.info(node)["run_id"] for node in there} & set(before)
    assert nothing.role(there[-1]) == "master"
    again = nothing.pyinfra(str(inventory), "deploys/rejoin.py", *given).ok().text
    assert "nothing to do: " in again


def test_a_dry_run_shows_the_versions_and_changes_nothing(group: Sandbox) -> None:
    version = str(group.info("keydb-1").get("valkey_version") or group.info("keydb-1")["redis_version"])
    with group.unchanged():
        told = group.run("restart", dry=True).ok().text
    assert len(re.findall(rf"runs \w+ {version} for \d+ s", " ".join(told.split()))) == len(NODES)
    assert told.index("keydb-2    restart ") < told.index("keydb-3    restart ") < told.index("keydb-1    restart ")


def test_a_node_that_does_not_come_back_stops_it_and_another_run_goes_on(group: Sandbox) -> None:
    before = processes(group)
    path = group.config("keydb-3")
    whole = path.read_text()
    with writing(group) as writer:
        path.write_text(whole + BROKEN)

        result = group.run("restart").refused("keydb-3 could not be restarted: ", "failed and incomplete")

        now = [str(group.info(node)["run_id"]) if group.pid(node) else "" for node in NODES]
        assert now[0] == before[0] and now[1] not in ("", before[1]) and now[2] == ""
        assert group.primaries() == ["keydb-1"]
        since = re.findall(r"--data since=(\S+)", result.text)[-1]
        group.run("restart", since=since).refused("refused: node-refused keydb-3: ", "run start, then this again")

        path.write_text(whole)
        group.run("start").ok()
        group.run("restart", since=since).ok()
        writer.write_on()
        assert writer.lost() == 0
    assert not set(processes(group)) & set(before)
    group.healthy("keydb-2")


@pytest.mark.in_ci
def test_trouble_elsewhere_stops_it_before_the_next_node(group: Sandbox) -> None:
    """As soon as the first replica was restarted, another one dies."""
    before = processes(group)
    first = Moment("keydb-2: REPLICAOF keydb-1 + CONFIG REWRITE #1", "answered")
    with writing(group) as writer:
        result = run_at(group, "restart", first, f"kill -9 {group.pid('keydb-3')}", {})
        list_of(group).unlink()

        told = "the group is not as this plan left it: refused: node-refused keydb-3: "
        result.refused("keydb-3 look at the whole group again before it is touched", told, "failed and incomplete")
        assert restarted(group, before) == ["keydb-2"]
        assert group.primaries() == ["keydb-1"]
        writer.write_on()
        assert writer.lost() == 0


def test_the_lock_outlives_a_restart(group: Sandbox) -> None:
    """A run stands still as soon as a node's new process has been told something: nobody else is let in."""
    told = Moment("keydb-2: REPLICAOF keydb-1 + CONFIG REWRITE #1", "answered")
    run = start_at(group, "restart", told, "stop", {})
    eventually(lambda: stopped(run.pid), "it stands still", 20)
    try:
        assert ":held:restart/" in str(group.ask("keydb-2", "CLIENT LIST"))
        group.run("switchover", to="keydb-3").refused("refused: locked: another run is at work: ", " does restart ")
    finally:
        os.kill(run.pid, signal.SIGCONT)
        list_of(group).unlink()
    ended(run).ok()
    group.healthy("keydb-2")


def restarted(group: Sandbox, before: list[str]) -> list[str]:
    """The nodes that answer as another process than before."""
    answering = [
        (node, old) for node, old in zip(NODES, before, strict=True) if group.pid(node) and group.answers(node)
    ]
    return [node for node, old in answering if group.info(node).get("run_id") not in (old, None)]


# Upgrade


def test_an_upgrade_under_a_writer_loses_nothing_and_needs_no_full_resync(group: Sandbox, tmp_path: Path) -> None:
    newer, full = renamed(find_server(group.engine)[1], tmp_path / f"{group.engine}-server"), full_syncs(group)
    with writing(group) as writer:
        told = group.run("upgrade", keydb_server=str(tmp_path / f"{group.engine}-server")).ok().text

        writer.write_on()
        assert writer.lost() == 0
    assert len(re.findall(rf"restart \w+ \S+ -> {newer}, follow", " ".join(told.split()))) == len(NODES)
    assert {version_of_node(group, node) for node in NODES} == {newer}
    assert full_syncs(group) == full
    group.healthy("keydb-2")
    again = group.run("upgrade", keydb_server=str(tmp_path / f"{group.engine}-server")).ok().text
    assert "nothing to do: already-done demo: every node runs what its program is" in " ".join(again.split())


def test_an_upgrade_leaves_alone_who_runs_the_version_already(group: Sandbox, tmp_path: Path) -> None:
    newer = renamed(find_server(group.engine)[1], tmp_path / f"{group.engine}-server")
    first = Moment("keydb-3: REPLICAOF keydb-1 + CONFIG REWRITE #1", "answered")
    program = str(tmp_path / f"{group.engine}-server")
    died = run_at(group, "upgrade", first, "kill", {}, keydb_server=program)
    list_of(group).unlink()
    assert died.code == -9, died.text
    upgraded = processes(group)

    group.run("upgrade", keydb_server=program).ok()

    assert [version_of_node(group, node) for node in NODES] == [newer] * len(NODES)
    now = processes(group)
    assert now[1:] == upgraded[1:] and now[0] != upgraded[0]
    group.healthy("keydb-2")

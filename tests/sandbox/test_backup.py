"""Backups: a whole file with its description or none, whoever dies, whichever disk is full; and which of them are kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from kit import NODES, Sandbox
from loaded import server_on
from moments import Moment, changes, commands, run_at

NAMES: dict[str, str] = {}


def backups(directory: Path) -> list[Path]:
    """The whole ones, oldest first: each file as its description says, and both closed to others."""
    found = []
    for path in sorted(directory.glob("*.json")):
        file = path.with_suffix(".rdb")
        described = json.loads(path.read_text())
        for one in (path, file):
            assert one.stat().st_mode & 0o777 == 0o600, one
        assert described["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert described["bytes"] == file.stat().st_size
        found.append(file)
    return found


def aged(file: Path, days: float) -> None:
    """The description of a backup, as if it had been made some days ago."""
    path = file.with_suffix(".json")
    made = datetime.now(timezone.utc) - timedelta(days=days)
    path.write_text(json.dumps({**json.loads(path.read_text()), "saved_at": f"{made:%Y-%m-%dT%H:%M:%SZ}"}))


def left_on_nodes(group: Sandbox) -> list[Path]:
    return [path for node in NODES for path in (group.directory / node / "data").glob("backup-*")]


@pytest.mark.every_engine_in_ci
def test_a_backup_is_a_replica_s_data_checked_and_described(group: Sandbox, tmp_path: Path) -> None:
    directory = tmp_path / "new" / "kept"
    with group.unchanged():
        shown = group.run("backup", save_to=str(directory), dry=True).ok().text
        assert "BGSAVE" in shown and not directory.exists()
    done = group.run("backup", save_to=str(directory)).ok().text

    (file,) = backups(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    described = json.loads(file.with_suffix(".json").read_text())
    info = group.info(described["node"])
    assert described["node"] in NODES[1:] and f"{described['node']} is in sync" not in done
    assert described["replication_id"] == group.info("keydb-1")["master_replid"]
    assert 0 < described["offset"] <= int(str(group.info("keydb-1")["master_repl_offset"]))
    assert described["engine"] == group.engine and described["checked"] == f"{group.engine}-check-rdb"
    assert described["version"] in (info.get("valkey_version"), info["redis_version"])
    with server_on(group, file) as client:
        keys = client.dbsize()
        assert client.get("test:7") == b"x" * 100
    assert described["keys"] == keys == group.keys("keydb-1")
    assert not left_on_nodes(group)
    assert "100 bytes" not in done and group.passwords["operator"] not in done


def test_the_primary_is_saved_only_if_it_is_named_and_the_plan_says_so(group: Sandbox, tmp_path: Path) -> None:
    told = group.run("backup", node="keydb-1", save_to=str(tmp_path)).ok().text
    assert "keydb-1 is the primary, and is saved since you named it" in " ".join(told.split())
    assert "from-keydb-1" in backups(tmp_path)[0].name
    for node in NODES[1:]:
        group.kill(node)
    refused = group.run("backup", save_to=str(tmp_path)).refused("refused: no-replica-in-sync demo", "node=NAME saves")
    assert "keydb-1" in refused.text
    group.run("backup", node="keydb-2", save_to=str(tmp_path)).refused("refused: node-unread keydb-2")
    assert len(backups(tmp_path)) == 1


def test_another_operator_goes_on_meanwhile_and_another_backup_waits(group: Sandbox, tmp_path: Path) -> None:
    """A backup may take an hour, and a failover can't wait for it."""
    held = [group.client(node) for node in NODES]
    for client in held:
        client.execute_command(
            "CLIENT", "SETNAME", "runbook:0123456789abcdef:held:switchover/keydb-2/somebody@elsewhere"
        )
    group.run("backup", save_to=str(tmp_path)).ok()
    for client in held:
        client.connection_pool.disconnect()

    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    result = group.run("backup", save_to=str(tmp_path))
    os.close(descriptor)
    result.refused("another backup is being written into", "failed and unchanged")
    assert len(backups(tmp_path)) == 1
    assert not left_on_nodes(group)


@pytest.mark.in_ci
@pytest.mark.first_engine
def test_a_backup_that_is_killed_anywhere_is_never_taken_for_a_whole_one(group: Sandbox, tmp_path: Path) -> None:
    place = str(tmp_path)
    run_at(group, "backup", None, "", NAMES, save_to=place).ok()
    # Deaths behind the last file are those of a run that is done.
    listed = [one for one in commands(group) if one.startswith("keydb-2: ") and changes(one)]
    tried = 0
    for command in listed:
        before = len(backups(tmp_path))
        died = run_at(group, "backup", Moment(command, "answered"), "kill", NAMES, save_to=place)
        if died.code != -9:
            continue
        tried += 1
        whole = backups(tmp_path)
        assert len(whole) in (before, before + 1)
        for file in tmp_path.glob("*.rdb"):
            assert file in whole or not file.with_suffix(".json").exists()
        again = group.run("backup", save_to=place).ok()
        assert len(backups(tmp_path)) == len(whole) + 1, again.text
        assert sorted(tmp_path.iterdir()) == sorted(
            path for file in backups(tmp_path) for path in (file, file.with_suffix(".json"))
        )
    assert tried >= 3, listed


def test_a_full_disk_on_either_side_leaves_no_backup_and_nothing_behind(group: Sandbox, tmp_path: Path) -> None:
    for node in NODES[1:]:
        pid = group.pid(node)
        assert pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    there = group.run("backup", save_to=str(tmp_path))
    for node in NODES[1:]:
        resource.prlimit(group.pid(node) or 0, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    there.refused("could not save its data (its log says why)", "failed and unchanged")

    group.around = ("prlimit", "--fsize=1000")
    here = group.run("backup", save_to=str(tmp_path))
    group.around = ()
    here.refused("can't be written: File too large", "failed and unchanged")
    assert not list(tmp_path.iterdir()) and not left_on_nodes(group)

    (tmp_path / "file").write_text("")
    group.run("backup", save_to=str(tmp_path / "file")).refused("can't be used", "name another by save_to=")
    group.run("backup", save_to=str(tmp_path)).ok()
    assert len(backups(tmp_path)) == 1


def test_a_file_that_the_engine_s_check_refuses_is_no_backup(group: Sandbox, tmp_path: Path) -> None:
    run_at(group, "backup", None, "", NAMES, save_to=str(tmp_path)).ok()
    (good,) = backups(tmp_path)
    node = json.loads(good.with_suffix(".json").read_text())["node"]
    keep = next(one for one in commands(group) if one.startswith(f"{node}: sh") and "dump.rdb" in one)
    dump = group.directory / node / "data" / "dump.rdb"
    # As a disk that lies: the server wrote it whole, and something else is there.
    spoil = f"printf '\\377\\377\\377' | dd of={dump} bs=1 seek=200 conv=notrunc 2>/dev/null"
    bad = run_at(group, "backup", Moment(keep, "before"), spoil, NAMES, save_to=str(tmp_path), node=node)
    bad.refused(f"{group.engine}-check-rdb", "failed and unchanged")
    assert backups(tmp_path) == [good]
    assert not left_on_nodes(group)


def test_backups_are_kept_by_number_and_age_and_the_last_whole_one_always(group: Sandbox, tmp_path: Path) -> None:
    place = str(tmp_path)
    for days in (40, 20, 10):
        group.run("backup", save_to=place).ok()
        made = max(backups(tmp_path), key=lambda file: file.stat().st_mtime_ns)
        aged(made, days)
        for path in (made, made.with_suffix(".json")):
            path.rename(path.with_name(path.name.replace(path.name.split("-")[1], f"202601{50 - days:02}T000000Z")))
    others = tmp_path / "mine.rdb"
    others.write_text("of somebody else")
    cut_short = tmp_path / "demo-20260101T000000Z-from-keydb-2.rdb"
    cut_short.write_bytes(b"REDIS0009")

    shown = group.run("backup", save_to=place, keep="2", keep_days="15", dry=True).ok().text
    assert "20260110" in shown and "20260130" in shown and "20260140" not in shown
    assert len(backups(tmp_path)) == 3 and cut_short.exists()
    group.run("backup", save_to=place, keep="2", keep_days="15").ok()
    assert len(backups(tmp_path)) == 2
    assert others.exists() and not cut_short.exists()

    # The only one, however old, stays when the next can't be made.
    for file in backups(tmp_path):
        aged(file, 900)
    for node in NODES[1:]:
        resource.prlimit(group.pid(node) or 0, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    group.run("backup", save_to=place, keep_days="1").refused("failed and unchanged")
    assert len(backups(tmp_path)) == 2
    for value in ("0", "-1", "many"):
        group.run("backup", save_to=place, keep=value).refused("--data keep=", "allowed are whole numbers")

"""Restores: the backup's data for everybody or the old ones for everybody, whoever dies, and what is replaced is saved."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from kit import INVENTORY, NODES, Sandbox, eventually
from moments import Moment, changes, commands, moments, run_at, spread
from prefork import Run
from printed import waits

from keydb_runbooks.runbooks.steps import VERIFY_KEY

NAMES: dict[str, str] = {}


def backup(group: Sandbox, directory: Path) -> Path:
    """A backup of the group as it is now; the path of its file."""
    before = set(directory.glob("*.rdb"))
    group.run("backup", save_to=str(directory)).ok()
    (made,) = set(directory.glob("*.rdb")) - before
    return made


def write(group: Sandbox, key: str) -> None:
    """A write of a client, which every node has."""
    eventually(lambda: group.writable(key), f"{key} is written", 20)
    eventually(lambda: all(group.ask(node, "EXISTS", key, role="application") for node in NODES), f"all have {key}")


def has(group: Sandbox, key: str) -> bool:
    """Whether the group has a key: every node says the same."""
    (answer,) = {group.ask(node, "EXISTS", key, role="application") for node in NODES}
    return bool(answer)


def saved(group: Sandbox, key: str) -> list[Path]:
    """Files of replaced data with this key, beside whose file is its description."""
    files = [file for node in NODES for file in (group.directory / node / "data").glob(f"{node}-*.rdb")]
    return [file for file in files if key.encode() in file.read_bytes() and file.with_suffix(".json").exists()]


def primary_of(group: Sandbox) -> str:
    (primary,) = group.primaries()
    return primary


def nothing_left(group: Sandbox) -> None:
    """No second server, and nothing of it on any disk."""
    assert not [node for node in NODES if (group.directory / node / "data" / "restore").exists()]
    conf = [pid for pid in group.processes.all() if b"/restore/" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert not conf


@pytest.mark.every_engine_in_ci
def test_a_restore_replaces_what_was_written_since_and_saves_it_first(group: Sandbox, tmp_path: Path) -> None:
    file = backup(group, tmp_path)
    group.ask("proxy-1", "DEL", "test:7", role="application")
    write(group, "own:since")
    with group.unchanged():
        refused = group.run("restore", backup=str(file)).refused("refused: holds-data demo", "accept_replace=yes")
        client = group.client("keydb-1", "application")
        keys = sum(not key.startswith("runbook:") for key in client.scan_iter(count=1000))
        client.connection_pool.disconnect()
        assert f"holds {keys:,} keys" in refused.text
        group.run("restore", backup=str(file), accept_replace="yes", dry=True).ok()

    done = group.run("restore", backup=str(file), accept_replace="yes").ok()

    group.healthy("keydb-2")
    eventually(lambda: len({group.keys(node) for node in NODES}) == 1, "everybody has the same")
    assert has(group, "test:7") and not has(group, "own:since")
    assert [path.parent.parent.name for path in saved(group, "own:since")] == ["keydb-1"]
    assert group.ask("keydb-2", "GET", "runbook:epoch") == "2"
    assert group.findings() == []
    nothing_left(group)
    # At most one full resync at a time.
    order = [line.split()[1] for line in done.text.splitlines() if "is in sync with keydb-2" in line]
    assert order == ["keydb-3", "keydb-1"]
    with group.unchanged():
        assert "already-restored" in group.run("restore", backup=str(file)).ok().text


@pytest.mark.first_engine
def test_an_empty_group_is_filled_and_a_group_of_one_too(group: Sandbox, nothing: Sandbox, tmp_path: Path) -> None:
    file = backup(group, tmp_path)
    nothing.install().ok()
    nothing.run("restore", backup=str(file)).ok()
    nothing.healthy(primary_of(nothing))
    assert has(nothing, "test:7")
    nothing_left(nothing)
    # What replaced data is a backup as well; nobody follows, so the primary loads it itself.
    write(nothing, "own:since")
    primary = primary_of(nothing)
    others = [node for node in NODES if node != primary]
    for node in others:
        nothing.kill(node)
    again = nothing.run("restore", backup=str(file), accept_replace="yes", accept_again="yes")
    again.refused("refused: node-refused", "allow_unread=")
    options = {"allow_unread": ",".join(others), "accept_minority_lock": "yes"}
    nothing.run("restore", backup=str(file), accept_replace="yes", accept_again="yes", **options).ok()
    assert primary_of(nothing) == primary
    assert nothing.ask(primary, "EXISTS", "own:since", role="application") == 0
    assert saved(nothing, "own:since")


def test_a_file_that_is_not_as_described_or_not_for_this_server_changes_nothing(group: Sandbox, tmp_path: Path) -> None:
    file = backup(group, tmp_path)
    good, description = file.read_bytes(), file.with_suffix(".json")
    described = json.loads(description.read_text())
    given = {"backup": str(file), "accept_replace": "yes"}

    def describe(**changed: object) -> None:
        description.write_text(json.dumps({**described, **changed}))

    spoiled = good[:200] + b"\xff\xff\xff" + good[203:]
    with group.unchanged():
        group.run("restore", accept_replace="yes").refused("refused: no-backup-named")
        file.write_bytes(spoiled)
        group.run("restore", **given).refused("refused: bad-backup", "it was changed, or cut short")
        file.write_bytes(good[:-1])
        group.run("restore", **given).refused("refused: bad-backup")
        file.write_bytes(good)
        describe(format=2)
        group.run("restore", **given).refused("refused: bad-backup", "another format than 1")
        describe(engine="dragonfly")
        group.run("restore", **given).refused("refused: other-engine keydb-2")
        describe(version="99.0")
        group.run("restore", **given).refused("refused: older-server keydb-2")
        describe(version="unstable")
        group.run("restore", **given).refused("refused: older-server keydb-2")
        description.unlink()
        group.run("restore", **given).refused("refused: bad-backup", "can't be read: No such file")
    # Its description is right, and the server's own check finds what is wrong; then a disk is full.
    file.write_bytes(spoiled)
    describe(sha256=hashlib.sha256(spoiled).hexdigest())
    group.run("restore", **given).refused(f"{group.engine}-check-rdb", "failed and unchanged")
    file.write_bytes(good)
    describe()
    group.around = ("prlimit", "--fsize=1000")
    full = group.run("restore", **given)
    group.around = ()
    full.refused("can't be written; is its disk full?", "failed and unchanged")
    group.healthy("keydb-1")
    nothing_left(group)


def test_a_group_that_is_not_known_whole_is_refused(group: Sandbox, tmp_path: Path) -> None:
    """Who is silent may hold a newer promotion, and a second primary may have clients."""
    given = {"backup": str(backup(group, tmp_path)), "accept_replace": "yes"}
    group.freeze("keydb-3")
    group.run("restore", **given).refused("refused: node-no-answer keydb-3", "allow_unread=keydb-3")
    group.run("restore", **given, to="keydb-3", allow_unread="keydb-3").refused("refused: target-unread keydb-3")
    group.thaw("keydb-3")
    eventually(lambda: group.answers("keydb-3"), "keydb-3 answers")
    group.ask("keydb-3", "CONFIG", "SET", "min-replicas-to-write", "0")
    group.ask("keydb-3", "REPLICAOF", "NO", "ONE")
    group.ask("keydb-3", "SET", "runbook:epoch", "5")
    with group.unchanged():
        group.run("restore", **given).refused("refused: several-primaries")


def test_a_silent_primary_that_may_take_writes_is_no_reason_to_make_a_second_one(
    group: Sandbox, tmp_path: Path
) -> None:
    given = {"backup": str(backup(group, tmp_path)), "accept_replace": "yes", "allow_unread": "keydb-1"}
    group.freeze("keydb-1")
    with group.unchanged():
        refused = group.run("restore", **given, keydb_clients_only_through_proxies="False")
        refused.refused("refused: not-fenced", "keydb-1 may still take writes", "accept_split=yes")


def test_a_primary_that_is_named_loads_it_and_everybody_is_saved_first(group: Sandbox, tmp_path: Path) -> None:
    file = backup(group, tmp_path)
    write(group, "own:since")
    group.run("restore", backup=str(file), accept_replace="yes", to="keydb-1").ok()
    group.healthy("keydb-1")
    assert not has(group, "own:since")
    assert sorted(path.parent.parent.name for path in saved(group, "own:since")) == list(NODES)
    nothing_left(group)


ROUNDS = 4


@pytest.mark.in_ci
@pytest.mark.first_engine
@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.slow) for turn in range(1, 6))])
def test_a_restore_that_is_killed_is_finished_or_undone_by_the_same_command(
    group: Sandbox, tmp_path: Path, turn: int
) -> None:
    file = backup(group, tmp_path)
    write(group, "own:0")
    given = {"backup": str(file), "accept_replace": "yes"}
    run_at(group, "restore", None, "", NAMES, **given).ok()
    listed = [moment for moment in moments(commands(group)) if changes(moment.command)]
    for number, moment in enumerate(spread(listed, ROUNDS, turn), start=1):
        # Every round in the same world: keydb-1 is the primary, and its group's backup is another one.
        if primary_of(group) != "keydb-1":
            group.run("switchover", to="keydb-1").ok()
            group.healthy("keydb-1")
        given["backup"] = str(backup(group, tmp_path / str(number)))
        write(group, f"own:{number}")
        died = run_at(group, "restore", moment, "kill", NAMES, **given)
        # How often a write through the proxy is tried is another number each time.
        assert died.code == -9 or VERIFY_KEY in moment.command, f"{moment}: {died.text}"
        primaries = [node for node in NODES if group.role(node) == "master" and not group.paused(node)]
        assert len(primaries) <= 1, moment

        again = group.run("restore", **given)

        assert again.code == 0, f"{moment}: {again.text}"
        group.healthy(primary_of(group))
        eventually(lambda: len({group.keys(node) for node in NODES}) == 1, f"{moment}: everybody has the same")
        assert not has(group, f"own:{number}"), moment
        assert saved(group, f"own:{number}"), moment
        nothing_left(group)


def slowly_restoring(group: Sandbox, file: Path) -> subprocess.Popen[str] | Run:
    """A restore in the middle of taking over: the second server has its settings from the node's file."""
    with group.config("keydb-2").open("a") as settings:
        settings.write(f"rdb-key-save-delay {8_000_000 // group.keys('keydb-2')}\n")
    given = ("--data", f"backup={file}", "--data", "accept_replace=yes")
    run = group.start(INVENTORY, "deploys/restore.py", *given, "-y")
    eventually(lambda: group.info("keydb-2").get("master_sync_in_progress") == 1, "it takes over", 30)
    return run


def second_server(group: Sandbox) -> int:
    return int((group.directory / "keydb-2" / "data" / "restore" / "pid").read_text())


@pytest.mark.every_engine_in_ci
@pytest.mark.parametrize("who", ["keydb-2", "the second server"])
def test_silence_while_a_node_takes_over_is_waited_for(group: Sandbox, tmp_path: Path, who: str) -> None:
    """A large backup makes both silent: who throws its own data away, and who forks."""
    run = slowly_restoring(group, backup(group, tmp_path))
    pid = second_server(group) if who == "the second server" else group.pid(who)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    time.sleep(6)
    os.kill(pid, signal.SIGCONT)
    text, _ = run.communicate(timeout=60)

    assert run.returncode == 0, text
    told = [line for line in waits(text) if line.startswith("keydb-2 is not in sync with the second server yet: ")]
    assert [line for line in told if "did not answer in time" in line], text
    group.healthy("keydb-2")
    nothing_left(group)


@pytest.mark.first_engine
def test_a_second_server_that_is_gone_is_told_at_once_and_the_node_follows_again(
    group: Sandbox, tmp_path: Path
) -> None:
    run = slowly_restoring(group, backup(group, tmp_path))
    os.kill(second_server(group), signal.SIGKILL)
    began = time.monotonic()
    text, _ = run.communicate(timeout=60)

    assert time.monotonic() - began < 20
    assert run.returncode == 1, text
    assert "the second server ended before all was taken over" in " ".join(text.split()), text
    assert "failed and unchanged" in text, text
    group.healthy("keydb-1")


@pytest.mark.first_engine
def test_of_two_nodes_the_old_primary_may_die_before_its_save(group: Sandbox, tmp_path: Path) -> None:
    """The other one saved the same before it gave it up."""
    given = {"backup": str(backup(group, tmp_path)), "accept_replace": "yes", "allow_unread": "keydb-3"}
    write(group, "own:since")
    group.kill("keydb-3")
    promoted = (
        "keydb-2: CONFIG SET min-replicas-to-write 0 + REPLICAOF NO ONE + SET runbook:epoch + SET runbook:restored"
        " + CONFIG SET min-replicas-to-write 1 #1"
    )
    kill = f"kill -9 {group.pid('keydb-1')}"
    left = run_at(group, "restore", Moment(promoted, "answered"), kill, NAMES, **given)

    left.refused("failed and incomplete")
    assert group.role("keydb-2") == "master" and not group.ask("keydb-2", "EXISTS", "own:since", role="application")
    assert [path.parent.parent.name for path in saved(group, "own:since")] == ["keydb-2"]


@pytest.mark.first_engine
def test_a_second_server_that_was_left_on_another_node_is_ended(group: Sandbox, tmp_path: Path) -> None:
    given = {"backup": str(backup(group, tmp_path)), "accept_replace": "yes"}
    taking_over = Moment("keydb-2: REPLICAOF second-server #1", "sent")
    assert run_at(group, "restore", taking_over, "kill", NAMES, **given).code == -9
    assert (group.directory / "keydb-2" / "data" / "restore").exists()

    again = group.run("restore", **given).ok()

    assert "end the second server" in again.text
    nothing_left(group)
    group.healthy(primary_of(group))


@pytest.mark.first_engine
def test_what_was_written_behind_the_promotion_of_a_run_that_died_is_kept(group: Sandbox, tmp_path: Path) -> None:
    given = {"backup": str(backup(group, tmp_path)), "accept_replace": "yes"}
    write(group, "own:before")
    run_at(group, "restore", None, "", NAMES, **given).ok()
    listed = commands(group)
    behind = next(one for one in listed if one.startswith("keydb-3: REPLICAOF keydb-2"))
    group.run("switchover", to="keydb-1").ok()
    group.healthy("keydb-1")
    given["backup"] = str(backup(group, tmp_path / "second"))
    write(group, "own:second")
    died = run_at(group, "restore", Moment(behind, "answered"), "kill", NAMES, **given)
    assert died.code == -9, died.text
    eventually(lambda: group.writable("own:behind"), "clients write on the restored data", 20)

    group.run("restore", **given).ok()

    group.healthy("keydb-2")
    eventually(lambda: len({group.keys(node) for node in NODES}) == 1, "everybody has the same")
    assert has(group, "own:behind") and not has(group, "own:second")
    assert saved(group, "own:second")

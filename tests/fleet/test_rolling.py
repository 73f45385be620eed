"""Restart and upgrade on machines: systemd restarts, the boot guard looks on, clients write through a proxy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import NODES, Fleet
from tests.fleet.machine import eventually
from tests.fleet.test_verbs import is_healthy
from tests.fleet.writer import writing
from tests.sandbox.versions import renamed, version_of

NEWER = "/opt/newer"


@pytest.fixture
def group(installed: Fleet) -> Iterator[Fleet]:
    """The group with keydb-1 as its primary, before and after."""
    yield installed
    if installed.primaries() != ["keydb-1"]:
        installed.run("switchover", to="keydb-1").ok()
    eventually(lambda: is_healthy(installed, "keydb-1"), "the group is as it was", 30)


def processes(fleet: Fleet) -> list[str]:
    return [str(fleet.info(name)["run_id"]) for name in NODES]


def full_syncs(fleet: Fleet) -> int:
    """How often anybody got all data anew, by the logs: a process's own count ends with it."""
    told = [machine.shell("cat /var/log/keydb/*.log", check=False) for machine in fleet.nodes]
    return sum(text.count("Full resync from ") for text in told)


def test_restart_and_upgrade_lose_nothing_and_leave_nothing_to_mend(group: Fleet, tmp_path: Path) -> None:
    before, full = processes(group), full_syncs(group)
    with writing(group) as writer:
        restarted = group.run("restart").ok()
        writer.goes_on()
        assert not set(processes(group)) & set(before)
        assert group.primaries() == ["keydb-2"]

        newer = renamed(group.program, tmp_path / "newer")
        program = f"{NEWER}/{group.engine}-server"
        for machine in group.nodes:
            path = machine.root / program.lstrip("/")
            path.parent.mkdir(parents=True)
            shutil.copy2(tmp_path / "newer", path)
        upgraded = group.run("upgrade", keydb_server=program).ok()
        writer.goes_on()
        assert {group.version(name) for name in NODES} == {newer}
        assert all(program in machine.shell(f"systemctl cat {group.engine}-server") for machine in group.nodes)
        assert group.primaries() == ["keydb-1"]

        # What install wants is the old one: upgrade goes back to it as well, since it reads the same files.
        group.run("upgrade").ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
    print(
        f"restart in {restarted.seconds:.1f} s, upgrade in {upgraded.seconds:.1f} s, longest gap of a client "
        f"{writer.gap() * 1000:.0f} ms"
    )
    assert full_syncs(group) == full
    assert {group.version(name) for name in NODES} == {version_of(group.program)}
    assert group.findings() == []
    assert group.run("install").ok().changed() == 0

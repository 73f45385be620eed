"""A group that somebody made by hand is taken over as it is (docs/adopt.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import NODES, PROXIES, Fleet
from tests.fleet.handmade import CONFIG, HOME, UNIT, HandMade
from tests.fleet.machine import eventually
from tests.fleet.network import HERE
from tests.fleet.writer import writing

KEPT = {"maxmemory": str(96 << 20), "maxmemory-policy": "volatile-lru", "hz": "20", "dbfilename": "sessions.rdb"}


@pytest.fixture
def made(fleet: Fleet) -> Iterator[HandMade]:
    group = HandMade(fleet)
    try:
        yield group
    finally:
        group.remove()


def test_a_group_made_by_hand_is_taken_over_without_a_restart(made: HandMade, tmp_path: Path) -> None:
    fleet = made.fleet
    processes, files = made.processes(), made.files()

    # Nobody said that it is to be adopted, or not everything about it.
    own = {"keydb_tls_certificate": "certificate.pem", "keydb_tls_key": "key.pem"} if made.ca else {}
    paths = {key: str(made.home / "pki" / name) for key, name in own.items()}
    made.write_inventory({"keydb_adopted": None, **paths}, admin=False)
    fleet.run("install").refused("refused: not-ours", "keydb_adopted = True takes it over")
    made.write_inventory({}, admin=False)
    fleet.run("install").refused("refused: not-ours", "add keydb_users.admin")
    made.write_inventory({"keydb_data_directory": "/var/lib/kv", "keydb_system_user": "kv", "keydb_unit": None})
    refused = fleet.run("install").refused("refused: not-ours", "look at keydb_data_directory")
    assert f"systemd knows no {fleet.engine}-server.service: say in keydb_unit" in " ".join(refused.text.split())
    made.write_inventory({})
    shown = fleet.run("install", dry=True).ok()
    assert f"keydb-1: {CONFIG}: user operator: is missing" in shown.text
    assert (made.processes(), made.files()) == (processes, files)

    with writing(fleet, user="default") as writer:
        adopted = fleet.run("install").ok()
        writer.goes_on()
        assert adopted.changed() > 0
        assert made.processes() == processes
        assert findings(fleet) == []
        again = fleet.run("install").ok()
        assert again.changed() == 0, again.text
        drift = fleet.run("drift")
        assert "4 drifted, 0 unknown" in drift.text and "no-epoch" in drift.text, drift.text
        assert "umask-open keydb-1, keydb-2, keydb-3" in drift.text, "they were not started by install's drop-in"
        for name in NODES:
            held = {key: fleet.ask(name, "CONFIG", "GET", key)[1] for key in KEPT}  # type: ignore[index]
            assert held == KEPT
            text = fleet[name].shell(f"cat {CONFIG}")
            assert all(line in text for line in ("maxmemory-policy volatile-lru", "hz 20", "daemonize yes"))
            assert fleet[name].shell(f"stat -c '%a %U:%G' {CONFIG}") == "600 kv:store"

        moved = fleet.run("switchover", to="keydb-2").ok()
        writer.goes_on()
        assert made.processes() == processes
        # The roles were saved, each by a server that leaves its file to others.
        assert fleet["keydb-2"].shell(f"stat -c %a {CONFIG}") == "644"
        drift = " ".join(fleet.run("drift").text.split())
        assert "3 drifted, 0 unknown" in drift, drift
        told = f"{CONFIG} has mode 644, and passwords in it that are nobody else's to read; run restart first"
        assert f"file-open keydb-1, keydb-2, keydb-3: {CONFIG} {told}" in drift, drift

        # Only now they start guarded; the primary comes last, by a switchover.
        fleet.run("restart").ok()
        writer.goes_on()
        assert not {*made.processes()} & {row for row in processes if row.startswith("keydb")}
        assert [row for row in made.processes() if row.startswith("proxy")] == processes[3:]
        assert writer.lost(tmp_path) == 0
    assert fleet.primaries() != ["keydb-2"]
    print(f"adopted in {adopted.seconds:.1f} s, a switchover in {moved.seconds:.1f} s")
    eventually(lambda: findings(fleet) == [], "the group is well", 30)
    for name in NODES:
        fleet[name].shell(f"chmod 600 {CONFIG}")
    drift = fleet.run("drift").text
    assert "sessions: " in drift
    assert {*re.findall("^(?:critical|warning|notice|unknown) +(\\S+)", drift, re.MULTILINE)} <= {"link-silent"}, drift
    again = fleet.run("install").ok()
    assert again.changed() == 0, again.text
    for name in NODES:
        assert fleet.ask(name, "GET", "session:499", role="application") == "499"
        assert f"boot-guard pre /opt/kv/{fleet.engine}-server {CONFIG} --loglevel notice" in fleet[name].shell(
            f"systemctl cat {UNIT}"
        )
        assert fleet[name].shell(f"stat -c %U /proc/$(cat {HOME}/run/kv.pid)") == "kv"
    for name in PROXIES:
        assert fleet.writable(name)

    # A machine that boots has its role back by the guard.
    (primary,) = fleet.primaries()
    replica = next(name for name in NODES if name != primary)
    fleet[replica].reboot()
    fleet.wait([replica])
    eventually(lambda: replica in fleet.replicas_of(primary), "it follows again", 60)
    is_given_back(made, primary, replica, files, tmp_path)


def is_given_back(made: HandMade, primary: str, replica: str, before: list[str], folder: Path) -> None:
    """Nothing of install is left but the users in the servers' files, and all go on as they ran.

    :param before: what all files were before it was adopted
    """
    fleet = made.fleet
    fleet.run("uninstall", node=replica).refused("refused: adopted", "whole_group=sessions gives all of it back")
    fleet.run("uninstall", node="proxy-1").refused("refused: adopted", "somebody else's HAProxy")
    fleet.run("uninstall", whole_group="sessions", remove_data="yes").refused("refused: not-ours")
    fleet[replica].shell(f"systemctl stop {UNIT}")
    fleet.run("uninstall", whole_group="sessions").refused("refused: not-in-order", replica, "node-refused")
    fleet.run("start").ok()
    eventually(lambda: findings(fleet) == [], "the guard gave it its role back", 60)

    fleet.run("install", keydb_firewall="true", keydb_firewall_allow=json.dumps([HERE])).ok()
    assert all("runbooks_" in fleet[name].shell("nft list tables") for name in NODES)
    processes = made.processes()
    with writing(fleet, user="default") as writer:
        told = fleet.run("uninstall", whole_group="sessions").ok()
        writer.goes_on()
        assert made.processes() == processes
        assert writer.lost(folder) == 0
    print(f"given back in {told.seconds:.1f} s")
    changed = [foreign(now) ^ foreign(text) for now, text in zip(made.files(), before, strict=True)]
    assert not any(changed), changed
    for name in NODES:
        assert fleet[name].shell(f"systemctl show --value --property=NeedDaemonReload {UNIT}") == "no"
        assert "boot-guard" not in fleet[name].shell(f"systemctl cat {UNIT}")
        assert "runbooks_" not in fleet[name].shell("nft list tables")
        assert fleet[name].shell("systemctl list-units --all --plain --no-legend 'kv-guard*'", check=False) == ""
        assert f"{CONFIG} stays, with the users in it" in " ".join(told.text.split())
    assert fleet.run("uninstall", whole_group="sessions").ok().changed() == 0

    # Its own unit starts each server with the role that it had, the primary too.
    for name in (replica, primary):
        fleet[name].shell(f"systemctl restart {UNIT}")
        eventually(lambda: fleet.primaries() == [primary] and findings(fleet) == [], f"{name} is back", 30)
    assert fleet.ask(primary, "GET", "session:499", role="application") == "499"
    # Who regrets it adopts it again.
    fleet.run("install").ok()
    eventually(lambda: findings(fleet) == [], "the group is well", 30)


def findings(fleet: Fleet) -> list[str]:
    """What status finds, but for links without traffic: these servers ping each other every 10 s, as they always did."""
    return [code for code in fleet.findings() if code != "link-silent"]


def foreign(text: str) -> set[str]:
    """Of the sums of a machine's files those that adoption left alone."""
    return {line for line in text.splitlines() if CONFIG not in line and "/run/" not in line}

"""A group that somebody made by hand is taken over as it is (docs/adopt.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import NODES, PROXIES, Fleet
from tests.fleet.handmade import CONFIG, HOME, UNIT, HandMade
from tests.fleet.machine import eventually
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
        assert fleet.findings() == []
        again = fleet.run("install").ok()
        assert again.changed() == 0, again.text
        drift = fleet.run("drift")
        assert "1 drifted, 0 unknown" in drift.text and "no-epoch" in drift.text, drift.text
        for name in NODES:
            held = {key: fleet.ask(name, "CONFIG", "GET", key)[1] for key in KEPT}  # type: ignore[index]
            assert held == KEPT
            text = fleet[name].shell(f"cat {CONFIG}")
            assert all(line in text for line in ("maxmemory-policy volatile-lru", "hz 20", "daemonize yes"))
            assert fleet[name].shell(f"stat -c '%a %U:%G' {CONFIG}") == "600 kv:store"

        moved = fleet.run("switchover", to="keydb-2").ok()
        writer.goes_on()
        assert made.processes() == processes
        drift = fleet.run("drift")
        assert drift.code == 0, drift.text

        # Only now they start guarded; the primary comes last, by a switchover.
        fleet.run("restart").ok()
        writer.goes_on()
        assert not {*made.processes()} & {row for row in processes if row.startswith("keydb")}
        assert [row for row in made.processes() if row.startswith("proxy")] == processes[3:]
        assert writer.lost(tmp_path) == 0
    assert fleet.primaries() != ["keydb-2"]
    print(f"adopted in {adopted.seconds:.1f} s, a switchover in {moved.seconds:.1f} s")
    eventually(lambda: fleet.findings() == [], "the group is well", 30)
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
    fleet.run("uninstall", node=replica).refused("refused: adopted")

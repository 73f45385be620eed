"""Add-node and remove-node on machines: systemd, boot guards that look on, two proxies, clients that write."""

from __future__ import annotations

from pathlib import Path

from tests.fleet.fleet import NODES, Fleet
from tests.fleet.machine import eventually
from tests.fleet.test_verbs import is_healthy
from tests.fleet.writer import writing

SETTINGS = "/etc/keydb/boot-guard.env"
STAY = ("keydb-1", "keydb-2")


def test_a_machine_leaves_the_group_and_a_new_one_joins(installed: Fleet, tmp_path: Path) -> None:
    unit, leaving = f"{installed.engine}-server", installed["keydb-3"]
    processes = [installed.info(name)["run_id"] for name in STAY]
    with writing(installed) as writer:
        left = installed.run("remove_node", node="keydb-3").ok()
        writer.goes_on()
        assert leaving.shell(f"systemctl is-active {unit}", check=False) == "inactive"
        assert leaving.shell(f"systemctl is-enabled {unit}", check=False) != "enabled"
        assert leaving.shell("ls /var/lib/keydb/dump.rdb")
        for name in STAY:
            assert "keydb-3" not in installed[name].shell(f"cat {SETTINGS}")
        for machine in installed.proxies:
            assert "keydb-3" not in machine.shell("cat /etc/haproxy/haproxy.cfg")
        assert installed.run("remove_node", node="keydb-3").ok().changed() == 0

        # The new machine has nothing on it.
        leaving.shell("find /var/lib/keydb -mindepth 1 -delete; rm -rf /etc/keydb")
        joined = installed.run("add_node", node="keydb-3").ok()
        writer.goes_on()
        eventually(lambda: is_healthy(installed, "keydb-1"), "the group is whole", 30)
        for name in NODES:
            assert "keydb-3=" in installed[name].shell(f"cat {SETTINGS}")
        assert installed.run("add_node", node="keydb-3").ok().changed() == 0
        assert writer.lost(tmp_path) == 0
    assert [installed.info(name)["run_id"] for name in STAY] == processes
    assert installed.run("install").ok().changed() == 0
    drift = installed.run("drift")
    assert drift.code == 0, drift.text
    print(
        f"remove-node in {left.seconds:.1f} s, add-node in {joined.seconds:.1f} s, longest gap of a client "
        f"{writer.gap() * 1000:.0f} ms"
    )

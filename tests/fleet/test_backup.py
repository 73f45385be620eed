"""A backup from a machine, a restore onto machines, and a node that is taken away and comes back."""

from __future__ import annotations

from pathlib import Path

from tests.fleet.fleet import PROXIES, Fleet
from tests.fleet.machine import eventually
from tests.fleet.test_verbs import group, is_healthy, rejoin  # noqa: F401 - a fixture of theirs


def test_a_backup_comes_back_and_what_it_replaces_is_saved(group: Fleet, tmp_path: Path) -> None:  # noqa: F811
    assert group.ask("keydb-1", "SET", "test:kept", "x", role="application")
    made = group.run("backup", save_to=str(tmp_path)).ok()
    (file,) = tmp_path.glob("*.rdb")
    assert file.stat().st_mode & 0o777 == 0o600
    assert group.ask("keydb-1", "SET", "test:since", "x", role="application")
    group.run("restore", backup=str(file)).refused("refused: holds-data")

    restored = group.run("restore", backup=str(file), accept_replace="yes").ok()

    print(f"by SSH: a backup in {made.seconds:.1f} s, a restore in {restored.seconds:.1f} s")
    eventually(lambda: is_healthy(group, "keydb-2"), "everybody follows the node that loaded it", 20)
    for node in group.nodes:
        assert group.ask(node.name, "EXISTS", "test:kept", role="application") == 1
        assert group.ask(node.name, "EXISTS", "test:since", role="application") == 0
        assert node.shell("ls -d /var/lib/keydb/restore /var/lib/keydb/backup-* 2>/dev/null", check=False) == ""
    saved = group["keydb-1"].shell("stat -c '%a %U' /var/lib/keydb/keydb-1-*.rdb")
    assert saved.startswith("600")
    assert group.run("install").ok().changed() == 0
    assert "already-restored" in group.run("restore", backup=str(file), accept_replace="yes").ok().text


def test_a_node_that_is_uninstalled_leaves_its_data_and_comes_back(group: Fleet) -> None:  # noqa: F811
    (primary,) = group.primaries()
    name = next(node.name for node in group.nodes if node.name != primary)
    group.run("uninstall", node=primary).refused(f"refused: primary {primary}")

    group.run("uninstall", node=name).ok()

    gone = group[name]
    unit = f"{group.engine}-server"
    assert gone.shell(f"systemctl is-active {unit} {unit}-guard", check=False).split()[0] in ("inactive", "unknown")
    assert gone.shell("ls /etc/systemd/system | grep -E 'keydb|valkey|redis'", check=False) == ""
    assert gone.shell("ls -A /etc/keydb 2>/dev/null", check=False) == ""
    assert "dump.rdb" in gone.shell("ls /var/lib/keydb")
    assert all(map(group.writable, PROXIES))
    assert group.run("uninstall", node=name).ok().changed() == 0
    group.run("install")
    rejoin(group)
    eventually(lambda: is_healthy(group, primary), "it follows again", 30)

"""Uninstall: nothing of install is left but what it says, and no group loses its primary by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit import NODES, Sandbox, eventually

STAYS = {"server.log", "history.jsonl", "passwords.json", "journal.txt"}


def left(group: Sandbox, *, data: bool) -> list[Path]:
    """Files of install that are still there."""
    files = [path for path in group.directory.rglob("*") if path.is_file() or path.is_socket()]
    return [path for path in files if path.name not in STAYS and (data or path.parent.name != "data")]


def no_change(group: Sandbox, **options: str) -> None:
    hosts, success, error, same = group.run("uninstall", **options).ok().total()
    assert (success, error, same) == (0, 0, hosts)


def test_what_is_not_named_and_a_primary_stay(group: Sandbox) -> None:
    with group.unchanged():
        group.run("uninstall").refused("refused: nothing-named demo", "whole_group=demo")
        group.run("uninstall", node="keydb-2", whole_group="demo").refused("refused: nothing-named demo")
        group.run("uninstall", node="keydb-9").refused("refused: unknown-member keydb-9")
        group.run("uninstall", whole_group="dem").refused("refused: other-group dem")
        group.run("uninstall", node="keydb-1", remove_data="yes").refused("refused: primary keydb-1", "run switchover")
        group.run("uninstall", node="keydb-3", dry=True).ok()
    group.freeze("keydb-3")
    group.run("uninstall", node="keydb-3").refused("refused: node-unread keydb-3", "may be the primary")
    group.thaw("keydb-3")


def test_a_replica_goes_and_the_group_goes_on(group: Sandbox) -> None:
    group.run("uninstall", node="keydb-3").ok()
    no_change(group, node="keydb-3")
    assert group.pid("keydb-3") is None
    here = [path for path in left(group, data=False) if "keydb-3" in path.parts]
    assert here == []
    assert (group.directory / "keydb-3" / "data" / "dump.rdb").exists()
    assert group.writable()
    # It comes back with its data, as a replica.
    assert group.run("install").code == 0
    group.run("rejoin").ok()
    group.healthy("keydb-1")


@pytest.mark.first_engine
def test_a_whole_group_goes_with_its_data_saved_or_removed(group: Sandbox) -> None:
    eventually(lambda: group.writable("own:last"), "a last write")
    for node in NODES[1:]:
        eventually(lambda node=node: group.ask(node, "EXISTS", "own:last", role="application"), f"{node} has it")
        # Nothing is saved by itself.
        group.ask(node, "CONFIG", "SET", "save", "")
    group.run("uninstall", whole_group="demo").ok()
    assert not group.processes.all()
    assert left(group, data=False) == []
    for node in NODES:
        assert b"own:last" in (group.directory / node / "data" / "dump.rdb").read_bytes()
    no_change(group, whole_group="demo")

    # The same group again, with its data: nobody is the primary until somebody says so.
    group.run("install").ok()
    group.run("failover").ok()
    group.healthy(group.primaries()[0])
    told = group.run("uninstall", whole_group="demo", remove_data="yes").ok().text
    assert "keys are gone with the data: is there a backup?" in " ".join(told.split())
    assert left(group, data=True) == []
    no_change(group, whole_group="demo", remove_data="yes")


def test_a_configuration_that_install_did_not_write_stays(group: Sandbox) -> None:
    config = group.config("keydb-3")
    config.write_text("\n".join(line for line in config.read_text().splitlines() if "Written by" not in line) + "\n")
    told = group.run("uninstall", node="keydb-3").ok().text
    assert "keydb.conf stays: install did not write it" in told
    assert config.exists()
    no_change(group, node="keydb-3")

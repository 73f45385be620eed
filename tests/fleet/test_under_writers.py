"""Verbs beside switchover, failover, restart and rotate, while clients write through a proxy.

What is acknowledged is there afterwards, but for what a plan announced.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.fleet.fleet import NODES, Fleet
from tests.fleet.machine import eventually
from tests.fleet.test_verbs import as_told, group, is_healthy  # noqa: F401 - a fixture of theirs
from tests.fleet.writer import Writer, writing


def holds_back(writer: Writer) -> None:
    """No write is acknowledged any more."""
    before = writer.acknowledged()
    time.sleep(0.5)
    assert writer.acknowledged() == before, "somebody acknowledges writes"


def test_verbs_that_move_no_role_lose_nothing(group: Fleet, tmp_path: Path) -> None:  # noqa: F811
    unit = f"{group.engine}-server"
    with writing(group) as writer:
        for verb, data in [
            ("backup", {"save_to": str(tmp_path)}),
            ("fence", {"node": "keydb-3"}),
            ("unfence", {"node": "keydb-3"}),
            ("install", {}),
        ]:
            group.run(verb, **data).ok()
            writer.goes_on()
        # Nobody of them had to wait.
        assert writer.refused() == 0

        group.run("fence", node="keydb-1").ok()
        holds_back(writer)
        group.run("unfence", node="keydb-1").ok()
        writer.goes_on()

        group.ask("keydb-1", "CLIENT", "PAUSE", 10**12, "WRITE")
        holds_back(writer)
        group.run("abort").ok()
        writer.goes_on()

        group["keydb-3"].shell(f"systemctl stop {unit}")
        group.run("start").ok()
        eventually(lambda: is_healthy(group, "keydb-1"), "its guard let it follow", 30)
        writer.goes_on()
        assert writer.lost(tmp_path) == 0


def test_the_role_goes_by_hand_from_one_node_to_the_other_and_loses_nothing(
    group: Fleet,  # noqa: F811
    tmp_path: Path,
) -> None:
    with writing(group) as writer:
        # Nothing comes any more, so the others have all of it.
        group.run("fence", node="keydb-1").ok()
        group["keydb-1"].shell(f"systemctl stop {group.engine}-server")
        for verb, data, primaries in (
            ("promote", {"to": "keydb-2"}, ["keydb-2"]),
            ("demote", {"node": "keydb-2"}, []),
            ("promote", {"to": "keydb-2"}, ["keydb-2"]),
        ):
            group.run(verb, **data).ok()
            assert group.primaries() == primaries
            holds_back(writer)
        group.run("start").ok()
        as_told(group, "rejoin").ok()
        writer.goes_on()
        group.run("unfence", node="keydb-1").ok()
        eventually(lambda: is_healthy(group, "keydb-2"), "everybody follows the new primary", 30)
        writer.goes_on()
        assert writer.lost(tmp_path) == 0


def test_a_restore_loses_what_was_written_since_its_backup_and_nothing_else(
    group: Fleet,  # noqa: F811
    tmp_path: Path,
) -> None:
    with writing(group) as writer:
        begun = time.monotonic()
        group.run("backup", save_to=str(tmp_path)).ok()
        writer.goes_on()
        (file,) = tmp_path.glob("*.rdb")
        restored = group.run("restore", backup=str(file), accept_replace="yes").ok()
        ended = time.monotonic()
        assert "all that was written since the backup" in " ".join(restored.text.split())
        writer.goes_on()
        missing = writer.missing(tmp_path)
        assert missing, "what was written since the backup is still there"
        assert all(begun < write.seconds < ended for write in missing)
    (primary,) = group.primaries()
    eventually(lambda: is_healthy(group, primary), "everybody follows the node that loaded it", 30)
    assert {*group.replicas_of(primary), primary} == {*NODES}

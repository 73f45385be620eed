"""Machines on which verbs must not rely: a clock that is an hour off, and a disk on which nothing can be written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from keydb_runbooks.connectors.programs import find_server
from tests.fleet.fleet import Fleet
from tests.fleet.groups import another_group
from tests.fleet.machine import eventually
from tests.fleet.test_verbs import group, is_healthy, primary_lost, rejoin  # noqa: F401 - a fixture of theirs
from tests.fleet.writer import writing

HOUR = 3600


@pytest.fixture
def skewed(fleet: Fleet) -> Iterator[Fleet]:
    """A group whose first node's clock is an hour ahead, and whose third one's an hour behind, from their start on.

    Its engine is Valkey: the allocator of the others asks for the time before the library that lies can be loaded.
    """
    engine, program = find_server("valkey")
    with another_group(fleet, "skewed", 7600, engine, program) as made:
        for name, seconds in (("keydb-1", HOUR), ("keydb-3", -HOUR)):
            made[name].shift_clock("skewed.service", seconds)
        yield made
        for machine in made.nodes:
            machine.shift_clock("skewed.service", 0)


def skew(fleet: Fleet, name: str) -> float:
    """How far the clock of a server is ahead of the second one's, in seconds."""
    told = [float(str(fleet.info(one)["server_time_usec"])) for one in (name, "keydb-2")]
    return (told[0] - told[1]) / 1_000_000


@pytest.mark.slow
def test_the_role_moves_though_clocks_are_wrong(skewed: Fleet, tmp_path: Path) -> None:
    skewed.run("install").ok()
    eventually(lambda: is_healthy(skewed, "keydb-1"), "a group is founded", 30)
    assert abs(skew(skewed, "keydb-1") - HOUR) < 5
    assert abs(skew(skewed, "keydb-3") + HOUR) < 5
    with writing(skewed) as writer:
        # Away from a wrong clock, and to one.
        for name in ("keydb-2", "keydb-3"):
            moved = skewed.run("switchover", to=name).ok()
            assert "its clock is 3," in moved.text or "its clock is 36" in moved.text, moved.text
            writer.goes_on()
        assert writer.lost(tmp_path) == 0
    _, lost, acknowledged = primary_lost(skewed, "keydb-3", tmp_path)
    print(f"clocks an hour off: {lost} of {acknowledged} acknowledged writes lost by the failover")
    assert lost < 50


def test_a_primary_whose_disk_is_full_gives_its_role_away(group: Fleet, tmp_path: Path) -> None:  # noqa: F811
    full = group["keydb-1"]
    full.fill_disk()
    try:
        group.run("switchover", to="keydb-2").refused("disk-full")
        with writing(group) as writer:
            moved = group.run("switchover", to="keydb-2", accept="disk-full").ok()
            writer.goes_on()
            assert writer.lost(tmp_path) == 0
        assert group.primaries() == ["keydb-2"]
        assert "keydb-1" in group.replicas_of("keydb-2")
    finally:
        full.free_disk()
    print(f"a switchover away from a full disk: {moved.seconds:.1f} s, longest gap {writer.gap() * 1000:.0f} ms")


@pytest.mark.slow
def test_a_primary_whose_disk_is_full_is_lost_and_comes_back_when_it_has_room(group: Fleet, tmp_path: Path) -> None:  # noqa: F811
    full = group["keydb-1"]
    full.fill_disk()
    with writing(group) as writer:
        # It can't save, and takes no writes any more.
        with pytest.raises(redis.ResponseError):
            for _ in range(50):
                group.ask("keydb-1", "BGSAVE")
                eventually(lambda: not group.info("keydb-1")["rdb_bgsave_in_progress"], "it has tried to save")
                group.ask("keydb-1", "SET", "test:full", "x", role="application")
        full.power_off()
        failover = group.run("failover")
        assert "done: failover" in failover.text, failover.text
        writer.goes_on()
        full.power_on()
        full.wait()
        full.free_disk()
        assert rejoin(group).code == 0
        lost = writer.lost(tmp_path)
    (primary,) = group.primaries()
    assert primary != "keydb-1"
    eventually(lambda: is_healthy(group, primary), "everybody follows the new primary", 30)
    print(f"a primary with a full disk that is off: {lost} of {writer.acknowledged()} acknowledged writes lost")
    assert lost < 50

"""The verbs on machines, by SSH, while clients write through a proxy; and what only machines can do to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import NODES, PROXIES, Fleet, Result
from tests.fleet.machine import eventually
from tests.fleet.writer import writing

OTHERS = {name: [other for other in NODES if other != name] for name in NODES}


def is_healthy(fleet: Fleet, primary: str) -> bool:
    """One primary, both others follow it, and both proxies lead to it."""
    follow = fleet.primaries() == [primary] and fleet.replicas_of(primary) == OTHERS[primary]
    return follow and all(map(fleet.writable, PROXIES))


@pytest.fixture
def group(installed: Fleet) -> Iterator[Fleet]:
    """The group with keydb-1 as its primary, before and after."""
    yield installed
    for name, machine in installed.machines.items():
        if not machine.is_on:
            machine.power_on()
            installed.wait([name])
    if not is_healthy(installed, "keydb-1"):
        installed.run("start")
        rejoin(installed)
        installed.run("switchover", to="keydb-1")
        eventually(lambda: is_healthy(installed, "keydb-1"), "the group is as it was", 30)


def rejoin(fleet: Fleet) -> Result:
    """Run rejoin as it is; and if a node holds what nobody else has, once more with its leave to throw that away."""
    first = fleet.run("rejoin")
    asked = re.search(r"accept_loss=(\S+)", first.text)
    return fleet.run("rejoin", accept_loss=asked[1]) if asked else first


def fail_over(fleet: Fleet) -> tuple[Result, int]:
    """Run failover, and again while it refuses since the proxies have not given up the last sessions yet."""
    for tries in range(1, 6):
        result = fleet.run("failover")
        if "refused: not-fenced" not in result.text:
            return result, tries
    raise AssertionError(result.text)


def test_a_switchover_loses_nothing_and_comes_back(group: Fleet, tmp_path: Path) -> None:
    with writing(group) as writer:
        moved = group.run("switchover", to="keydb-2").ok()
        writer.goes_on()
        assert group.primaries() == ["keydb-2"]
        group.run("switchover", to="keydb-1").ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
    print(f"a switchover by SSH: {moved.seconds:.1f} s, longest gap of a client {writer.gap() * 1000:.0f} ms")
    eventually(lambda: is_healthy(group, "keydb-1"), "the group is as it was")
    # A role that moved is none that install moves back, and nothing of it is drift.
    assert group.run("install").ok().changed() == 0
    drift = group.run("drift")
    assert drift.code == 0, drift.text


@pytest.mark.parametrize("fault", ["power_off", "freeze", "cut"])
def test_a_failover_from_a_machine_that_is_gone(group: Fleet, fault: str, tmp_path: Path) -> None:
    gone = group["keydb-1"]
    with writing(group) as writer:
        getattr(gone, fault)()
        try:
            failover, tries = fail_over(group)
            assert "done: failover" in failover.text, failover.text
            writer.goes_on()
            (primary,) = group.primaries()
            assert primary != "keydb-1"
        finally:
            {"power_off": gone.power_on, "freeze": gone.thaw, "cut": gone.heal}[fault]()
            gone.wait()
        back = rejoin(group)
        assert back.code == 0, back.text
        writer.goes_on()
        lost, acknowledged = writer.lost(tmp_path), writer.acknowledged()
    print(
        f"{fault}: failover in {failover.seconds:.1f} s at try {tries} with code {failover.code}; longest gap "
        f"{writer.gap():.1f} s; {lost} of {acknowledged} acknowledged writes lost"
    )
    eventually(lambda: is_healthy(group, primary), "everybody follows the new primary", 20)
    # Acknowledged to a client, and sent to nobody else when the machine went.
    assert lost < 50

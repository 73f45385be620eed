"""Incidents, and somebody who does what README's card says and nothing else, until the group is well."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest
import redis
from kit import FAULTS, NODES, Sandbox, eventually

from tests.unit.card import first_row

pytestmark = pytest.mark.first_engine


def primary_killed(group: Sandbox) -> None:
    group.kill("keydb-1")
    eventually(lambda: not group.heard("keydb-1") if group.pid("keydb-1") else True, "it is gone")


def power_lost(group: Sandbox) -> None:
    for name in (*NODES, "proxy-1"):
        group.kill(name)


def proxy_killed(group: Sandbox) -> None:
    group.kill("proxy-1")


def replica_killed(group: Sandbox) -> None:
    group.kill("keydb-3")


def replicas_killed(group: Sandbox) -> None:
    group.kill("keydb-2")
    group.kill("keydb-3")


def switchover_killed_before_its_promotion(group: Sandbox) -> None:
    assert group.run(FAULTS, verb="switchover", to="keydb-2", die_after="Pause:2").code == -9


def switchover_killed_behind_its_promotion(group: Sandbox) -> None:
    assert group.run(FAULTS, verb="switchover", to="keydb-2", die_after="Promote:1").code == -9


def memory_full(group: Sandbox) -> None:
    """What the inventory gave it before is too little now; the same inventory without this option has raised it."""
    group.run("install", keydb_maxmemory="100kb").ok()
    with pytest.raises(redis.ResponseError, match="command not allowed"):
        group.client("keydb-1", "application").set("more", "x")


def save_failed(group: Sandbox) -> None:
    """It could write no file for a moment, as on a full disk; until the next save that succeeds it refuses writes."""
    pid = group.pid("keydb-1")
    assert pid is not None
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    group.ask("keydb-1", "BGSAVE")
    eventually(lambda: group.info("keydb-1")["rdb_last_bgsave_status"] == "err", "it could not save")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        group.client("keydb-1", "application").set("more", "x")


INCIDENTS = [
    memory_full,
    save_failed,
    primary_killed,
    power_lost,
    proxy_killed,
    replica_killed,
    replicas_killed,
    switchover_killed_before_its_promotion,
    switchover_killed_behind_its_promotion,
]


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.__name__)
def test_whoever_does_what_the_card_says_has_a_healthy_group(
    group: Sandbox, incident: Callable[[Sandbox], None]
) -> None:
    incident(group)
    done = follow_the_card(group)
    assert done
    [primary] = group.primaries()
    group.healthy(primary)


def follow_the_card(group: Sandbox) -> list[str]:
    """What was run, in order. A failed run is repeated once the proxy and the replicas have noticed what happened."""
    done: list[str] = []
    told: list[tuple[str, str, str]] = []

    def healthy() -> bool:
        nonlocal told
        findings = group.status()["findings"]
        told = [(one["code"], one["severity"], one["sentence"]) for one in findings]  # type: ignore[attr-defined]
        deploys = first_row(told)
        if deploys:
            result = group.run(deploys[0])
            done.append(f"{deploys[0]}: {result.code}")
        return not told

    try:
        eventually(healthy, "status finds nothing", 60)
    except AssertionError as error:
        raise AssertionError(f"{error}: {done}, told was {told}") from None
    assert len(done) <= 8, done
    return done


def test_the_command_that_status_calls_next_can_be_pasted(group: Sandbox) -> None:
    group.run("fence", node="keydb-1").ok()
    shown = group.run("status").ok().text
    assert "keydb-1    primary" in shown and "epoch 1  fenced" in shown
    [line] = [line for line in shown.splitlines() if line.startswith("next: ")]
    assert line == "next: pyinfra inventories/sandbox.py deploys/unfence.py --data node=keydb-1"
    group.pyinfra(*line.split()[2:], "-y").ok()
    assert "next:" not in group.run("status").ok().text
    group.healthy("keydb-1")


def test_findings_of_a_switchover_that_died_behind_its_promotion_name_one_verb(group: Sandbox) -> None:
    switchover_killed_behind_its_promotion(group)
    shown = group.run("status").ok().text
    critical = " ".join(shown[shown.index("critical") :].split())
    assert (
        "paused keydb-1: holds all writes back: a run that died left that, or somebody paused it; run rejoin"
        in critical
    )
    assert not [verb for verb in ("abort", "failover", "start") if f"run {verb}" in critical], critical
    assert "no-good-replica keydb-1" not in critical
    plan = " ".join(group.run("rejoin", dry=True).ok().text.split())
    assert "writers wait already; it ends with step" in plan
    assert "holds bytes that the primary never had" not in plan

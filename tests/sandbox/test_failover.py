"""Failover: the primary was killed, lost its disk, or sleeps; and how it comes back."""

from __future__ import annotations

import shutil

import pytest
import redis
from kit import FAULTS, NODES, Sandbox, eventually, writing


def refuses_writes(group: Sandbox, node: str) -> bool:
    try:
        group.ask(node, "SET", "test:guard", "x", role="application")
    except redis.exceptions.ReadOnlyError:
        return True
    return False


@pytest.mark.every_engine
def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(group: Sandbox) -> None:
    keys = group.keys("keydb-1")
    group.kill("keydb-1")

    done = group.run("failover").ok()

    assert "left: keydb-1 does not run; run start, then rejoin" in done.text[done.text.index("done: failover") :]
    new = group.primaries()[0]
    assert new != "keydb-1"
    eventually(group.writable, "the new primary takes writes")
    assert "keydb-1 starts guarded; run rejoin then" in group.run("start").ok().text
    assert "starts guarded" not in group.run("start").ok().text
    assert refuses_writes(group, "keydb-1")
    assert group.primaries() == [new]
    assert min(group.keys(node) for node in NODES if node != "keydb-1") >= keys
    assert group.findings() == ["guarded"]

    group.run("rejoin").ok()

    group.healthy(new)
    assert group.findings() == []
    with group.unchanged():
        assert group.install().ok().total() == (22, 0, 0, 22)


@pytest.mark.every_engine_in_ci
def test_a_primary_that_lost_its_disk_never_wipes_the_others(group: Sandbox) -> None:
    keys = group.keys("keydb-1")
    group.kill("keydb-1")
    shutil.rmtree(group.directory / "keydb-1" / "data")
    (group.directory / "keydb-1" / "data").mkdir(mode=0o700)

    group.run("start").ok()

    assert group.keys("keydb-1") == 0
    assert refuses_writes(group, "keydb-1")
    assert [group.keys(node) for node in NODES[1:]] == [keys, keys]
    group.run("failover").ok()
    new = group.primaries()[0]
    assert new != "keydb-1"
    eventually(lambda: group.follows("keydb-1", new), "the empty node follows")
    eventually(lambda: min(group.keys(node) for node in NODES) >= keys, "everybody has all keys")
    group.run("rejoin").ok()
    group.healthy(new)


def test_an_unguarded_empty_primary_is_refused_by_every_other_verb_and_replaced_by_failover(group: Sandbox) -> None:
    """Somebody's own unit started it without the guard, while the replicas were away."""
    for node in NODES:
        group.kill(node)
    shutil.rmtree(group.directory / "keydb-1" / "data")
    (group.directory / "keydb-1" / "data").mkdir(mode=0o700)
    group.boot("keydb-1")
    for node in NODES[1:]:
        group.boot(node, "--replicaof", "255.255.255.255", "1")
    keys = group.keys("keydb-2")
    assert keys
    assert group.keys("keydb-1") == 0

    group.run("rejoin").refused("empty-primary")
    group.run("switchover", to="keydb-2").refused("refused:")

    assert [group.keys(node) for node in NODES] == [0, keys, keys]
    group.run("failover").ok()
    assert group.keys(group.primaries()[0]) >= keys


def test_a_frozen_primary_is_not_gone_until_nobody_hears_it_and_no_route_leads_there(group: Sandbox) -> None:
    with writing(group) as writer:
        # Frozen by the deploy itself, directly before it looks: within the 3 s in which replicas still count.
        told = group.run(FAULTS, verb="failover", freeze="keydb-1").ok().text
        # The replicas were asked until they had heard nothing for so long, and the plan says what they saw.
        assert told.count("is silent: link up, but heard") >= 2, told
        assert "is heard" not in told
        new = next(node for node in NODES[1:] if group.role(node) == "master")
        writer.write_on()

        group.thaw("keydb-1")
        eventually(lambda: group.answers("keydb-1"), "the old primary answers")
        assert sorted(group.primaries()) == sorted(["keydb-1", new])
        writer.write_on()
        assert group.reached() == new
        assert "several-primaries" in group.findings()

        first = group.run("rejoin")
        if first.code:
            first.refused("keydb-1", "accept_loss=keydb-1")
            group.run("rejoin", accept_loss="keydb-1").ok()
        writer.write_on()
        writer.stop()
    group.healthy(new)
    assert group.findings() == []


@pytest.mark.parametrize("death", ["Promote:1", "Follow:1", "Route:1"])
def test_the_same_failover_finishes_what_a_killed_one_began(group: Sandbox, death: str) -> None:
    group.kill("keydb-1")
    keys = group.keys("keydb-2")
    killed = group.run(FAULTS, verb="failover", die_after=death)
    assert killed.code == -9, killed.text

    group.run("failover").ok()

    new = group.primaries()
    assert len(new) == 1
    other = next(node for node in NODES[1:] if node != new[0])
    eventually(lambda: group.follows(other, new[0]), "the sibling follows")
    eventually(group.writable, "writes are taken")
    assert min(group.keys(node) for node in NODES[1:]) >= keys
    assert group.ask(new[0], "GET", "runbook:epoch") == "2"


def test_a_group_that_lost_its_power_is_brought_back_by_failover(group: Sandbox) -> None:
    for node in NODES:
        group.kill(node)

    group.run("failover").refused("no-node-answers")
    group.run("start").ok()
    assert group.primaries() == []
    assert group.run("install").ok().total()[1] == 0
    assert group.primaries() == []
    group.run("failover").ok()

    assert len(group.primaries()) == 1
    group.healthy(group.primaries()[0])
    assert min(group.keys(node) for node in NODES) >= 50, "the keys that were saved"

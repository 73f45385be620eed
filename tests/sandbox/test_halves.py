"""Promote, demote and abort on real servers: the halves, and the way back."""

from __future__ import annotations

import pytest
from kit import FAULTS, NODES, Sandbox, eventually, writing

GUARD = "255.255.255.255 1"


def dark(group: Sandbox) -> None:
    """A power loss, and everybody guarded."""
    for node in NODES:
        group.kill(node)
    group.run("start").ok()


def test_after_a_power_loss_one_node_is_promoted_and_nobody_else_is_touched(group: Sandbox) -> None:
    dark(group)
    others = {node: group.keys(node) for node in ("keydb-1", "keydb-3")}
    assert group.primaries() == []
    with group.unchanged():
        shown = group.run("promote", dry=True, to="keydb-2").ok().text
        group.run("promote").refused("refused: no-target-named demo", "add to=NAME")
    assert "REPLICAOF NO ONE" in shown
    assert f"REPLICAOF 127.0.0.1 {group.port_of('keydb-2')}" not in shown

    group.run("promote", to="keydb-2").ok()

    assert group.primaries() == ["keydb-2"]
    assert (group.on_disk("keydb-2"), {node: group.keys(node) for node in others}) == ("", others)
    assert not any(group.follows(node, "keydb-2") for node in others)
    with group.unchanged():
        assert "nothing to do: already-primary keydb-2" in group.run("promote", to="keydb-2").ok().text
        group.run("promote", to="keydb-1").refused("primary-answers keydb-2", "run switchover to=keydb-1")

    group.run("rejoin").ok()

    group.healthy("keydb-2")


@pytest.mark.parametrize("death", ["Promote:1", "RecordLineage:1", "SaveConfiguration:1"])
def test_a_promotion_that_died_is_finished_by_the_same_verb(group: Sandbox, death: str) -> None:
    dark(group)
    killed = group.run(FAULTS, verb="promote", to="keydb-2", die_after=death)
    assert killed.code == -9, killed.text

    group.run("promote", to="keydb-2").ok()

    assert (group.primaries(), group.on_disk("keydb-2")) == (["keydb-2"], "")
    with group.unchanged():
        assert "nothing to do" in group.run("promote", to="keydb-2").ok().text
    group.run("rejoin").ok()
    group.healthy("keydb-2")


def test_promote_asks_what_failover_asks(group: Sandbox) -> None:
    with group.unchanged():
        group.run("promote", to="keydb-2").refused("primary-answers keydb-1", "run switchover to=keydb-2")
    group.run("fence", node="keydb-2").ok()
    group.kill("keydb-1")
    with group.unchanged():
        group.run("promote", to="keydb-2").refused("target-fenced keydb-2", "run unfence node=keydb-2")


def test_promote_leaves_no_replicas_to_a_primary_that_may_wake(group: Sandbox) -> None:
    group.freeze("keydb-1")
    eventually(lambda: group.run("failover", dry=True).code == 0, "failover takes it for gone", 20)
    with group.unchanged():
        group.run("promote", to="keydb-2").refused("refused: not-fenced keydb-1: is silent, but not stopped")
    group.run("promote", to="keydb-2", accept_split="yes").ok()


def test_a_primary_with_replicas_is_not_demoted(group: Sandbox) -> None:
    with group.unchanged():
        result = group.run("demote", node="keydb-1")
        result.refused("replicas-attached keydb-1: keydb-2 and keydb-3", "run switchover, or fence node=keydb-1")
    with group.unchanged():
        assert "nothing to do: no-primary keydb-2" in group.run("demote", node="keydb-2").ok().text


def test_a_primary_that_nobody_follows_is_guarded_and_keeps_its_data(group: Sandbox) -> None:
    keys = group.keys("keydb-1")
    for node in NODES[1:]:
        group.kill(node)
    eventually(lambda: group.info("keydb-1")["connected_slaves"] == 0, "nobody follows keydb-1")
    with group.unchanged():
        group.run("demote", dry=True, node="keydb-1", accept_minority_lock="yes").ok()
        group.run("demote", node="keydb-1").refused("no-majority")

    group.run("demote", node="keydb-1", accept_minority_lock="yes").ok()

    assert (group.primaries(), group.on_disk("keydb-1")) == ([], GUARD)
    assert group.keys("keydb-1") >= keys
    with group.unchanged():
        assert "nothing to do: no-primary" in group.run("demote", node="keydb-1").ok().text
    group.run("start").ok()
    group.run("promote", to="keydb-1").ok()
    group.run("rejoin").ok()
    group.healthy("keydb-1")


def test_a_demotion_that_died_left_nothing_to_do(group: Sandbox) -> None:
    dark(group)
    group.run("promote", to="keydb-2").ok()
    killed = group.run(FAULTS, verb="demote", node="keydb-2", die_after="Guard:1")
    assert killed.code == -9, killed.text

    with group.unchanged():
        assert "nothing to do: no-primary keydb-2" in group.run("demote", node="keydb-2").ok().text
    assert (group.primaries(), group.on_disk("keydb-2")) == ([], GUARD)
    group.run("failover").ok()
    group.healthy(group.primaries()[0])


def test_one_of_two_primaries_that_nobody_can_tell_apart_is_demoted_with_its_data(group: Sandbox) -> None:
    dark(group)
    for node in ("keydb-1", "keydb-2"):
        group.ask(node, "CONFIG", "SET", "min-replicas-to-write", "0")
        group.ask(node, "REPLICAOF", "NO", "ONE")
        group.ask(node, "SET", "runbook:epoch", "5")
    with group.unchanged():
        group.run("rejoin").refused("two-primaries")
    keys = group.keys("keydb-2")

    group.run("demote", node="keydb-2").ok()

    assert (group.primaries(), group.on_disk("keydb-2")) == (["keydb-1"], GUARD)
    assert group.keys("keydb-2") == keys
    # Its data are compared before they go.
    group.run("rejoin", accept_loss="keydb-2,keydb-3").ok()
    group.healthy("keydb-1")


def test_a_superseded_primary_follows_the_rightful_one(group: Sandbox) -> None:
    with writing(group) as writer:
        killed = group.run(FAULTS, verb="switchover", to="keydb-2", die_after="Follow:1")
        assert killed.code == -9, killed.text
        assert sorted(group.primaries()) == ["keydb-1", "keydb-2"]

        group.run("demote", node="keydb-1").ok()

        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


@pytest.mark.parametrize("death", ["Pause:1", "CatchUp:1", "Pause:2", "CatchUp:2"])
def test_before_the_promotion_abort_undoes(group: Sandbox, death: str) -> None:
    with writing(group) as writer:
        killed = group.run(FAULTS, verb="switchover", to="keydb-2", die_after=death)
        assert killed.code == -9, killed.text

        group.run("abort").ok()

        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-1")
    with group.unchanged():
        assert "nothing to do: nothing-to-undo" in group.run("abort").ok().text


@pytest.mark.parametrize("death", ["Promote:1", "RecordLineage:1", "SaveConfiguration:1"])
def test_behind_the_promotion_abort_is_refused_and_rejoin_finishes(group: Sandbox, death: str) -> None:
    with writing(group) as writer:
        killed = group.run(FAULTS, verb="switchover", to="keydb-2", die_after=death)
        assert killed.code == -9, killed.text
        group.run("abort").refused("refused: promoted keydb-2", "run rejoin to finish")
        group.run("rejoin").ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def test_abort_does_not_end_the_pause_of_a_run_that_is_alive(group: Sandbox) -> None:
    """A held lock is a run that is alive, whoever has it."""
    holder = group.client("keydb-1")
    connections = [group.client(node).connection_pool.get_connection() for node in NODES]
    for connection in connections:
        connection.send_command("CLIENT", "SETNAME", "runbook:0123:held:switchover/somebody@elsewhere")
        connection.read_response()
    holder.execute_command("CLIENT", "PAUSE", 10**12, "WRITE")

    group.run("abort").refused("locked: another run is at work: switchover/somebody@elsewhere")

    assert group.paused("keydb-1")
    for connection in connections:
        connection.disconnect()
    group.run("abort").ok()
    group.healthy("keydb-1")


def test_a_silent_node_may_be_what_the_dead_run_promoted(group: Sandbox) -> None:
    killed = group.run(FAULTS, verb="switchover", to="keydb-2", die_after="Pause:2")
    assert killed.code == -9, killed.text
    group.kill("keydb-2")
    with group.unchanged():
        group.run("abort").refused("perhaps-superseded keydb-1", "allow_unread=keydb-2")
    assert group.paused("keydb-1")
    group.run("abort", allow_unread="keydb-2").ok()
    eventually(group.writable, "keydb-1 takes writes")


def test_a_promotion_that_nobody_saw_is_not_outranked_if_memory_is_full_and_that_is_said(group: Sandbox) -> None:
    assert group.run(FAULTS, verb="switchover", to="keydb-2", die_after="Promote:1").code == -9
    group.freeze("keydb-2")
    group.ask("keydb-1", "CONFIG", "SET", "maxmemory", "1")
    ended = group.run("abort", allow_unread="keydb-2")
    assert ended.code == 1
    assert "the memory of keydb-1 is full, so epoch 3 is not counted: stop keydb-2" in " ".join(ended.text.split())
    assert not group.paused("keydb-1")


def test_who_was_promoted_unseen_is_not_the_rightful_primary_when_it_wakes(group: Sandbox) -> None:
    """A person gave up what it acknowledged, so nobody may go back to it without another person."""
    killed = group.run(FAULTS, verb="switchover", to="keydb-2", die_after="Promote:1")
    assert killed.code == -9, killed.text
    group.freeze("keydb-2")
    aborted = group.run("abort", allow_unread="keydb-2").ok()
    assert "goes on as epoch 3, whatever keydb-2 became" in aborted.text
    eventually(group.writable, "keydb-1 takes writes")
    group.thaw("keydb-2")
    eventually(lambda: "several-primaries" in group.run("status").text, "both are primaries")
    with group.unchanged():
        group.run("rejoin").refused("two-primaries demo: keydb-1 and keydb-2 are primaries")
    group.kill("keydb-2")
    group.run("start").ok()
    group.run("rejoin", accept_loss="keydb-2").ok()
    group.healthy("keydb-1")

"""Switchover, and what a run that died in its middle leaves to the next one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit import FAULTS, NODES, Sandbox, eventually, writing

ENDLESS = 10**12

# Where the tool dies in a switchover to keydb-2, and who is the primary when everything stands still.
DEATHS = [
    pytest.param("Pause:2", id="in-the-endless-pause"),
    pytest.param("Promote:1", id="behind-the-promotion"),
    pytest.param("Follow:2", id="behind-the-old-primary's-repointing"),
    pytest.param("Pause:1", id="in-the-short-pause", marks=pytest.mark.in_ci),
    pytest.param("Follow:1", id="behind-the-sibling's-repointing", marks=pytest.mark.in_ci),
    pytest.param("Route:1", id="behind-the-routing", marks=pytest.mark.in_ci),
    pytest.param("InSync:2", id="before-the-verification", marks=pytest.mark.in_ci),
]


def full_syncs(group: Sandbox) -> int:
    return sum(int(str(group.info(node)["sync_full"])) for node in NODES)


@pytest.mark.every_engine
def test_a_switchover_under_a_writer_loses_no_acknowledged_write(group: Sandbox) -> None:
    with writing(group) as writer:
        before = full_syncs(group)

        group.run("switchover", to="keydb-2").ok()

        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")
    assert full_syncs(group) == before
    assert group.ask("keydb-2", "GET", "runbook:epoch") == "2"
    assert group.findings() == []


def test_a_role_that_wandered_through_all_nodes_comes_home_without_loss(group: Sandbox) -> None:
    with writing(group) as writer:
        for target in ("keydb-3", "keydb-2", "keydb-1"):
            group.run("switchover", to=target).ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-1")
    assert group.ask("keydb-1", "GET", "runbook:epoch") == "4"


def test_a_tool_that_stalled_past_the_short_pause_looks_again_and_loses_nothing(group: Sandbox) -> None:
    with writing(group) as writer:
        stalled = group.run(FAULTS, verb="switchover", to="keydb-2", stall="keydb-2")
        stalled.refused("refused: catch-up-timeout keydb-2 still lacks", "nothing was changed")
        writer.write_on()
        group.ask("keydb-2", "CLIENT", "UNPAUSE")
        assert writer.lost() == 0
    group.healthy("keydb-1")


@pytest.mark.parametrize("death", DEATHS)
def test_the_same_switchover_finishes_what_a_killed_one_began(group: Sandbox, death: str) -> None:
    with writing(group) as writer:
        killed = group.run(FAULTS, verb="switchover", to="keydb-2", die_after=death)
        assert killed.code == -9, killed.text

        group.run("switchover", to="keydb-2").ok()

        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


@pytest.mark.every_engine_in_ci
def test_rejoin_undoes_or_finishes_a_killed_switchover(group: Sandbox) -> None:
    for death, primary in (("Pause:2", "keydb-1"), ("Promote:1", "keydb-2")):
        with writing(group) as writer:
            assert group.run(FAULTS, verb="switchover", to="keydb-2", die_after=death).code == -9
            group.run("rejoin").ok()
            writer.write_on()
            assert writer.lost() == 0
        group.healthy(primary)


def test_a_pause_left_behind_is_found_and_ended_by_the_next_switchover(group: Sandbox) -> None:
    group.ask("keydb-1", "CLIENT", "PAUSE", ENDLESS, "WRITE")

    assert "paused" in group.findings()
    group.run("switchover", to="keydb-2").ok()

    group.healthy("keydb-2")
    assert group.writable()


def test_a_pause_left_behind_is_ended_by_rejoin(group: Sandbox) -> None:
    group.ask("keydb-1", "CLIENT", "PAUSE", ENDLESS, "WRITE")

    group.run("rejoin").ok()

    group.healthy("keydb-1")
    assert group.writable()


def test_a_paused_target_is_released_and_becomes_the_primary(group: Sandbox) -> None:
    """A paused replica applies nothing: left alone it would never catch up."""
    group.ask("keydb-2", "CLIENT", "PAUSE", ENDLESS, "WRITE")
    with writing(group) as writer:
        group.run("switchover", to="keydb-2").ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def test_a_run_holds_a_lock_that_others_see(group: Sandbox) -> None:
    with writing(group), ThreadPoolExecutor() as pool:
        run = pool.submit(group.run, FAULTS, verb="switchover", to="keydb-2", stall="keydb-2")
        held = ":held:switchover/"
        eventually(lambda: held in str(group.ask("keydb-1", "CLIENT LIST")), "the run holds the lock", 15)
        run.result().refused("refused: catch-up-timeout keydb-2 still lacks")


def test_a_second_operator_is_told_who_is_at_work_and_changes_nothing(group: Sandbox) -> None:
    others = [group.client(node) for node in NODES]
    done = threading.Event()

    def live() -> None:
        """As a run that goes on: what is silent for long would be gone."""
        while not done.wait(0.5):
            for client in others:
                client.ping()

    for client in others:
        client.client_setname("runbook:0123:held:failover/keydb-3/somebody@elsewhere")
    alive = threading.Thread(target=live)
    alive.start()
    try:
        told = "locked: another run is at work: somebody@elsewhere does failover (for keydb-3), since "
        group.run("switchover", to="keydb-2").refused(told)
    finally:
        done.set()
        alive.join()
    group.healthy("keydb-1")

    # The lock dies with its holder.
    for client in others:
        client.connection_pool.disconnect()
    group.run("switchover", to="keydb-2").ok()
    group.healthy("keydb-2")

"""What a run that died or slept left behind, and that another run ends it well."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from kit import NODES, Result, Sandbox, eventually, writing
from moments import Moment, ended, insisted, list_of, start_at, stopped
from prefork import Run

ENDLESS = 10**12
PAUSED_AT_FIRST = Moment("keydb-1: CLIENT PAUSE 1500 WRITE #1", "answered")
BETWEEN_THE_PAUSES = Moment("keydb-1: CLIENT PAUSE 1000000000000 WRITE #1", "before")
PAUSED_FOR_EVER = Moment("keydb-1: CLIENT PAUSE 1000000000000 WRITE #1", "answered")
PROMOTE = "keydb-2: CONFIG SET min-replicas-to-write 0 + REPLICAOF NO ONE + SET runbook:epoch + CONFIG SET min-replicas-to-write 1 #1"
BEFORE_PROMOTE = Moment(PROMOTE, "before")
PROMOTED = Moment(PROMOTE, "answered")
LONGER_THAN_THE_SHORT_PAUSE = 2.0


@contextmanager
def asleep(group: Sandbox, moment: Moment) -> Iterator[Run]:
    """A switchover to keydb-2 whose whole tool was stopped at a moment, and sleeps."""
    run = start_at(group, "switchover", moment, "stop", {}, to="keydb-2")
    try:
        eventually(lambda: stopped(run.pid), "the tool sleeps", 30)
        yield run
    finally:
        list_of(group).unlink(missing_ok=True)
        if run.poll() is None:
            run.kill()
            run.communicate()


def woken(run: Run) -> Result:
    os.kill(run.pid, signal.SIGCONT)
    result = ended(run)
    assert "Traceback" not in result.text, result.text
    return result


@pytest.mark.in_turn("moment", [PAUSED_AT_FIRST, BETWEEN_THE_PAUSES])
@pytest.mark.parametrize("seconds", [LONGER_THAN_THE_SHORT_PAUSE, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "moment", [PAUSED_AT_FIRST, BETWEEN_THE_PAUSES], ids=["in-the-short-pause", "between-the-pauses"]
)
def test_a_tool_that_slept_through_the_short_pause_loses_nothing(
    group: Sandbox, moment: Moment, seconds: float
) -> None:
    with writing(group) as writer:
        with asleep(group, moment) as run:
            writer.write_on(seconds, seconds + 10)
            result = woken(run)
        assert result.code == 0 or "failed and unchanged" in result.text, result.text
        group.run("switchover", to="keydb-2").ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


@pytest.mark.in_turn("moment", [PAUSED_FOR_EVER, BEFORE_PROMOTE, PROMOTED])
@pytest.mark.parametrize("seconds", [LONGER_THAN_THE_SHORT_PAUSE, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("moment", [PAUSED_FOR_EVER, BEFORE_PROMOTE, PROMOTED], ids=["paused", "promote", "promoted"])
def test_a_tool_that_slept_while_writes_were_held_back_loses_nothing(
    group: Sandbox, moment: Moment, seconds: float
) -> None:
    with writing(group) as writer:
        with asleep(group, moment) as run:
            time.sleep(seconds)
            assert group.paused("keydb-1")
            woken(run)
        group.run("switchover", to="keydb-2").ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def test_a_tool_that_slept_while_another_run_finished_changes_nothing_more(group: Sandbox) -> None:
    """Its lock was ended with its connections, as whoever takes it over does."""
    with writing(group) as writer:
        with asleep(group, BEFORE_PROMOTE) as run:
            for node in NODES:
                end_locks(group, node)
            group.run("switchover", to="keydb-3").ok()
            writer.write_on()
            result = woken(run)
            result.refused("whether it did what was asked is unknown")
        writer.write_on()
        assert writer.lost() == 0
    assert group.primaries() == ["keydb-3"]
    group.run("rejoin").ok()
    group.healthy("keydb-3")


def end_locks(group: Sandbox, node: str) -> None:
    client = group.client(node)
    client.execute_command("ACL SETUSER", "operator", "+client|kill")
    for row in client.client_list():
        if row["name"].startswith("runbook:"):
            client.execute_command("CLIENT KILL", "ID", row["id"])
    client.connection_pool.disconnect()


@pytest.mark.parametrize("paused", [("keydb-3",), ("keydb-2", "keydb-3"), NODES], ids="+".join)
def test_pauses_that_were_left_behind_on_any_node_are_ended_by_rejoin(group: Sandbox, paused: tuple[str, ...]) -> None:
    for node in paused:
        group.ask(node, "CLIENT", "PAUSE", ENDLESS, "WRITE")
    assert group.findings().count("paused") == len(paused)
    insisted(lambda: group.run("rejoin")).ok()
    group.healthy("keydb-1")


def test_a_server_that_was_half_repointed_follows_and_says_so_on_disk_in_the_end(group: Sandbox) -> None:
    """The tool died between REPLICAOF and CONFIG REWRITE: the node follows one and has saved another."""
    group.run("switchover", to="keydb-2").ok()
    group.ask("keydb-3", "REPLICAOF", "127.0.0.1", group.port_of("keydb-1"))
    eventually(lambda: group.follows("keydb-3", "keydb-1"), "keydb-3 follows a replica", 20)
    assert group.on_disk("keydb-3") == "keydb-2"
    with writing(group) as writer:
        group.run("rejoin").ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def test_a_role_that_nobody_saved_is_saved_by_the_next_run(group: Sandbox) -> None:
    config = group.config("keydb-3")
    before = config.read_text()
    group.run("switchover", to="keydb-2").ok()
    config.write_text(before)
    assert group.on_disk("keydb-3") == "keydb-1"
    group.run("switchover", to="keydb-2").ok()
    group.healthy("keydb-2")


def promote_alone(group: Sandbox) -> None:
    """As a switchover that died straight behind its promotion: an epoch, and nobody who follows."""
    group.ask("keydb-1", "CLIENT", "PAUSE", ENDLESS, "WRITE")
    eventually(
        lambda: group.info("keydb-2")["slave_repl_offset"] == group.info("keydb-1")["master_repl_offset"],
        "keydb-2 has everything",
    )
    client = group.client("keydb-2")
    pipeline = client.pipeline(transaction=False)
    pipeline.execute_command("CONFIG", "SET", "min-replicas-to-write", "0")
    pipeline.execute_command("REPLICAOF", "NO", "ONE")
    pipeline.execute_command("SET", "runbook:epoch", "2")
    pipeline.execute_command("CONFIG", "SET", "min-replicas-to-write", "1")
    pipeline.execute()
    client.connection_pool.disconnect()


@pytest.mark.parametrize("verb", ["rejoin", "switchover", "failover"])
def test_an_epoch_without_followers_is_finished_by_any_verb(group: Sandbox, verb: str) -> None:
    with writing(group) as writer:
        promote_alone(group)
        group.run(verb, **({} if verb == "rejoin" else {"to": "keydb-2"})).ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def test_an_epoch_without_followers_wins_over_an_old_primary_that_came_back_guarded(group: Sandbox) -> None:
    with writing(group) as writer:
        promote_alone(group)
        group.kill("keydb-1")
        group.run("start").ok()
        group.run("rejoin").ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")


def test_an_epoch_without_followers_wins_over_an_old_primary_that_took_writes_again(group: Sandbox) -> None:
    """Somebody's own unit started it unguarded: what it acknowledged since is told before it is thrown away."""
    promote_alone(group)
    group.kill("keydb-1")
    group.boot("keydb-1")
    eventually(lambda: group.follows("keydb-3", "keydb-1"), "the sibling goes back to it", 20)
    eventually(lambda: wrote(group), "it takes writes")

    refused = group.run("rejoin").refused("accept_loss=")

    names = sorted({node for node in ("keydb-1", "keydb-3") if f"accept_loss={node}" in refused.text})
    assert names, refused.text
    done = group.run("rejoin", accept_loss="keydb-1,keydb-3").ok()
    assert "accepted by you" in done.text
    group.healthy("keydb-2")


def wrote(group: Sandbox) -> bool:
    try:
        return bool(group.ask("keydb-1", "SET", "test:after", "x", role="application"))
    except redis.ResponseError:
        return False

"""A pause is no proof that writes were held back: anybody may have begun it, behind writes that were acknowledged."""

from __future__ import annotations

import signal

import pytest
from diverging import saved, sound, split
from kit import Sandbox, eventually
from loaded import server_on
from moments import Moment, ended, list_of, start_at, stopped

SOMEBODY_S_PAUSE = 120_000
STEPS_DOWN = Moment(
    "keydb-1: CONFIG SET replica-read-only yes + REPLICAOF 255.255.255.255 1 + CONFIG REWRITE #1", "before"
)
FOLLOWS = Moment("keydb-1: REPLICAOF keydb-2 + CONFIG REWRITE #1", "answered")


def written(group: Sandbox, count: int, value: str = "x") -> list[str]:
    """Keys that keydb-1 acknowledged, each as many bytes of the stream as the others."""
    client = group.client("keydb-1", role="application")
    keys = [f"only:{number:04}" for number in range(count)]
    assert all(client.set(key, value) for key in keys)
    client.connection_pool.disconnect()
    return keys


def there(group: Sandbox, node: str, keys: list[str]) -> int:
    return int(str(group.ask(node, "EXISTS", *keys, role="application")))


@pytest.mark.every_engine
def test_a_pause_behind_a_mistaken_promotion_destroys_nothing(group: Sandbox) -> None:
    """keydb-1 has all the clients and keydb-3; somebody promoted keydb-2 by hand, and pauses keydb-1 now."""
    group.ask("keydb-2", "CONFIG", "SET", "min-replicas-to-write", "0")
    group.ask("keydb-2", "REPLICAOF", "NO", "ONE")
    keys = written(group, 500)
    group.ask("keydb-1", "CLIENT", "PAUSE", SOMEBODY_S_PAUSE, "WRITE")
    for verb in ("rejoin", "switchover", "failover"):
        group.run(verb).refused("refused: two-primaries")
    group.ask("keydb-1", "CLIENT", "UNPAUSE")
    assert there(group, "keydb-1", keys) == 500
    eventually(lambda: there(group, "keydb-3", keys) == 500, "keydb-3 has them, too")


@pytest.mark.every_engine
def test_a_pause_of_a_superseded_primary_destroys_nothing_in_silence(group: Sandbox) -> None:
    """As a failover with accept_split leaves it, and then its pod is deleted, whose last word is a pause."""
    split(group)
    keys = written(group, 15)
    group.ask("keydb-1", "CLIENT", "PAUSE", SOMEBODY_S_PAUSE, "WRITE")
    group.run("rejoin").refused("refused: diverged keydb-1", "accept_loss=keydb-1")
    assert there(group, "keydb-1", keys) == 15
    group.run("rejoin", accept_loss="keydb-1").ok()
    group.healthy("keydb-2")
    kept(group, keys)


@pytest.mark.every_engine
def test_writes_that_are_as_many_bytes_as_pings_are_kept_and_told(group: Sandbox) -> None:
    split(group)
    keys = written(group, 14)
    group.ask("keydb-1", "CLIENT", "PAUSE", SOMEBODY_S_PAUSE, "WRITE")
    group.run("rejoin", save="no").refused("refused: diverged keydb-1")
    done = group.run("rejoin").ok()
    told = " ".join(done.text.split())
    assert "predicted loss 0 bytes" not in told
    assert "as many as PINGs are" in told
    group.healthy("keydb-2")
    kept(group, keys)


@pytest.mark.every_engine
def test_what_a_primary_takes_between_the_look_and_its_step_down_is_kept(group: Sandbox) -> None:
    alone(group)
    run = start_at(group, "rejoin", STEPS_DOWN, "stop", {})
    try:
        eventually(lambda: stopped(run.pid), "the tool stands still", 30)
        keys = written(group, 3)
        run.send_signal(signal.SIGCONT)
        done = ended(run)
    finally:
        list_of(group).unlink(missing_ok=True)
    assert done.code == 0, done.text
    group.healthy("keydb-2")
    kept(group, keys)


@pytest.mark.every_engine
def test_an_old_primary_that_a_dead_switchover_left_paused_is_told_and_applies_again(group: Sandbox) -> None:
    run = start_at(group, "switchover", FOLLOWS, "kill", {}, to="keydb-2")
    ended(run)
    list_of(group).unlink(missing_ok=True)
    eventually(lambda: group.follows("keydb-1", "keydb-2"), "the old primary follows")
    assert group.ask("keydb-2", "SET", "after:it", "x", role="application")
    assert group.paused("keydb-1")
    assert there(group, "keydb-1", ["after:it"]) == 0
    told = " ".join(group.run("status").text.split())
    assert "keydb-1: applies nothing of what it receives: a run that died left that, or somebody paused it; run" in told
    group.run("rejoin").ok()
    group.healthy("keydb-2")
    assert there(group, "keydb-1", ["after:it"]) == 1


@pytest.mark.every_engine
def test_a_paused_replica_drops_what_it_read_when_its_primary_dies(group: Sandbox) -> None:
    """Why that is told: docs/engines.md, "Pause"."""
    group.ask("keydb-2", "CLIENT", "PAUSE", SOMEBODY_S_PAUSE, "WRITE")
    keys = written(group, 20)
    offset = group.info("keydb-1")["master_repl_offset"]
    eventually(lambda: int(str(group.info("keydb-2")["slave_read_repl_offset"])) >= int(str(offset)), "it read all")
    group.kill("keydb-1")
    eventually(lambda: group.info("keydb-2")["master_link_status"] == "down", "it sees the end")
    group.ask("keydb-2", "CLIENT", "UNPAUSE")
    group.ask("keydb-2", "REPLICAOF", "NO", "ONE")
    assert there(group, "keydb-2", keys) == 0


def kept(group: Sandbox, keys: list[str]) -> None:
    """All of these keys are in the file that was kept."""
    (file,) = saved(group)
    sound(file)
    with server_on(group, file) as client:
        assert client.exists(*keys) == len(keys)


@pytest.mark.every_engine
def test_a_primary_that_took_nothing_more_goes_on_in_the_stream(group: Sandbox) -> None:
    """To step down first costs it no full resync, and nothing is saved."""
    alone(group)
    group.ask("keydb-1", "CLIENT", "PAUSE", SOMEBODY_S_PAUSE, "WRITE")
    before = group.info("keydb-2")["sync_full"]
    group.run("rejoin").ok()
    group.healthy("keydb-2")
    assert group.info("keydb-2")["sync_full"] == before
    assert saved(group) == []


def alone(group: Sandbox) -> None:
    """keydb-2 is promoted, and nobody sends keydb-1's replica a PING meanwhile, since it has none but keydb-2."""
    group.ask("keydb-3", "REPLICAOF", "255.255.255.255", 1)
    eventually(lambda: group.info("keydb-1")["connected_slaves"] == 1, "keydb-1 has one replica")
    split(group)

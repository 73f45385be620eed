"""A verb is killed, all power is lost, and the nodes start while nobody looks: through the boot guard.

The group comes back by itself, or stays guarded and says why; then `failover` and `rejoin` bring it back. Either way
every acknowledged write that any disk has is there in the end, unless a plan called it lost.
"""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import AbstractContextManager

import pytest
import redis
from kit import NODES, REPOSITORY, Sandbox, eventually
from loaded import server_on
from moments import Moment, changes, insisted, spread
from rounds import Rounds, at_each, moments_of, recovered

from demo.measure import Write, find_lost, read_journal
from keydb_runbooks.connectors.booting import LOG
from keydb_runbooks.connectors.programs import engines

WATCH_SECONDS = 8
DECIDED = ("guarded: ", "follow: ", "primary: ", "done: ")
CHUNKS = 2
IN_CI = {"switchover": 1, "failover": 1}
ALL = {"switchover": 16, "failover": 10, "failover-empty": 6, "promote": 6, "demote": 4, "rejoin-two-primaries": 6}


def reading(group: Sandbox, node: str) -> AbstractContextManager[redis.Redis]:
    """A server on a node's data as its disk has them."""
    dump = group.directory / node / "data" / "dump.rdb"
    return server_on(group, dump if dump.exists() else None)


def on_disks(group: Sandbox, writes: list[Write]) -> list[Write]:
    """The acknowledged writes that at least one disk has."""
    gone = set(writes)
    for node in NODES:
        with reading(group, node) as server:
            gone &= find_lost(writes, server)
    return [write for write in writes if write not in gone]


def boot_all(group: Sandbox, turn: int) -> None:
    """Start every node as a unit does, beginning with another one each time, and wait until each guard has decided."""
    order = NODES[turn % len(NODES) :] + NODES[: turn % len(NODES)]
    for node in NODES:
        (group.directory / node / LOG).unlink(missing_ok=True)
        settings = group.directory / node / "boot-guard.env"
        if "KEYDB_GUARD_WAIT" not in settings.read_text():
            settings.write_text(f"{settings.read_text()}\nKEYDB_GUARD_WAIT={WATCH_SECONDS}\n")
    subprocess.run(
        [sys.executable, "-m", "keydb_runbooks.connectors.sandbox", "boot", *order],
        cwd=REPOSITORY,
        env=group.environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    group.boot_proxy()
    for node in NODES:
        eventually(lambda node=node: told(group, node).startswith(DECIDED), f"{node}'s guard decides", 60)


def told(group: Sandbox, node: str) -> str:
    """The last that a node's guard said, without its own name."""
    lines = (group.directory / node / LOG).read_text().splitlines()
    return re.sub(r"^.*?\b(?=(guarded|follow|primary|done|waiting): )", "", lines[-1]) if lines else ""


def save(group: Sandbox, node: str) -> None:
    """Let a node write its data to its disk, as it does by itself from time to time."""
    eventually(lambda: group.info(node)["rdb_bgsave_in_progress"] == 0, f"{node} saves nothing else")
    group.ask(node, "BGSAVE")
    eventually(lambda: group.info(node)["rdb_bgsave_in_progress"] == 0, f"{node} has saved", 20)


def lose_power_and_boot(rounds: Rounds, moment: Moment) -> None:
    """One node saved before the verb, another one when its run had died."""
    group, turn = rounds.group, len(rounds.tried)
    save(group, NODES[turn % len(NODES)])
    rounds.killed(moment)
    alive = [node for node in NODES if group.pid(node)]
    save(group, alive[turn % len(alive)])
    group.kill_all()
    kept = on_disks(group, read_journal(rounds.writer.journal))
    assert kept, "no disk has an acknowledged write"

    boot_all(group, turn)

    said = {node: told(group, node) for node in NODES}
    guarded = [node for node in NODES if said[node].startswith("guarded: ")]
    primaries = group.primaries()
    rounds.tried[-1] += f": {'by itself' if not guarded else said[guarded[0]]}"
    assert len(primaries) <= 1, said
    advised = ""
    if guarded:
        assert all(re.search(r"run (failover|rejoin|status)|see its boot-guard", said[node]) for node in guarded), said
        advised = recovered(group, ("failover", "rejoin") if not primaries else ("rejoin",))
    else:
        assert len(primaries) == 1, said
        # What only the proxy or a file lacks.
        insisted(lambda: group.run("rejoin")).ok()
    group.healthy(group.primaries()[0])
    rounds.writer.write_on(0.1)
    server = group.client("proxy-1", "application")
    lost = find_lost(kept, server)
    server.connection_pool.disconnect()
    assert not lost or "accept_loss" in advised, (
        f"{len(lost)} of {len(kept)} writes on disks are lost: {said} {advised}"
    )


def boot_at(group: Sandbox, verb: str, count: int, turn: int, chunk: slice = slice(None)) -> None:
    there = [moment for moment in moments_of(group, verb) if changes(moment.command)]
    at_each(group, verb, lose_power_and_boot, spread(there, count, turn)[chunk], there, lossless=False)


@pytest.mark.in_ci
@pytest.mark.in_turn("verb", tuple(IN_CI))
@pytest.mark.parametrize("verb", IN_CI)
def test_a_verb_is_killed_all_power_is_lost_and_the_nodes_start_by_themselves(group: Sandbox, verb: str) -> None:
    boot_at(group, verb, IN_CI[verb], list(engines()).index(group.engine))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("verb", ALL)
def test_verbs_are_killed_all_power_is_lost_and_the_nodes_start_by_themselves(
    group: Sandbox, verb: str, chunk: int
) -> None:
    boot_at(group, verb, ALL[verb], 2, slice(chunk, None, CHUNKS))

"""Waiting until a replica is in sync by a full resync, over a way that is slow."""

from __future__ import annotations

import random
import re
import shutil
import time

import pytest
from kit import GUARD, INVENTORY, NODES, Sandbox, eventually
from printed import waits


def lose_data(group: Sandbox, node: str) -> None:
    """A node comes back guarded and without its data, so that it needs all of the primary's."""
    group.kill(node)
    shutil.rmtree(group.directory / node / "data")
    (group.directory / node / "data").mkdir(mode=0o700)
    group.boot(node, *GUARD)


def write_much(group: Sandbox, count: int, parts: int = 1) -> None:
    """As many bytes, which no file makes smaller, in as many keys."""
    client = group.client("proxy-1", "application")
    for number in range(parts):
        client.set(f"test:large:{number}", random.Random(number).randbytes(count // parts))
    client.connection_pool.disconnect()
    written = int(str(group.info("keydb-1")["master_repl_offset"]))
    eventually(lambda: int(str(group.info("keydb-2")["slave_repl_offset"])) >= written, "keydb-2 has it")


@pytest.mark.every_engine_in_ci
@pytest.mark.parametrize("file", ["yes", "no"], ids=["without-a-file", "with-a-file"])
def test_a_full_resync_tells_how_many_bytes_came_and_how_many_are_left(networked: Sandbox, file: str) -> None:
    networked.ask("keydb-1", "CONFIG", "SET", "repl-diskless-sync", file)
    lose_data(networked, "keydb-3")
    write_much(networked, 1_500_000)
    networked.network.slow("keydb-1", "keydb-3", bytes_per_second=300_000, one_way=True)

    text = networked.run("rejoin").ok().text

    told = "keydb-3 is not in sync with keydb-1 yet: full resync: it gets the data of keydb-1: "
    lines = [line.partition(told)[2] for line in waits(text) if told in line]
    assert len(lines) >= 2, text
    count = r"[\d,]+ bytes" if file == "yes" else r"[\d,]+ of 1,50\d,\d+ bytes, [\d,]+ left"
    left = r"(; \d+ % of the keys are sent)?" if file == "yes" else r", [\d.]+ s left"
    bound = r" \(\d s, until \d\d:\d\d:\d\d UTC if it gets no further\)"
    assert re.fullmatch(rf"{count}, [\d,]+ bytes/s{left}{bound}", lines[-1]), lines
    networked.healthy("keydb-1")


@pytest.mark.first_engine
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "translated"])
def test_a_replica_that_answers_nobody_in_the_middle_of_a_full_resync_is_waited_for(
    networked: Sandbox, announced: bool
) -> None:
    """As one does that throws much data away: longer than an answer may take, so that the link to it breaks.

    Behind an address translation the primary lists nobody by the inventory's address, unless that is announced.
    """
    lose_data(networked, "keydb-3")
    if not announced:
        for node in NODES:
            networked.ask(node, "CONFIG", "SET", "replica-announce-ip", "")
        networked.ask("keydb-1", "CLIENT", "KILL", "TYPE", "replica")
        listed = lambda: dict(networked.info("keydb-1").get("slave0", {}))  # noqa: E731
        eventually(lambda: listed().get("state") == "online", "keydb-2 follows again", 20)
        assert listed()["ip"] != networked.known_address_of("keydb-2")
    write_much(networked, 1_500_000)
    networked.network.slow("keydb-1", "keydb-3", bytes_per_second=300_000, one_way=True)
    run = networked.start(INVENTORY, "deploys/rejoin.py", "-y")
    eventually(lambda: networked.info("keydb-3").get("master_sync_in_progress") == 1, "the resync is under way", 30)
    time.sleep(0.5)
    networked.freeze("keydb-3")
    time.sleep(7)
    networked.thaw("keydb-3")
    text, _ = run.communicate(timeout=60)

    assert run.returncode == 0, text
    told = r"keydb-3 is not in sync with keydb-1 yet: full resync: \S+ did not answer in time, keydb-1 (writes its data|sent it all, and heard it \d s ago)\b.* \(\d s"
    assert re.search(told, "\n".join(waits(text))), text
    networked.healthy("keydb-1")


@pytest.mark.every_engine_in_ci
def test_a_replica_waits_for_its_turn_while_the_primary_saves_for_another(group: Sandbox) -> None:
    lose_data(group, "keydb-3")
    # The process that saves has this from its beginning to its end.
    group.ask("keydb-1", "CONFIG", "SET", "rdb-key-save-delay", 4_000_000 // group.keys("keydb-1"))
    group.ask("keydb-1", "BGSAVE")
    group.ask("keydb-1", "CONFIG", "SET", "rdb-key-save-delay", 0)

    text = group.run("rejoin").ok().text

    told = "keydb-3 is not in sync with keydb-1 yet: full resync: it waits for its turn: keydb-1 writes its data for another: "
    assert [line for line in waits(text) if line.startswith(told)], text
    group.healthy("keydb-1")


@pytest.mark.slow
@pytest.mark.first_engine
def test_a_full_resync_may_take_longer_than_the_time_without_progress(networked: Sandbox) -> None:
    lose_data(networked, "keydb-3")
    write_much(networked, 1_500_000)
    networked.network.slow("keydb-1", "keydb-3", bytes_per_second=20_000, one_way=True)
    before = time.monotonic()

    networked.pyinfra("inventories/sandbox.py", "deploys/rejoin.py", "-y", patience_seconds=150).ok()

    assert time.monotonic() - before > 65
    networked.healthy("keydb-1")


@pytest.mark.slow
def test_a_replica_that_is_cut_off_while_it_loads_again_and_again_is_given_up(networked: Sandbox) -> None:
    """Without a file it answers only each two million bytes while it loads; to a fresh link it says that it loads."""
    lose_data(networked, "keydb-3")
    networked.ask("keydb-3", "CONFIG", "SET", "repl-diskless-load", "swapdb")
    write_much(networked, 20_000_000, parts=1000)
    networked.network.slow("keydb-1", "keydb-3", bytes_per_second=600_000, one_way=True)
    run = networked.start(INVENTORY, "deploys/rejoin.py", "-y")
    deadline = time.monotonic() + 200
    while run.poll() is None and time.monotonic() < deadline:
        time.sleep(12)
        networked.ask("keydb-1", "CLIENT", "KILL", "TYPE", "replica")
    text, _ = run.communicate(timeout=60)

    assert run.returncode == 1, text
    assert "keydb-3 is not in sync with keydb-1: no progress for 60 s" in " ".join(text.split()), text

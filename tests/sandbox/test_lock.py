"""Two operators at once, and what happens to the lock of one who was cut off or stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from kit import COLOR, FAULTS, NODES, Sandbox, eventually, writing
from prefork import Run
from printed import waits
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool
from redis.retry import Retry

from keydb_runbooks.connectors.link import Client, LinkConnection
from keydb_runbooks.connectors.network import PROXY_ADDRESS
from keydb_runbooks.operations import lock
from keydb_runbooks.operations.holders import Task

# Who, from where, since when, doing what.
WHO = r"locked: another run is at work: \S+@\S+ does switchover \(for keydb-2\), since \d\d:\d\d:\d\d UTC"


def links(sandbox: Sandbox, source: str | None = None) -> dict[str, Client]:
    """A link to every node, as a run opens them; ``source`` is the address that the calls come from."""
    return {node: _link(sandbox, node, source) for node in NODES}


def _link(sandbox: Sandbox, node: str, source: str | None) -> Client:
    address = (sandbox.known_address_of(node), sandbox.port_of(node))
    came_from = None if source is None else (source, 0)
    pool = BlockingConnectionPool(
        connection_class=LinkConnection,
        max_connections=1,
        timeout=4,
        dial=lambda timeout: socket.create_connection(address, timeout, came_from),
        tls_ca=None,
        host=address[0],
        port=address[1],
        username="operator",
        password=sandbox.passwords["operator"],
        protocol=2,
        decode_responses=True,
        socket_connect_timeout=2,
        socket_timeout=2,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,
    )
    return redis.Redis(connection_pool=pool)


def close(clients: dict[str, Client]) -> None:
    for client in clients.values():
        client.connection_pool.disconnect()


def race(sandbox: Sandbox, runs: int) -> tuple[int, list[str]]:
    """Let runs try to take the lock at one moment; how many got it, and what the others were told."""
    together, decided = threading.Barrier(runs), threading.Barrier(runs)

    def one(number: int) -> str:
        clients = links(sandbox)
        for client in clients.values():
            client.ping()
        together.wait(20)
        told = ""
        try:
            held = lock.take(clients, NODES, Task("switchover", "keydb-2", f"racer{number}", "here"), False)
            held.release()
        except lock.LockRefused as error:
            told = str(error)
        decided.wait(20)
        close(clients)
        return told

    with ThreadPoolExecutor(runs) as pool:
        told = list(pool.map(one, range(runs)))
    return told.count(""), [sentence for sentence in told if sentence]


@pytest.mark.parametrize("runs", [2, 3, 4])
@pytest.mark.parametrize("rounds", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_of_runs_that_begin_together_exactly_one_gets_the_lock(group: Sandbox, runs: int, rounds: int) -> None:
    for _ in range(rounds):
        winners, told = race(group, runs)
        assert (winners, len(told)) == (1, runs - 1), told
        assert all(re.search(WHO, sentence) for sentence in told), told


def test_of_four_operators_who_press_enter_together_one_moves_the_role(group: Sandbox) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(group.run, "switchover", to="keydb-2") for _ in range(4)]
        results = [run.result() for run in runs]
    done = [result for result in results if "done: switchover" in result.text]
    assert len(done) == 1, [result.text for result in results]
    for result in results:
        assert "Traceback" not in result.text
        assert any(word in result.text for word in ("done:", "locked:", "plan-differs", "already-primary")), result.text
    group.healthy("keydb-2")


def test_a_lock_without_a_majority_names_the_silent_nodes(group: Sandbox) -> None:
    group.kill("keydb-1")
    group.kill("keydb-3")
    eventually(lambda: not group.answers("keydb-3"), "keydb-3 is gone")
    refused = group.run("failover", allow_unread="keydb-3")
    refused.refused("no-majority: only 1 of 3 nodes answer; another operator may hold keydb-1 and keydb-3")
    accepted = group.run("failover", allow_unread="keydb-3", accept_minority_lock="yes").ok()
    assert "the lock is held without keydb-1, keydb-3, as you accepted" in accepted.text


# A run that was stopped

STOP = "kill -STOP $PPID"


@pytest.mark.first_engine
@pytest.mark.parametrize(
    ("fault", "place", "verb", "primary"),
    [
        ("hit_before", "Promote:1", "switchover", "keydb-3"),
        ("hit_before", "Follow:1", "rejoin", "keydb-2"),
        pytest.param("hit_before", "Pause:1", "switchover", "keydb-3", marks=pytest.mark.in_ci),
        pytest.param("hit_after", "Follow:2", "switchover", "keydb-3", marks=pytest.mark.in_ci),
        pytest.param("hit_before", "Pause:2", "switchover", "keydb-3", marks=pytest.mark.slow),
        pytest.param("hit_before", "RecordLineage:1", "rejoin", "keydb-2", marks=pytest.mark.slow),
        pytest.param("hit_before", "SaveConfiguration:1", "rejoin", "keydb-2", marks=pytest.mark.slow),
        pytest.param("hit_before", "Follow:2", "rejoin", "keydb-2", marks=pytest.mark.slow),
        pytest.param("hit_before", "Unpause:1", "switchover", "keydb-3", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_whose_lock_was_taken_changes_nothing_when_it_goes_on(
    group: Sandbox, fault: str, place: str, verb: str, primary: str
) -> None:
    """The other one moves the role to keydb-3 meanwhile, or finishes what was half done, and is done."""
    with writing(group) as writer, _stopped_run(group, **{fault: place}) as first:
        second = group.run(verb, **({"to": primary} if verb == "switchover" else {})).ok()
        assert "took over the lock of a run that is gone" in second.text
        (line,) = [line for line in waits(second.text) if line.startswith("a run that seems to be gone")]
        assert re.search(r" does switchover .*, silent for \d+ s, .* \(2 s, until \d\d:\d\d:\d\d UTC\)$", line), line
        group.healthy(primary)
        before = roles(group)

        os.kill(first.pid, signal.SIGCONT)
        text, _ = first.communicate(timeout=60)

        assert first.returncode == 1, text
        assert "Traceback" not in text
        assert "failed and " in text
        assert "done:" not in COLOR.sub("", text)
        # No order to the proxy, which doesn't know of the lock.
        assert not re.search(r"proxy-1 +[\d.]+ ms", COLOR.sub("", text)), text
        writer.write_on()
        assert roles(group) == before
        group.healthy(primary)
        assert writer.lost() == 0


@contextmanager
def _stopped_run(group: Sandbox, **fault: str) -> Iterator[Run]:
    """A switchover to keydb-2 that stands still at a step, and has been silent for so long that it counts as gone."""
    given = {"verb": "switchover", "to": "keydb-2", **fault, "hit_with": STOP}
    run = group.start(
        "inventories/sandbox.py", FAULTS, *(f"--data={name}={value}" for name, value in given.items()), "-y"
    )
    try:
        eventually(lambda: _stopped(run.pid), "the first run stands still", 30)
        eventually(lambda: _silence(group) > lock.GONE_SECONDS, "it is silent for long", 15)
        yield run
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()


def roles(sandbox: Sandbox) -> dict[str, object]:
    """Roles, lineages and epochs; the number of keys grows while somebody writes."""
    seen = sandbox.snapshot()
    return {node: (*seen[node][:-2], seen[node][-1]) for node in NODES}  # type: ignore[index]


def _stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _silence(sandbox: Sandbox) -> int:
    """How long nothing was heard on any of the connections that hold the lock, in seconds."""
    rows = [row for node in NODES for row in sandbox.ask(node, "CLIENT LIST")]  # type: ignore[attr-defined]
    return min((int(row["idle"]) for row in rows if row["name"].startswith("runbook:")), default=0)


# A run that was cut off


@pytest.mark.first_engine
def test_a_lock_of_somebody_who_was_cut_off_is_taken_over_and_what_he_sent_is_never_executed(
    networked: Sandbox,
) -> None:
    # The one who is cut off calls from the proxy's address, so that the other operator isn't.
    clients = links(networked, PROXY_ADDRESS)
    lock.take(clients, NODES, Task("failover", "keydb-3", "anna", "far-away"), False).release()
    networked.network.cut("proxy-1")
    for node, client in clients.items():
        # Sent, and not asked for its answer.
        connection = client.connection_pool.get_connection()
        connection.send_command("SET", "runbook:late", node)
    refused = networked.run("switchover", to="keydb-2", accept="target-unreached")
    refused.refused("locked: another run is at work: anna@far-away does failover (for keydb-3)")
    eventually(lambda: _silence(networked) > lock.GONE_SECONDS, "it is silent for long", 15)

    heal = {"hit_before": "Pause:1", "hit_with": f"{sys.executable} -m keydb_runbooks.connectors.network heal"}
    # The proxy was cut off as well, and finds the servers again a few seconds later than this run would like.
    result = networked.run(FAULTS, verb="switchover", to="keydb-2", accept="target-unreached", **heal)

    assert "took over the lock of a run that is gone: anna@far-away does failover" in result.text, result.text
    assert "done" in result.text, result.text
    assert [networked.ask(node, "GET", "runbook:late") for node in NODES] == [None, None, None]
    networked.healthy("keydb-2")


@pytest.mark.first_engine
def test_a_run_that_waits_for_long_keeps_its_lock_and_tells_what_it_waits_for(networked: Sandbox) -> None:
    networked.network.slow("keydb-1", "keydb-2", bytes_per_second=60_000, one_way=True)
    client = networked.client("proxy-1", "application")
    client.set("test:large", "x" * 3_000_000)
    client.connection_pool.disconnect()
    eventually(lambda: networked.keys("keydb-3") == networked.keys("keydb-1"), "the replica that isn't slow has it")
    report = networked.directory / "report.json"
    with networked.unchanged(settled=False):
        first = networked.start(
            "inventories/sandbox.py", "deploys/switchover.py", "--data", "to=keydb-2", "--data", "catch_up_timeout=14",
            "--data", "allow_lag=8m",
            "--data", f"report={report}", "-y",
        )  # fmt: skip
        try:
            eventually(lambda: _age(networked) > lock.GONE_SECONDS + 1, "the first run waits", 40)
            second = networked.run("switchover", to="keydb-3")
            assert re.search(WHO, " ".join(second.refused("locked: another run is at work").text.split())), second.text
            text, _ = first.communicate(timeout=60)
        finally:
            if first.poll() is None:
                first.kill()
                first.wait()
        assert json.loads(report.read_text())["code"] == "catch-up-timeout"
        report.unlink()
    assert first.returncode == 1
    assert "refused: catch-up-timeout keydb-2 still lacks" in " ".join(text.split()), text
    told = r"keydb-2 is [\d,]+ bytes behind.* \(\d+ s of 14 s, until \d\d:\d\d:\d\d UTC\)"
    assert 5 <= sum(re.fullmatch(told, line) is not None for line in waits(text)) <= 14, text
    assert networked.writable()


@pytest.mark.first_engine
def test_a_switchover_waits_for_a_slow_replica_before_it_holds_anybody_back(networked: Sandbox) -> None:
    networked.network.slow("keydb-1", "keydb-2", bytes_per_second=200_000, one_way=True)
    client = networked.client("proxy-1", "application")
    client.set("test:large", "x" * 1_500_000)
    client.connection_pool.disconnect()
    report = networked.directory / "report.json"

    result = networked.run("switchover", to="keydb-2", catch_up_timeout="40", allow_lag="8m", report=str(report)).ok()

    steps = {f"{step['step']} {step['where']}": step for step in json.loads(report.read_text())["steps"]}
    waited, pause, promote = (steps[name] for name in ("ComeClose keydb-2", "Pause keydb-1", "Promote keydb-2"))
    assert waited["milliseconds"] > 1_000
    assert "waits: keydb-2 is" in result.text
    assert promote["begun"] - pause["begun"] < 1.5
    networked.healthy("keydb-2")
    assert networked.ask("keydb-2", "STRLEN", "test:large", role="application") == 1_500_000


def _age(sandbox: Sandbox) -> int:
    rows = sandbox.ask("keydb-3", "CLIENT LIST")
    return max((int(row["age"]) for row in rows if ":held:" in row["name"]), default=0)  # type: ignore[union-attr, index]

"""The sandbox's network does what it says, and the links over it end as they must."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

import pytest
import redis
from kit import REPOSITORY, Sandbox, eventually, writing

pytestmark = pytest.mark.first_engine

MANY_LINKS = "tests/sandbox/many_links.py"


def _operator(sandbox: Sandbox, node: str, timeout: float = 2) -> redis.Redis:
    """A client that goes through the network, as the operator's links do."""
    through = Sandbox.client(sandbox, node, timeout=timeout)
    through.connection_pool.connection_kwargs["host"] = sandbox.known_address_of(node)
    return through


def _connects(sandbox: Sandbox, node: str) -> str:
    """How a connect through the network ends: connected, refused or silence."""
    try:
        socket.create_connection((sandbox.known_address_of(node), sandbox.port_of(node)), timeout=0.5).close()
    except TimeoutError:
        return "silence"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        # Its relay is about to be told.
        return "reset"
    return "connected"


def test_a_node_that_is_cut_off_neither_answers_nor_refuses(networked: Sandbox) -> None:
    held = _operator(networked, "keydb-2", timeout=0.5)
    held.ping()
    assert _connects(networked, "keydb-2") == "connected"
    networked.network.cut("keydb-2")
    assert _connects(networked, "keydb-2") == "silence"
    with pytest.raises(redis.TimeoutError):
        held.ping()
    assert networked.answers("keydb-2"), "the server itself runs on"
    eventually(lambda: _lag(networked, "keydb-2") > 2, "keydb-1 no longer hears keydb-2", 10)
    networked.network.heal()
    eventually(lambda: _connects(networked, "keydb-2") == "connected", "it can be reached again")
    eventually(lambda: networked.follows("keydb-2", "keydb-1"), "it follows again", 20)


def test_a_cut_has_two_ends_and_a_direction(networked: Sandbox) -> None:
    before = networked.info("keydb-1")["master_repl_offset"]
    networked.network.cut("keydb-1", "keydb-2", one_way=True)
    networked.ask("proxy-1", "SET", "test:cut", "x", role="application")
    eventually(lambda: networked.info("keydb-3")["slave_repl_offset"] > before, "keydb-3 still gets what is written")
    assert _operator(networked, "keydb-2").ping(), "the operator still reaches keydb-2"
    held = networked.info("keydb-2")["slave_repl_offset"]
    # The other way goes on: keydb-2 acknowledges once a second, and the primary hears it.
    eventually(lambda: _lag(networked, "keydb-2") in (0, 1), "keydb-1 still hears keydb-2")
    assert networked.info("keydb-2")["slave_repl_offset"] == held
    networked.network.heal()
    eventually(lambda: networked.info("keydb-2")["slave_repl_offset"] > held, "keydb-2 gets what was held back")


def _lag(sandbox: Sandbox, node: str) -> int:
    """How long ago keydb-1 heard of a replica, in seconds."""
    rows = [value for value in sandbox.info("keydb-1").values() if isinstance(value, dict) and "lag" in value]
    return next(int(row["lag"]) for row in rows if row["port"] == sandbox.port_of(node))


def test_what_was_sent_into_a_cut_arrives_later_and_what_was_opened_into_it_never(networked: Sandbox) -> None:
    held = _operator(networked, "keydb-1", timeout=0.3)
    held.ping()
    networked.network.cut("operator", "keydb-1")
    with pytest.raises(redis.TimeoutError):
        held.execute_command("SET", "runbook:test:held", "1")
    with pytest.raises(redis.RedisError):
        _operator(networked, "keydb-1", timeout=0.3).execute_command("SET", "runbook:test:opened", "1")
    assert networked.ask("keydb-1", "GET", "runbook:test:held") is None
    networked.network.heal()
    eventually(lambda: networked.ask("keydb-1", "GET", "runbook:test:held") == "1", "what was sent arrives")
    assert networked.ask("keydb-1", "GET", "runbook:test:opened") is None


def test_a_slow_way_takes_its_time(networked: Sandbox) -> None:
    """No upper bound is tested: a delay is at least what was asked for, whatever else the machine does."""
    client = _operator(networked, "keydb-1")
    client.ping()
    networked.network.slow("operator", "keydb-1", delay_ms=60)
    before = time.monotonic()
    client.ping()
    assert time.monotonic() - before >= 0.12, "60 ms there and 60 ms back"
    networked.network.slow("operator", "keydb-1", bytes_per_second=20_000, one_way=True)
    before = time.monotonic()
    client.execute_command("SET", "runbook:test:slow", "x" * 6_000)
    assert time.monotonic() - before >= 0.3, "6,000 bytes at 20,000 a second"


def test_a_dead_server_refuses_through_its_relay(networked: Sandbox) -> None:
    networked.kill("keydb-3")
    eventually(lambda: _connects(networked, "keydb-3") == "refused", "nobody listens on keydb-3's address")
    networked.network.cut("keydb-3")
    assert _connects(networked, "keydb-3") == "silence", "a dead server that is cut off is as silent as any"


def test_of_48_links_the_47_that_can_be_opened_are(networked: Sandbox) -> None:
    networked.network.cut("keydb-3")
    told = networked.pyinfra("inventories/sandbox.py", MANY_LINKS, "-y").text
    seen = json.loads(told[told.index("{") : told.index("}") + 1])
    assert seen["opened"] == 47
    assert seen["failed"] == ["no-answer"]


def test_a_link_that_dies_in_the_middle_of_a_command_leaves_it_unknown(networked: Sandbox) -> None:
    result = networked.run("tests/sandbox/faults.py", verb="switchover", to="keydb-2", cut_before="Promote:1")
    result.refused("whether it did what was asked is unknown")
    assert networked.primaries() == ["keydb-1"] or networked.primaries() == ["keydb-1", "keydb-2"]
    networked.network.heal()
    networked.run("switchover", to="keydb-2").ok()
    networked.healthy("keydb-2")


def test_a_read_time_out_while_it_catches_up_is_a_clean_stop(networked: Sandbox) -> None:
    with writing(networked) as writer:
        result = networked.run("tests/sandbox/faults.py", verb="switchover", to="keydb-2", cut_before="CatchUp:2")
        result.refused("did not answer in time", "failed and unchanged")
        networked.network.heal()
        networked.run("rejoin").ok()
        writer.write_on()
        assert writer.lost() == 0
    networked.healthy("keydb-1")


def test_its_command_line_does_the_same(networked: Sandbox) -> None:
    def network(*words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "keydb_runbooks.connectors.network", *words]
        return subprocess.run(
            program, env=networked.environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=20
        )

    assert network("cut", "keydb-2").returncode == 0
    assert _connects(networked, "keydb-2") == "silence"
    assert network("heal").returncode == 0
    eventually(lambda: _connects(networked, "keydb-2") == "connected", "it can be reached again")
    assert "allowed" in network("cut", "keydb-9").stderr or "choose from" in network("cut", "keydb-9").stderr
    networked.kill_all()
    gone = network("heal")
    assert gone.returncode == 1
    assert "were they started" in gone.stderr
    assert "Traceback" not in gone.stderr

"""A primary that froze, was failed over and wakes: what waited in its sockets, and what gets there later."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from kit import Sandbox, eventually
from redis.connection import Connection

EVAL = ("EVAL", "return redis.call('SET', KEYS[1], 'x')", "1")


def write(how: str, key: str) -> tuple[str, ...]:
    return ("SET", key, "x") if how == "set" else (*EVAL, key)


@contextmanager
def session(group: Sandbox, place: str) -> Iterator[Connection]:
    """An application's connection to a server or through the proxy, over which something was read."""
    client = group.client(place, "application")
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command("GET", "test:1")
        assert connection.read_response()
        yield connection
    finally:
        client.connection_pool.disconnect()


def taken(group: Sandbox, node: str, *command: str) -> bool:
    """Whether a node takes a write."""
    try:
        return bool(group.ask(node, *command, role="application"))
    except redis.ResponseError as error:
        assert "NOREPLICAS" in str(error)
        return False


def failed_over(group: Sandbox) -> str:
    """Fail over a frozen primary; returns what was announced, in one line."""
    eventually(lambda: not group.heard("keydb-1"), "replicas hear nothing", 15)
    return " ".join(group.run("failover", to="keydb-2").ok().text.split())


@pytest.mark.every_engine_in_ci
@pytest.mark.parametrize("how", ["set", "eval"])
def test_what_waits_for_a_frozen_primary_is_written_when_it_wakes_and_told_to_nobody_behind_a_proxy(
    group: Sandbox, how: str
) -> None:
    with session(group, "proxy-1") as through, session(group, "keydb-1") as around:
        group.freeze("keydb-1")
        through.send_command(*write(how, "test:through"))
        around.send_command(*write(how, "test:around"))

        told = failed_over(group)

        # The proxy cut it, so whatever becomes of the write: its client has no answer.
        with pytest.raises(redis.ConnectionError):
            through.read_response()
        group.thaw("keydb-1")
        # It carries out what waits, and who goes around the proxies hears OK, unless it sees first that its replicas left.
        heard = answered(around)
    assert "keydb-1 is not stopped: when it wakes, writes that get there are acknowledged, and lost, until" in told
    assert "predicted loss unknown" in told
    keys = ("test:through", "test:around")
    assert [group.ask("keydb-2", "GET", key, role="application") for key in keys] == [None, None]

    if heard:
        group.run("rejoin").refused("refused: diverged keydb-1", "accept_loss=keydb-1")
    # Without a write it may hold a heartbeat of its own all the same, which counts as bytes.
    saved = group.run("rejoin", accept_loss="keydb-1").ok().text

    listed = [key for key in keys if f'only on the node  0 string  "{key}"' in saved]
    assert ("test:around" in listed) == heard
    group.healthy("keydb-2")


def answered(client: redis.Connection) -> bool:
    """Whether a write was acknowledged; else it was refused for want of replicas."""
    try:
        return client.read_response() in (b"OK", "OK")
    except redis.ResponseError as error:
        assert "NOREPLICAS" in str(error)
        return False


@pytest.mark.every_engine_in_ci
def test_a_woken_primary_without_replicas_takes_nothing_but_scripts_on_keydb_and_the_plan_says_so(
    group: Sandbox,
) -> None:
    group.freeze("keydb-1")
    told = failed_over(group)
    group.thaw("keydb-1")
    eventually(lambda: not taken(group, "keydb-1", *write("set", "test:late")), "it knows that its replicas left")
    scripts_pass = group.engine == "keydb"
    assert taken(group, "keydb-1", *write("eval", "test:late")) == scripts_pass
    assert ("(a script's on KeyDB: until it is demoted)" in told) == scripts_pass


def check_of(group: Sandbox, node: str) -> tuple[str, str]:
    """What the proxy thinks of a node as a primary, and how its last check ended; a star if the next one waits."""
    head, *rows = csv.reader(group.ask_proxy("show stat").decode().splitlines())
    seen = next(dict(zip(head, row, strict=True)) for row in rows if row[:2] == ["demo-write", node])
    return seen["status"], seen["check_status"]


@pytest.mark.every_engine_in_ci
def test_no_proxy_leads_to_a_woken_primary_although_its_first_answer_is_of_before_it_froze(group: Sandbox) -> None:
    group.freeze("keydb-1")
    failed_over(group)
    eventually(lambda: check_of(group, "keydb-1")[1].startswith("*"), "a check waits for the frozen one")

    group.thaw("keydb-1")

    seen = set()

    def answered() -> bool:
        seen.add(check_of(group, "keydb-1"))
        # As one that has no replica.
        return ("DOWN", "L7RSP") in seen

    eventually(answered, "the proxy knows what keydb-1 is")
    assert not [status for status, _ in seen if status.startswith("UP")], seen
    assert group.reached() == "keydb-2"

"""What somebody does by mistake or by hand, and what may come of it: no run believes it, and none destroys anything."""

from __future__ import annotations

import shutil
import time
from threading import Event, Thread

import pytest
import redis
from kit import NODES, Sandbox, eventually, writing

from tests.sandbox.test_rejoin import split

GUARD = ("REPLICAOF", "255.255.255.255", "1")
ENDLESS = 10**12


def alone(group: Sandbox, node: str) -> None:
    """A node that needs no replicas to take writes."""
    group.ask(node, "CONFIG", "SET", "min-replicas-to-write", "0")


# Keys of the runbooks, which an application may write to

SPOILED = {
    "another-type": lambda group: group.ask("proxy-1", "LPUSH", "runbook:lineage", "x", role="application"),
    "too-long": lambda group: group.ask("proxy-1", "SET", "runbook:lineage", "a:" + "9" * 5000, role="application"),
    "no-text": lambda group: group.ask("proxy-1", "SET", "runbook:lineage", b"\xff\xfe", role="application"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_an_application_that_spoils_the_record_stops_no_switchover(group: Sandbox, spoil) -> None:
    with writing(group) as writer:
        group.ask("proxy-1", "DEL", "runbook:lineage", role="application")
        spoil(group)
        group.run("switchover", to="keydb-2").ok()
        writer.write_on()
        assert writer.lost() == 0
    group.healthy("keydb-2")
    assert str(group.ask("keydb-2", "GET", "runbook:lineage")).startswith(str(group.info("keydb-2")["master_replid2"]))


@pytest.mark.parametrize("epoch", [b"9" * 5000, b"\xff\xfe"], ids=["too-long", "no-text"])
def test_an_epoch_that_is_no_number_is_unknown(group: Sandbox, epoch: bytes) -> None:
    group.ask("proxy-1", "SET", "runbook:epoch", epoch, role="application")
    eventually(lambda: group.findings() == [], "status finds nothing")
    group.run("switchover", to="keydb-2").ok()
    group.healthy("keydb-2")


# Roles that were given by hand


def test_a_replica_that_was_promoted_by_hand_takes_no_role_from_the_primary(group: Sandbox) -> None:
    """Without a verb no promotion is counted, and by lineage alone it would be the later one of the two."""
    alone(group, "keydb-3")
    group.ask("keydb-3", "REPLICAOF", "NO", "ONE")
    with group.unchanged():
        for verb, data in (("rejoin", {}), ("rejoin", {"accept_loss": "keydb-1"}), ("switchover", {"to": "keydb-3"})):
            group.run(verb, **data).refused("refused: two-primaries demo: keydb-1 and keydb-3 are primaries")
    assert "the facts name no rightful one" in group.run("status").ok().text

    group.run("demote", node="keydb-3").ok()
    eventually(lambda: "wrong-route" not in group.findings(), "the proxy knows one primary")
    group.run("rejoin").refused("refused: unrelated keydb-3")
    group.run("rejoin", accept_loss="keydb-3").ok()

    group.healthy("keydb-1")


def test_install_says_that_there_are_two_primaries(group: Sandbox) -> None:
    alone(group, "keydb-3")
    group.ask("keydb-3", "REPLICAOF", "NO", "ONE")
    with group.unchanged():
        told = group.run("install").ok().text
    assert "two-primaries demo: keydb-1 and keydb-3 are primaries; install moves no role" in told
    assert "has none now" not in told


def test_a_primary_that_the_inventory_does_not_have_is_not_proved_to_be_gone(group: Sandbox) -> None:
    """As if keydb-1 had got another address: its replicas follow the old one, where nobody looked."""
    for node in NODES[1:]:
        group.ask(node, "REPLICAOF", "127.0.0.9", group.port_of("keydb-1"))
    group.kill("keydb-1")
    group.boot("keydb-1", "--replicaof", *GUARD[1:])
    eventually(lambda: not group.heard("keydb-1"), "the replicas hear nobody")
    with group.unchanged():
        refused = group.run("failover").refused("refused: not-fenced old primary: keydb-2 follows 127.0.0.9:")
    assert "which is no node of demo and may still take writes" in " ".join(refused.text.split())

    group.run("failover", accept_split="yes").ok()

    # The last PING of keydb-1 may have come to one of them only, and who has it is promoted.
    (promoted,) = group.primaries()
    assert promoted != "keydb-1"
    group.healthy(promoted)


def empty_primary(group: Sandbox) -> None:
    """keydb-1 came up without its data, and the others were sent nowhere: a failover died behind that."""
    for node in NODES[1:]:
        group.ask(node, *GUARD)
    group.kill("keydb-1")
    shutil.rmtree(group.directory / "keydb-1" / "data")
    (group.directory / "keydb-1" / "data").mkdir(mode=0o700)
    group.boot("keydb-1")


def test_an_empty_primary_is_not_given_back_to_clients(group: Sandbox) -> None:
    empty_primary(group)
    group.ask("keydb-1", "CLIENT", "PAUSE", ENDLESS, "WRITE")
    with group.unchanged():
        group.run("abort").refused("refused: empty-primary keydb-1: holds no keys", "run failover")
    group.run("fence", node="keydb-1").ok()
    with group.unchanged():
        group.run("unfence", node="keydb-1").refused("refused: empty-primary keydb-1: holds no keys", "run failover")

    group.run("failover").ok()

    assert len({group.keys(node) for node in NODES}) == 1
    group.healthy("keydb-2")


# Who may write all the same


def test_a_node_whose_replicas_take_writes_acknowledges_none_that_are_not_saved(group: Sandbox) -> None:
    split(group)
    group.ask("keydb-1", "CONFIG", "SET", "replica-read-only", "no")
    acknowledged, over = [], Event()

    def write() -> None:
        client = group.client("keydb-1", "application")
        while not over.is_set():
            try:
                client.set(f"late:{len(acknowledged)}", "x")
                acknowledged.append(b"late:%d" % len(acknowledged))
            except Exception:  # it refuses writes from here on, or its clients were cut
                time.sleep(0.01)

    writer = Thread(target=write)
    writer.start()
    try:
        eventually(lambda: len(acknowledged) > 100, "it takes writes")
        group.run("rejoin", accept_loss="keydb-1").ok()
    finally:
        over.set()
        writer.join()
    (saved,) = (group.directory / "keydb-1" / "data").glob("keydb-1-*.rdb")
    assert [key for key in acknowledged if key not in saved.read_bytes()] == []


def test_a_fence_takes_writes_from_users_that_were_given_more(group: Sandbox) -> None:
    group.ask("keydb-1", "ACL", "SETUSER", "monitoring", "~*", "+@all")
    assert group.ask("keydb-1", "SET", "test:more", "x", role="monitoring")
    group.run("fence", node="keydb-1").ok()
    for role in ("application", "monitoring"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            group.ask("keydb-1", "SET", "test:fenced", "x", role=role)
    group.run("unfence", node="keydb-1").ok()
    assert group.ask("keydb-1", "SET", "test:more", "x", role="monitoring")


def test_promote_says_that_nobody_can_write_before_a_replica_follows(group: Sandbox) -> None:
    for node in NODES:
        group.kill(node)
    group.run("start").ok()
    eventually(lambda: group.run("promote", dry=True, to="keydb-2").code == 0, "the proxy gets answers again")
    told = " ".join(group.run("promote", to="keydb-2").ok().text.split())
    assert "it ends behind rejoin: without a replica the new one refuses writes (min-replicas-to-write)" in told
    assert not group.writable()
    group.run("rejoin").ok()
    group.healthy("keydb-2")


# Options that contradict the facts, or each other


def test_rejoin_does_not_overlook_which_data_are_the_right_ones(group: Sandbox) -> None:
    group.ask("keydb-3", *GUARD)
    with group.unchanged():
        group.run("rejoin", to="keydb-3").refused("refused: other-primary keydb-1: is the primary, and keydb-3 is not")
        group.run("rejoin", to="keydb-9").refused("refused: unknown-target keydb-9")
        both = group.run("rejoin", to="keydb-3", accept_loss="keydb-2,keydb-3")
        both.refused("--data to=keydb-3 and accept_loss=keydb-3", "say one of the two")


@pytest.mark.first_engine
def test_a_report_takes_the_place_of_nothing_else(group: Sandbox) -> None:
    precious, empty, old = (group.directory / name for name in ("precious.yaml", "empty.json", "old.json"))
    precious.write_text("mine: 1\n")
    for place in (precious, group.directory, "/dev/null"):
        with group.unchanged():
            refused = group.run("switchover", to="keydb-2", report=str(place))
            refused.refused(f"--data report={place}: is there and is no report of a run")
    empty.write_text("")
    for place in (empty, old, old):
        group.run("switchover", to="keydb-1", report=str(place)).ok()
        assert '"outcome": "nothing to do"' in place.read_text()

"""Rejoin of a node that holds writes of its own: they are saved and told before they are thrown away."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from pathlib import Path

import pytest
import redis
from diverging import many_keys, raw, saved, sound, split, write_lost
from kit import FAULTS, NODES, Sandbox, eventually
from loaded import server_on

BIG = 700
"""Elements that are read in parts."""


def fill_both(group: Sandbox) -> None:
    """The same on all nodes, of every type, small and big, in two databases."""
    for database in (0, 3):
        client = raw(group, "proxy-1", database)
        pipeline = client.pipeline(transaction=False)
        for kind in ("small", "big"):
            count = 3 if kind == "small" else BIG
            words = [b"w\x00%d" % number for number in range(count)]
            for twin in (b"same", b"other"):
                name = b"%s:%s:" % (twin, kind.encode())
                pipeline.set(name + b"string", b"\xff" * (10 if count == 3 else 200_000))
                pipeline.rpush(name + b"list", *words)
                pipeline.sadd(name + b"set", *words)
                pipeline.hset(name + b"hash", mapping={word: b"v" + word for word in words})
                pipeline.zadd(name + b"zset", {word: number + 0.5 for number, word in enumerate(words)})
                for number in range(count):
                    pipeline.xadd(name + b"stream", {b"f": words[number]}, id=f"1-{number + 1}")
        pipeline.set(b"expires:same", b"x", ex=600)
        pipeline.set(b"expires:other", b"x", ex=600)
        pipeline.set(b"expires:never", b"x", ex=600)
        pipeline.set(b"kind", b"x")
        pipeline.execute()
        client.connection_pool.disconnect()
    written = group.info("keydb-1")["master_repl_offset"]
    eventually(
        lambda: min(int(str(group.info(node)["slave_repl_offset"])) for node in NODES[1:]) >= int(str(written)),
        "replicas have all",
    )


OTHERS = {
    *(
        f"other:{size}:{kind}"
        for size in ("small", "big")
        for kind in ("string", "list", "set", "hash", "zset", "stream")
    ),
    "kind",
    "expires:other",
    "expires:never",
}


def diverge(group: Sandbox) -> None:
    """keydb-1 takes writes that nobody else has: new keys, other values of the same length, other expiries."""
    for database in (0, 3):
        client = raw(group, "keydb-1", database)
        client.set(b"only\x00here\xff\n", b"a-secret-value")
        client.rpush(b"only:list", b"a-secret-value")
        for size, index in (("small", 1), ("big", BIG - 50)):
            name = f"other:{size}:".encode()
            client.setrange(name + b"string", 5 if size == "small" else 199_000, b"Z")
            client.lset(name + b"list", index, b"changed")
            client.srem(name + b"set", b"w\x00%d" % index)
            client.sadd(name + b"set", b"changed")
            client.hset(name + b"hash", b"w\x00%d" % index, b"changed")
            client.zincrby(name + b"zset", 0.25, b"w\x00%d" % index)
            client.xdel(name + b"stream", f"1-{index}")
            client.xadd(name + b"stream", {b"f": b"changed"}, id="2-1")
        client.delete(b"kind")
        client.sadd(b"kind", b"x")
        client.expire(b"expires:other", 900)
        client.persist(b"expires:never")
        client.connection_pool.disconnect()
        other = raw(group, "keydb-2", database)
        other.set(b"only:there", b"x")
        other.set(b"only:there:too", b"x")
        other.connection_pool.disconnect()


def lost_writes(client: redis.Redis) -> None:
    assert client.get(b"only\x00here\xff\n") == b"a-secret-value"
    assert client.lrange(b"only:list", 0, -1) == [b"a-secret-value"]
    assert client.hget(b"other:big:hash", b"w\x00650") == b"changed"


@pytest.mark.every_engine_in_ci
def test_what_only_the_old_primary_holds_is_saved_and_listed_before_it_is_replaced(group: Sandbox) -> None:
    """It still takes writes: it stops before it is saved, so that nothing is newer than the file."""
    fill_both(group)
    split(group)
    diverge(group)
    with group.unchanged():
        group.run("rejoin").refused("refused: diverged keydb-1", "accept_loss=keydb-1")
        shown = group.run("rejoin", accept_loss="keydb-1", dry=True).ok().text
    assert "the data of keydb-1 are replaced" in " ".join(shown.split())
    assert "keys are there and" in " ".join(shown.split())

    done = group.run("rejoin", accept_loss="keydb-1").ok()

    group.healthy("keydb-2")
    assert group.findings() == []
    (file,) = saved(group)
    described = sound(file)
    assert described["node"] == "keydb-1"
    with server_on(group, file) as client:
        lost_writes(client)
    told = json.loads(file.with_suffix(".differences.json").read_text())
    assert file.with_suffix(".differences.json").stat().st_mode & 0o777 == 0o600
    listed = {(row["database"], row["key"]): row["what"] for row in told["listed"]}
    expected = {(database, f'"{key}"'): True for database in (0, 3) for key in OTHERS}
    only = {(database, key) for database in (0, 3) for key in ('"only\\x00here\\xff\\n"', '"only:list"')}
    assert {place for place, what in listed.items() if what == "only on the node"} == only
    assert {place for place, what in listed.items() if what != "only on the node"} == set(expected)
    assert listed[(0, '"kind"')] == "another type"
    assert listed[(3, '"expires:never"')] == listed[(0, '"expires:other"')] == "another expiry"
    assert (told["only_on_node"], told["other"], told["only_on_primary"]) == (4, 2 * len(OTHERS), 4)
    assert "a-secret-value" not in done.text + json.dumps(told)
    assert '"only\\x00here\\xff\\n"' in done.text


def test_a_returned_node_s_data_are_fetched_to_this_machine_if_asked(group: Sandbox, tmp_path: Path) -> None:
    fill_both(group)
    split(group)
    diverge(group)
    group.stop("keydb-1")
    group.run("start").ok()

    group.run("rejoin", accept_loss="keydb-1", save="fetch", save_to=str(tmp_path / "kept")).ok()

    group.healthy("keydb-2")
    assert not saved(group), "nothing stays on the node"
    (file,) = (tmp_path / "kept").glob("*.rdb")
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    sound(file)
    with server_on(group, file) as client:
        lost_writes(client)
    assert json.loads(file.with_suffix(".differences.json").read_text())["only_on_node"] == 4


def test_a_run_that_dies_while_it_saves_or_compares_is_done_again(group: Sandbox) -> None:
    """Nothing was thrown away, and what was saved stays."""
    fill_both(group)
    split(group)
    diverge(group)
    for moment in ("SaveData:1", "Compare:1"):
        killed = group.run(FAULTS, verb="rejoin", accept_loss="keydb-1", die_after=moment)
        assert killed.code == -9, killed.text
        # The same data saved twice within a second have one name.
        assert saved(group)
        assert "guarded" in group.findings()
        group.run("rejoin").refused("refused: diverged keydb-1")

    group.run("rejoin", accept_loss="keydb-1").ok()

    group.healthy("keydb-2")
    files_now = saved(group)
    assert files_now
    for file in files_now:
        sound(file)
    with server_on(group, files_now[-1]) as client:
        lost_writes(client)


def test_a_run_killed_inside_the_comparison_leaves_the_node_as_it_is(group: Sandbox) -> None:
    split(group)
    many_keys(group, "keydb-1", 20_000)
    process = group.start("inventories/sandbox.py", "deploys/rejoin.py", "-y", "--data", "accept_loss=keydb-1")
    try:
        eventually(lambda: bool(list((group.directory / "keydb-1" / "data").glob("keydb-1-*.json"))), "it is saved", 20)
        assert process.poll() is None, "it compares"
    finally:
        process.kill()
        process.communicate()
    assert group.keys("keydb-1") > 20_000
    group.run("rejoin", accept_loss="keydb-1", compare="no").ok()
    group.healthy("keydb-2")


def test_a_disk_that_is_full_stops_the_save_and_nothing_is_attached(group: Sandbox) -> None:
    split(group)
    write_lost(group)
    keys = group.keys("keydb-1")
    pid = group.pid("keydb-1")
    assert pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        full = group.run("rejoin", accept_loss="keydb-1")
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    full.refused("keydb-1 could not save its data (its log says why); its data stay as they are")
    assert "left out: follow keydb-2" in full.text
    assert group.keys("keydb-1") == keys
    assert not list((group.directory / "keydb-1" / "data").glob("keydb-1-*"))

    group.run("rejoin", accept_loss="keydb-1").ok()

    group.healthy("keydb-2")
    assert len(saved(group)) == 1


def test_without_the_right_to_save_nothing_is_attached_and_the_other_verbs_go_on(group: Sandbox) -> None:
    """Groups that were installed before the operator had it."""
    split(group)
    write_lost(group)
    group.ask("keydb-1", "ACL", "SETUSER", "operator", "-bgsave")
    lacking = group.run("rejoin", accept_loss="keydb-1")
    lacking.refused("keydb-1 does not permit the operator BGSAVE; run install, or save=no")
    assert group.keys("keydb-1")

    group.run("rejoin", accept_loss="keydb-1", save="no").ok()

    group.healthy("keydb-2")
    assert not saved(group)


def busy_seconds(group: Sandbox, node: str) -> float:
    """How long a server worked for all commands that it got so far."""
    statistics = dict(group.ask(node, "INFO", "commandstats"))
    return sum(float(one["usec"]) for name, one in statistics.items() if name.startswith("cmdstat_")) / 1e6


@pytest.mark.slow
def test_a_hundred_thousand_keys_are_compared_and_the_primary_hardly_notices(group: Sandbox) -> None:
    split(group)
    many_keys(group, "keydb-1", 100_000)
    many_keys(group, "keydb-2", 90_000)
    before, busy = time.monotonic(), busy_seconds(group, "keydb-2")
    group.pyinfra(
        "inventories/sandbox.py", "deploys/rejoin.py", "-y", "--data", "accept_loss=keydb-1", patience_seconds=600
    ).ok()
    busy, elapsed = busy_seconds(group, "keydb-2") - busy, time.monotonic() - before
    (file,) = saved(group)
    told = json.loads(file.with_suffix(".differences.json").read_text())
    assert (told["compared"], told["only_on_node"], told["other"]) == (group.keys("keydb-1") + 10_000 - 3, 10_000, 0)
    assert len(told["listed"]) == 1000
    assert busy < elapsed / 4, "most of the primary's time is left to its clients"
    group.healthy("keydb-2")


# A primary that lost its data


def lose_disk(group: Sandbox, node: str) -> None:
    group.kill(node)
    shutil.rmtree(group.directory / node / "data")
    (group.directory / node / "data").mkdir(mode=0o700)


def come_back_empty(group: Sandbox) -> int:
    """keydb-1 is back without its data and unguarded; the others still hold theirs, and follow nobody for the moment."""
    keys = group.keys("keydb-2")
    for node in NODES[1:]:
        group.ask(node, "REPLICAOF", "255.255.255.255", "1")
    lose_disk(group, "keydb-1")
    group.boot("keydb-1")
    assert group.role("keydb-1") == "master"
    assert group.keys("keydb-1") == 0
    return keys


def test_an_empty_primary_gives_its_role_to_the_best_of_the_others(group: Sandbox) -> None:
    keys = come_back_empty(group)
    assert "empty-primary" in group.findings()
    for verb, data in (
        ("rejoin", {}),
        ("rejoin", {"accept_loss": "keydb-2,keydb-3"}),
        ("switchover", {"to": "keydb-2"}),
    ):
        group.run(verb, **data).refused("refused:")
    assert [group.keys(node) for node in NODES] == [0, keys, keys]

    group.run("failover").ok()

    (new,) = group.primaries()
    assert new != "keydb-1"
    group.healthy(new)
    eventually(lambda: min(group.keys(node) for node in NODES) >= keys, "everybody has all keys")


def test_replicas_that_point_to_an_empty_primary_are_sent_nowhere_before_they_reach_it(group: Sandbox) -> None:
    """They can't log in there for the moment, and would be wiped at the next attempt that succeeds."""
    keys = group.keys("keydb-2")
    for node in NODES[1:]:
        group.ask(node, "CONFIG", "SET", "masterauth", "another")
    lose_disk(group, "keydb-1")
    group.boot("keydb-1")
    eventually(lambda: all(group.info(node)["master_link_status"] == "down" for node in NODES[1:]), "no link is up")
    assert [group.keys(node) for node in NODES] == [0, keys, keys]

    assert "REPLICAOF 255.255.255.255 1" in group.run("failover", dry=True).ok().text
    group.run(FAULTS, verb="failover", die_after="Guard:2")
    for node in NODES[1:]:
        group.ask(node, "CONFIG", "SET", "masterauth", group.passwords["replication"])
    # From here on they could log in, if they still tried to.
    group.run("failover").ok()

    (new,) = group.primaries()
    assert new != "keydb-1"
    group.healthy(new)
    eventually(lambda: min(group.keys(node) for node in NODES) >= keys, "everybody has all keys")


def test_a_write_that_an_empty_primary_took_since_stops_the_failover_and_its_writers_go_on(group: Sandbox) -> None:
    come_back_empty(group)
    group.ask("keydb-1", "CONFIG", "SET", "min-replicas-to-write", "0")
    port, password = group.port_of("keydb-1"), group.passwords["application"]
    client = f"redis.Redis(port={port}, username='application', password='{password}', protocol=2, driver_info=None)"
    script = group.directory / "write.py"
    script.write_text(f"import redis; {client}.set('new', 'x')")
    hit = f"{sys.executable} {script}"

    stopped = group.run(FAULTS, verb="failover", hit_before="Pause:1", hit_with=hit)

    stopped.refused("keydb-1 holds 1 keys now", "failed and unchanged")
    assert group.primaries() == ["keydb-1"]
    assert not group.paused("keydb-1")
    assert group.ask("keydb-1", "GET", "new", role="application") == "x"
    # Not empty any more, and still nobody's source.
    assert "lost-history" in group.findings()
    for verb, data in (
        ("failover", {}),
        ("rejoin", {"accept_loss": "keydb-2,keydb-3"}),
        ("switchover", {"to": "keydb-1", "accept_loss": "keydb-2,keydb-3"}),
    ):
        result = group.run(verb, **data)
        assert group.primaries() == ["keydb-1"]
        assert min(group.keys(node) for node in NODES[1:]) > 10, result.text
    group.run("rejoin", accept_loss="keydb-2,keydb-3").refused("refused: lost-history keydb-1")

    group.stop("keydb-1")
    group.run("failover").ok()
    group.run("start").ok()
    group.run("rejoin").refused("refused: unrelated keydb-1")
    group.run("rejoin", accept_loss="keydb-1").ok()
    (file,) = saved(group)
    with server_on(group, file) as kept:
        assert kept.get("new") == b"x"

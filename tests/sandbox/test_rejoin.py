"""Rejoin of a node that holds writes of its own: they are saved and told before they are thrown away."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from kit import FAULTS, NODES, Sandbox, eventually, writing

from keydb_runbooks.connectors.programs import find_server
from keydb_runbooks.connectors.sandbox import MARK


def raw(group: Sandbox, node: str, database: int = 0, role: str = "application") -> redis.Redis:
    """A client that speaks bytes."""
    client = group.client(node, role)
    client.connection_pool.connection_kwargs.update(decode_responses=False, db=database)
    return client


def split(group: Sandbox) -> None:
    """keydb-2 is promoted behind keydb-1's back, as by a failover with accept_split; both take writes."""
    group.ask("keydb-1", "CONFIG", "SET", "min-replicas-to-write", "0")
    group.ask("keydb-2", "CONFIG", "SET", "min-replicas-to-write", "0")
    group.ask("keydb-2", "REPLICAOF", "NO", "ONE")
    group.ask("keydb-2", "SET", "runbook:epoch", "2")
    info = group.info("keydb-2")
    record = f"{info['master_replid2']}:{int(str(info['second_repl_offset'])) - 1}"
    group.ask("keydb-2", "SET", "runbook:lineage", record)
    group.ask("keydb-3", "REPLICAOF", group.known_address_of("keydb-2"), group.port_of("keydb-2"))
    for node in ("keydb-2", "keydb-3"):
        group.ask(node, "CONFIG", "REWRITE")
    eventually(lambda: group.follows("keydb-3", "keydb-2"), "keydb-3 follows keydb-2")
    group.ask("keydb-2", "CONFIG", "SET", "min-replicas-to-write", "1")


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
    *(f"other:{size}:{kind}" for size in ("small", "big") for kind in ("string", "list", "set", "hash", "zset", "stream")),
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


def saved(group: Sandbox, node: str = "keydb-1") -> list[Path]:
    return sorted((group.directory / node / "data").glob(f"{node}-*.rdb"))


@contextmanager
def server_on(group: Sandbox, file: Path) -> Iterator[redis.Redis]:
    """A server of the same engine that was started on a saved file."""
    _, program = find_server(group.engine)
    directory = group.directory / "loaded"
    directory.mkdir()
    (directory / "dump.rdb").write_bytes(file.read_bytes())
    path = directory / "socket"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""],
        env={MARK: str(group.directory)},
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(unix_socket_path=str(path), protocol=2, driver_info=None)
    try:

        def loaded() -> bool:
            return bool(client.ping())

        eventually(loaded, "the server has loaded the file")
        yield client
    finally:
        client.connection_pool.disconnect()
        process.kill()
        process.wait()


def sound(file: Path) -> dict[str, object]:
    """A saved file with its description: readable by the owner alone, of the right length and checksum."""
    described = dict(json.loads(file.with_suffix(".json").read_text()))
    for path in (file, file.with_suffix(".json")):
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert described["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert described["bytes"] == file.stat().st_size
    assert str(described["replication_id"]) in file.name
    assert f"-{described['offset']}.rdb" in file.name
    return described


def lost_writes(client: redis.Redis) -> None:
    assert client.get(b"only\x00here\xff\n") == b"a-secret-value"
    assert client.lrange(b"only:list", 0, -1) == [b"a-secret-value"]
    assert client.hget(b"other:big:hash", b"w\x00650") == b"changed"


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

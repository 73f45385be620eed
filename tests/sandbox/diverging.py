"""A node that holds writes of its own, and what rejoin keeps of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import redis
from kit import GUARD, Sandbox, eventually


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


def write_lost(group: Sandbox) -> None:
    """keydb-1 takes a few writes that nobody else has, and returns guarded."""
    client = raw(group, "keydb-1")
    client.set(b"only:here", b"x")
    client.connection_pool.disconnect()
    group.stop("keydb-1")
    # From here, so that a full disk is an error for it, not its end.
    group.boot("keydb-1", *GUARD)


def saved(group: Sandbox, node: str = "keydb-1") -> list[Path]:
    return sorted((group.directory / node / "data").glob(f"{node}-*.rdb"))


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


def many_keys(group: Sandbox, node: str, count: int) -> None:
    client = raw(group, node)
    for first in range(0, count, 5000):
        pipeline = client.pipeline(transaction=False)
        for number in range(first, first + 5000):
            pipeline.set(b"many:%d" % number, b"x" * 50)
        pipeline.execute()
    client.connection_pool.disconnect()

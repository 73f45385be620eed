"""Three Sentinels of the engine that watch a bench's group, and their own planned failover."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from bench.group import NODES, BenchGroup, eventually
from keydb_runbooks.connectors.programs import find_server

QUORUM = 2
DEMOTED_SECONDS = 40


@contextmanager
def watched(group: BenchGroup) -> Iterator[redis.Redis]:
    """Start the Sentinels with their defaults, and wait until each knows both replicas and both others."""
    _, program = find_server(group.engine)
    primary, started = group.primary, []
    ports = [group.sentinel_port + number for number in range(3)]
    try:
        for number, port in enumerate(ports, start=1):
            file = group.directory / f"sentinel-{number}.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {group.directory}\n"
                f"sentinel monitor bench 127.0.0.1 {group.port_of(primary)} {QUORUM}\n"
                f"sentinel auth-user bench bench\nsentinel auth-pass bench {group.password}\n"
            )
            file.chmod(0o600)
            log = (group.directory / f"sentinel-{number}.log").open("w")
            words = [program, str(file), "--sentinel"]
            started.append(subprocess.Popen(words, stdout=log, stderr=log))  # noqa: S603
        clients = [redis.Redis(port=port, protocol=2, decode_responses=True, socket_timeout=2) for port in ports]
        for client in clients:
            eventually(lambda client=client: _ready(client), "every Sentinel knows the group", 30)
        yield clients[0]
    finally:
        for process in started:
            process.terminate()
            process.wait(10)


def _ready(sentinel: redis.Redis) -> bool:
    seen = sentinel.sentinel_master("bench")
    return int(seen["num-slaves"]) == 2 and int(seen["num-other-sentinels"]) == 2


def fail_over(group: BenchGroup, sentinel: redis.Redis) -> float:
    """Ask for the planned failover and wait until the old primary is a replica; when it was asked for."""
    old = group.primary
    begin = time.monotonic()
    sentinel.execute_command("SENTINEL", "FAILOVER", "bench")
    eventually(lambda: group.role(old) != "master", f"Sentinel made {old} a replica", DEMOTED_SECONDS)
    assert [node for node in NODES if group.role(node) == "master"] != [old]
    return begin

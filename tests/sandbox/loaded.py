"""A look into a data file, by a server of the same engine."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from kit import Sandbox, eventually

from keydb_runbooks.connectors.programs import find_server
from keydb_runbooks.connectors.sandbox import MARK


@contextmanager
def server_on(group: Sandbox, file: Path | None) -> Iterator[redis.Redis]:
    """A server that nobody else reaches, started on a copy of a file, or empty without one."""
    _, program = find_server(group.engine)
    directory = Path(tempfile.mkdtemp(prefix="load-", dir=group.directory))
    if file is not None:
        (directory / "dump.rdb").write_bytes(file.read_bytes())
    path = directory / "socket"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""],
        env={MARK: str(group.directory)},
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(unix_socket_path=str(path), protocol=2, driver_info=None)
    try:
        eventually(lambda: bool(client.ping()), "the server has loaded the file", 20)
        yield client
    finally:
        client.connection_pool.disconnect()
        process.kill()
        process.wait()

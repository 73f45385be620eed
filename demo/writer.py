"""A client that writes unique values through the proxy and remembers every answer.

    python demo/writer.py PORT JOURNAL [WRITES_PER_SECOND]   (until SIGTERM; the password comes from the sandbox's file)

Each line of the journal is one write: ``SECONDS CLIENT NUMBER ok|failed``, with the monotonic clock's seconds at the
answer. A failed write is never sent again under its number, since nobody knows whether it was executed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import redis
from redis.connection import Connection, SSLConnection

CLIENTS = 4
WRITES_PER_SECOND = 1000
PAUSE_AFTER_FAILURE_SECONDS = 0.002


def key(client: int, number: int) -> str:
    """The key of one write."""
    return f"demo:{client}:{number}"


def connect(port: int, password: str, ca: Path) -> Connection:
    """A connection to the proxy that opens itself again; a bare one, since a whole client costs twice the processor.

    :param ca: the CA's file, if the sandbox is encrypted
    """
    kind = partial(SSLConnection, ssl_ca_certs=str(ca)) if ca.exists() else Connection
    return kind(
        host="127.0.0.1",
        port=port,
        username="application",
        password=password,
        socket_timeout=5,
        socket_connect_timeout=1,
        protocol=2,
        driver_info=None,
    )


def write(client: int, server: Connection, per_second: int, stop: threading.Event, journal: list[str]) -> None:
    """Write one value after the other, at an even pace, until told to stop.

    :param per_second: writes of all clients together
    """
    step = CLIENTS / per_second
    number, due = 0, time.monotonic()
    while not stop.is_set():
        number += 1
        outcome = "ok" if answered(server, client, number) else "failed"
        now = time.monotonic()
        journal.append(f"{now:.6f} {client} {number} {outcome}\n")
        # Time that was lost is not made up for: that would be a burst no client makes.
        due = max(due + step, now + (PAUSE_AFTER_FAILURE_SECONDS if outcome == "failed" else 0))
        time.sleep(max(0.0, due - time.monotonic()))


def answered(server: Connection, client: int, number: int) -> bool:
    """Send one write, once; whether it was acknowledged."""
    try:
        server.connect()
        server.send_command("SET", key(client, number), number)
        return bool(server.read_response() == b"OK")
    except redis.ResponseError:
        return False
    except (redis.RedisError, OSError):
        server.disconnect()
        return False


def main() -> None:
    port, path = int(sys.argv[1]), Path(sys.argv[2])
    per_second = int(sys.argv[3]) if len(sys.argv) > 3 else WRITES_PER_SECOND
    directory = Path(os.environ.get("KEYDB_SANDBOX_DIRECTORY", ".sandbox"))
    password = json.loads((directory / "passwords.json").read_text())["application"]
    ca = directory / "certificates" / "ca.pem"
    stop, journal = threading.Event(), list[str]()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = [
        threading.Thread(target=write, args=(client, connect(port, password, ca), per_second, stop, journal))
        for client in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    with path.open("w") as file:
        written = 0
        while any(thread.is_alive() for thread in threads) or written < len(journal):
            upto = len(journal)
            file.writelines(journal[written:upto])
            file.flush()
            written = upto
            time.sleep(0.02)


if __name__ == "__main__":
    main()

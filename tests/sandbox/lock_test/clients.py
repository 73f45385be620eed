"""Clients that take and release locks through the proxy, the way that is written in every manual, and their history.

    python tests/sandbox/lock_test/clients.py PORT HISTORY        (until SIGTERM; the password comes from the sandbox's file)

A lock is taken by ``SET lock token NX PX lease``. It is released by a script that compares and deletes, or by WATCH, GET
and a transaction that deletes. Most locks are held for some milliseconds, some for longer, some until their lease is over.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import redis
from redis.connection import Connection

for folder in (Path(__file__).parents[1], Path(__file__).parents[3]):
    sys.path.append(str(folder))

from lock_test.history import BUSY, GONE, Event  # noqa: E402

from demo.writer import connect  # noqa: E402

LOCKS = 4
CLIENTS = 12
LEASE_MILLISECONDS = 600
HOLD_SECONDS = (*[(0.005, 0.03)] * 5, *[(0.1, 0.3)] * 2, (0.62, 0.65))
"""From and to; the last one is longer than the lease."""
AGAIN_SECONDS = 0.008
COMPARE_AND_DELETE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"

Answer = str | None
"""Why an operation had no success; None if it had."""


class Client:
    """One client with a connection of its own, which opens itself again."""

    def __init__(self, number: int, server: Connection, history: list[Event]) -> None:
        self.process = number
        self.server = server
        self.history = history
        self.lock = f"lock-{number % LOCKS + 1}"
        self.release = self.release_by_script if number // LOCKS % 2 == 0 else self.release_by_transaction
        self.chance = random.Random(number)

    def run(self, stop: threading.Event) -> None:
        for number in count(1):
            if stop.is_set():
                return
            token = f"{self.process}-{number}"
            if self.do("acquire", token, self.acquire):
                time.sleep(self.chance.uniform(*self.chance.choice(HOLD_SECONDS)))
                self.do("release", token, self.release)
            time.sleep(AGAIN_SECONDS)

    def do(self, f: str, token: str, act: Callable[[str], Answer]) -> bool:
        """Do something once and write it down; whether it was acknowledged."""
        lease = LEASE_MILLISECONDS if f == "acquire" else None
        process = self.process
        self.record(process, "invoke", f, token, None, lease)
        kind, error = "ok", None
        try:
            self.server.connect()
        except (redis.RedisError, OSError) as failed:
            kind, error = "fail", f"not connected: {failed}"
        if kind == "ok":
            try:
                error = act(token)
                kind = "ok" if error is None else "fail"
            except redis.ResponseError as refused:
                kind, error = "fail", str(refused)
            except (redis.RedisError, OSError) as broken:
                kind, error = "info", str(broken)
                self.server.disconnect()
                # Nobody knows what became of it, so its process ends here.
                self.process += CLIENTS
        self.record(process, kind, f, token, error, None)
        return kind == "ok"

    def record(self, process: int, kind: str, f: str, token: str, error: str | None, lease: int | None) -> None:
        self.history.append(Event(process, kind, f, [self.lock, token], time.monotonic_ns(), error, lease))

    def acquire(self, token: str) -> Answer:
        return None if self.ask("SET", self.lock, token, "NX", "PX", LEASE_MILLISECONDS) == b"OK" else BUSY

    def release_by_script(self, token: str) -> Answer:
        return None if self.ask("EVAL", COMPARE_AND_DELETE, 1, self.lock, token) == 1 else GONE

    def release_by_transaction(self, token: str) -> Answer:
        """Somebody else's token is left alone; one that changes meanwhile makes EXEC answer nothing."""
        try:
            self.ask("WATCH", self.lock)
            if self.ask("GET", self.lock) != token.encode():
                self.ask("UNWATCH")
                return GONE
            self.ask("MULTI")
            self.ask("DEL", self.lock)
        except (redis.RedisError, OSError) as failed:
            # Nothing was sent that changes anything; what is queued must not stay.
            self.server.disconnect()
            return f"not sent: {failed}"
        return {None: "changed meanwhile", 0: GONE, 1: None}[self.first(self.ask("EXEC"))]

    def first(self, answer: object) -> object:
        return answer[0] if isinstance(answer, list) else answer

    def ask(self, *words: object) -> object:
        self.server.send_command(*words)
        answer = self.server.read_response()
        if isinstance(answer, list) and answer and isinstance(answer[0], redis.ResponseError):
            raise answer[0]
        return answer


def main() -> None:
    port, path = int(sys.argv[1]), Path(sys.argv[2])
    directory = Path(os.environ["KEYDB_SANDBOX_DIRECTORY"])
    password = json.loads((directory / "passwords.json").read_text())["application"]
    ca = directory / "certificates" / "ca.pem"
    stop, history = threading.Event(), list[Event]()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    clients = [Client(number, connect(port, password, ca), history) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
    for thread in threads:
        thread.start()
    with path.open("w") as file:
        written = 0
        while any(thread.is_alive() for thread in threads) or written < len(history):
            upto = len(history)
            file.writelines(event.line() for event in history[written:upto])
            file.flush()
            written = upto
            time.sleep(0.02)


if __name__ == "__main__":
    main()

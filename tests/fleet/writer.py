"""Clients that write through a proxy of the fleet while something happens, and what is missing of it afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path

from redis.connection import Connection, SSLConnection

from demo.measure import Write, find_lost, read_journal
from demo.writer import CLIENTS, write
from tests.fleet.fleet import Fleet
from tests.fleet.machine import eventually

_numbers = count(1)


class Writer:
    """``demo/writer.py``'s clients in threads of this process.

    :param proxy: whose address they know; they know no other
    :param user: who they log in as
    """

    def __init__(self, fleet: Fleet, proxy: str, per_second: int, user: str = "application") -> None:
        self.fleet, self.proxy, self.per_second, self.user = fleet, proxy, per_second, user
        self.journal: list[str] = []
        self._stop = threading.Event()
        # Nobody writes the keys of somebody before, which would look like writes that are still there.
        self.clients = [next(_numbers) for _ in range(CLIENTS)]
        self._threads = [threading.Thread(target=self._write, args=(client,)) for client in self.clients]
        for thread in self._threads:
            thread.start()

    def goes_on(self, seconds: float = 0.3, patience_seconds: float = 15) -> None:
        """Wait until writes were acknowledged for a while after now."""
        wanted = time.monotonic() + seconds
        eventually(lambda: self._last() > wanted, "the clients' writes are acknowledged", patience_seconds)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def acknowledged(self) -> int:
        return sum(line.endswith("ok\n") for line in self.journal)

    def refused(self) -> int:
        """How many writes were answered otherwise than with OK, or not at all."""
        # Counted by what each line says: others are added meanwhile.
        return sum(line.endswith("failed\n") for line in self.journal)

    def gap(self) -> float:
        """The longest time in seconds between two acknowledged writes of any one client."""
        rows = [line.split() for line in self.journal if line.endswith("ok\n")]
        times = [sorted(float(row[0]) for row in rows if row[1] == str(client)) for client in self.clients]
        return max(after - before for each in times for before, after in pairwise(each))

    def lost(self, folder: Path) -> int:
        """End the clients; how many of the acknowledged writes the group no longer has."""
        return len(self.missing(folder))

    def missing(self, folder: Path) -> set[Write]:
        """End the clients; which of the acknowledged writes the group no longer has."""
        self.stop()
        path = folder / "journal.txt"
        path.write_text("".join(self.journal))
        writes = read_journal(path)
        assert len(writes) > 100, "too few writes to tell anything"
        with self.fleet.client(self.proxy, self.user) as client:
            return find_lost(writes, client)

    def _write(self, client: int) -> None:
        group = self.fleet.group
        known = {
            "host": self.fleet[self.proxy].address,
            "port": group.write_port,
            "username": self.user,
            "password": self.fleet.passwords[self.user],
            "socket_timeout": 2,
            "socket_connect_timeout": 1,
            "protocol": 2,
            "driver_info": None,
        }
        server = Connection(**known) if group.ca is None else SSLConnection(**known, ssl_ca_certs=group.ca)
        write(client, server, self.per_second, self._stop, self.journal)
        server.disconnect()

    def _last(self) -> float:
        return next((float(line.split()[0]) for line in reversed([*self.journal]) if line.endswith("ok\n")), 0.0)


@contextmanager
def writing(fleet: Fleet, proxy: str = "proxy-1", per_second: int = 400, user: str = "application") -> Iterator[Writer]:
    """Clients that have begun to write, and never outlive the test."""
    writer = Writer(fleet, proxy, per_second, user)
    try:
        writer.goes_on()
        yield writer
    finally:
        writer.stop()

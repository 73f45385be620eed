"""What a proxy's old process knows of its servers, for the new one that takes its place.

A new process takes every server for one that is up until it has asked it, and would send writes to the first of them,
whoever that is. HAProxy reads such a text as its server-state file (management guide, "show servers state").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from keydb_runbooks.runbooks.replication import Address

BACKEND, SERVER, ADDRESS, OPERATIONAL, NAME, PORT = 1, 3, 4, 5, 17, 18
"""Columns of version 1; the operational state 0 is down."""

COLUMNS = 25


def carried_over(states: str, servers: Mapping[str, Mapping[str, Address]]) -> str | None:
    """The text that the new process reads: what is known stays, and whoever is new is down until it was asked.

    :param states: the answer to ``show servers state``
    :param servers: the servers of the new file, by the name of their backend
    :returns: None if the answer is of another version than 1
    """
    version, *lines = states.strip().splitlines() or [""]
    if version != "1":
        return None
    # The line that names the columns is of no backend.
    rows = [line.split() for line in lines]
    kept = [row for backend, wanted in servers.items() for row in _rows(rows, backend, wanted)]
    return "\n".join(["1", *(line for line in lines if line.startswith("#")), *map(" ".join, kept), ""])


def _rows(rows: list[list[str]], backend: str, wanted: Mapping[str, Address]) -> Iterator[list[str]]:
    known = {row[SERVER]: row for row in rows if len(row) >= COLUMNS and row[BACKEND] == backend}
    like = next(iter(known.values()), None)
    for number, (name, address) in enumerate(wanted.items(), start=1):
        row = known.get(name)
        if row is not None and _is_at(row, address):
            yield row
        elif like is not None and _is_number(address.host):
            new = list(like)
            new[SERVER - 1], new[SERVER], new[ADDRESS], new[PORT] = str(number), name, address.host, str(address.port)
            new[OPERATIONAL], new[NAME] = "0", "-"
            yield new


def _is_at(row: list[str], address: Address) -> bool:
    return address.host in (row[ADDRESS], row[NAME]) and row[PORT] == str(address.port)


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

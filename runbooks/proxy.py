"""What one HAProxy believes: the CSV of ``show stat`` as a ``Proxy``."""

from __future__ import annotations

import csv
from dataclasses import dataclass

NO_ANSWER = ("SOCKERR", "L4TOUT", "L4CON", "L6TOUT", "L6RSP", "L7TOUT")
"""Results of a check that met silence, a refused connection or something else than a server."""


@dataclass(frozen=True)
class ProxyServer:
    """A server line of one backend: which node, and whether new connections go there.

    ``check`` is the last check's result, HAProxy's word for it; ``since_seconds`` is since when the status holds.
    """

    node: str
    up: bool
    status: str
    check: str
    sessions: int
    since_seconds: int | None = None

    @property
    def unreached(self) -> bool:
        """Whether the last check got no answer at all: an answer of the wrong kind is one (HAProxy, "show stat")."""
        return not self.status.startswith(("MAINT", "no check")) and self.check.startswith(NO_ANSWER)


@dataclass(frozen=True)
class Proxy:
    """An HAProxy that answered on its runtime socket."""

    name: str
    write_backend: str
    read_backend: str
    writers: tuple[ProxyServer, ...]
    readers: tuple[ProxyServer, ...]
    observed_at: str = ""
    round_trip_seconds: float | None = None

    @property
    def writes_go_to(self) -> tuple[str, ...]:
        """The nodes that a new writing connection may reach."""
        return tuple(server.node for server in self.writers if server.up)


@dataclass(frozen=True)
class UnreadProxy:
    """An HAProxy that could not be read; ``detail`` is a sentence for people."""

    name: str
    code: str
    detail: str
    observed_at: str = ""


class StatisticsError(ValueError):
    """The text is not what ``show stat`` prints, or lacks the group's backends."""


def proxy_from_statistics(name: str, group: str, text: str) -> Proxy:
    """Make a ``Proxy`` of the CSV that ``show stat`` prints.

    :param group: name of the group; its backends are ``GROUP-write`` and ``GROUP-read``
    :raises StatisticsError: if a backend of the group is missing
    """
    rows = list(csv.DictReader(text.removeprefix("# ").splitlines()))
    write, read = f"{group}-write", f"{group}-read"
    present = {row.get("pxname") for row in rows}
    missing = [backend for backend in (write, read) if backend not in present]
    if missing:
        raise StatisticsError(f"{name} has no backend {' and no backend '.join(missing)}")
    return Proxy(name, write, read, _servers(rows, write), _servers(rows, read))


def _servers(rows: list[dict[str, str]], backend: str) -> tuple[ProxyServer, ...]:
    return tuple(
        ProxyServer(
            node=row["svname"],
            # Without a check a server gets connections like one that is up.
            up=row["status"].startswith(("UP", "no check")),
            status=row["status"],
            check=row.get("check_status", "").removeprefix("* "),
            sessions=int(row["scur"] or 0),
            since_seconds=int(row["lastchg"]) if row.get("lastchg") else None,
        )
        for row in rows
        if row["pxname"] == backend and row["svname"] not in ("FRONTEND", "BACKEND")
    )

"""Whose the files and directories are on a machine, where root installs and a system's user runs the server.

In the sandbox everything is of whoever pyinfra is there, and closed to others: everywhere None stands for that.
"""

from __future__ import annotations

from keydb_runbooks.connectors.group import NodeEntry, ProxyEntry
from keydb_runbooks.operations.files import Access
from keydb_runbooks.operations.service import has_systemd


def system_user(entry: NodeEntry | ProxyEntry) -> str | None:
    """The system's user that runs a server or a proxy, with the name that packages give it."""
    if not has_systemd(entry.host):
        return None
    return str(entry.data("keydb_engine")) if isinstance(entry, NodeEntry) else "haproxy"


def servers(entry: NodeEntry, mode: str) -> Access | None:
    """What the server itself writes: its data, its log, and its configuration, which it rewrites."""
    user = system_user(entry)
    return None if user is None else Access(user, user, mode)


def read_by_server(entry: NodeEntry, mode: str) -> Access | None:
    """What root writes and the server reads."""
    user = system_user(entry)
    return None if user is None else Access("root", user, mode)


def roots(entry: NodeEntry | ProxyEntry, mode: str) -> Access | None:
    """What root writes and only root reads."""
    return None if system_user(entry) is None else Access("root", "root", mode)


def config_directory(entry: NodeEntry) -> Access | None:
    """The directory in which the server replaces its own file.

    The sticky bit keeps it from replacing those of root beside it, one of which root runs: the boot guard.
    """
    return read_by_server(entry, "1770")


def as_arguments(access: Access | None) -> dict[str, str]:
    """The same for pyinfra's ``files.directory``."""
    return {"mode": "700"} if access is None else {"user": access.user, "group": access.group, "mode": access.mode}

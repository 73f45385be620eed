"""Whose the files and directories are on a machine, where root installs and a system's user runs the server.

In the sandbox everything is of whoever pyinfra is there, and closed to others: everywhere None stands for that.
"""

from __future__ import annotations

from dataclasses import dataclass

from keydb_runbooks.connectors.group import NodeEntry, ProxyEntry
from keydb_runbooks.operations.files import Access
from keydb_runbooks.operations.service import has_systemd


@dataclass(frozen=True)
class Owner:
    """A user and a group of a machine."""

    user: str
    group: str

    def __str__(self) -> str:
        return f"{self.user}:{self.group}"


def system_user(entry: NodeEntry | ProxyEntry) -> str | None:
    """The system's user that runs a server or a proxy, with the name that packages give it unless there is another."""
    owner = system_owner(entry)
    return None if owner is None else owner.user


def system_owner(entry: NodeEntry | ProxyEntry) -> Owner | None:
    """The same with its group, which has the user's name unless the inventory has another one."""
    if not has_systemd(entry.host):
        return None
    if not isinstance(entry, NodeEntry):
        return Owner("haproxy", "haproxy")
    user, _, group = str(entry.data("keydb_system_user") or entry.data("keydb_engine")).partition(":")
    return Owner(user, group or user)


def servers(entry: NodeEntry, mode: str) -> Access | None:
    """What the server itself writes: its data, its log, and its configuration, which it rewrites."""
    owner = system_owner(entry)
    return None if owner is None else Access(owner.user, owner.group, mode)


def read_by_server(entry: NodeEntry, mode: str) -> Access | None:
    """What root writes and the server reads."""
    owner = system_owner(entry)
    return None if owner is None else Access("root", owner.group, mode)


def roots(entry: NodeEntry | ProxyEntry, mode: str) -> Access | None:
    """What root writes and only root reads."""
    return None if system_user(entry) is None else Access("root", "root", mode)


def config_directory(entry: NodeEntry) -> Access | None:
    """The directory in which the server replaces its own file.

    The sticky bit keeps it from replacing those of root beside it, one of which root runs: the boot guard.
    """
    return read_by_server(entry, "1770")

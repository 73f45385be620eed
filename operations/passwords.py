"""Which files of a node or a proxy have passwords in them."""

from __future__ import annotations

from keydb_runbooks.connectors.group import NodeEntry, ProxyEntry
from keydb_runbooks.operations import boot_guard, haproxy, keydb


def files(entry: NodeEntry | ProxyEntry) -> list[str]:
    """Those that install writes; what is kept of a file that was replaced lies beside it, as ``PATH.previous``."""
    if isinstance(entry, ProxyEntry):
        return [haproxy.config_path(entry)]
    return [keydb.config_path(entry), keydb.credentials_path(entry), boot_guard.credentials_path(entry)]

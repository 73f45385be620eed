"""What install will look at on a machine, looked at by one command before it begins; nothing depends on it."""

from __future__ import annotations

from pathlib import PurePosixPath

from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.operations import boot_guard, firewall, haproxy, kernel, keydb, units
from keydb_runbooks.operations.files import look_ahead


def of_node(group: Group, node: NodeEntry) -> None:
    """Look at what a node's install looks at."""
    directories = [node.data("keydb_config_directory"), node.data("keydb_data_directory")]
    directories.append(str(PurePosixPath(node.data("keydb_log_file")).parent))
    rules = firewall.files(node) if firewall.wanted(node) else []
    files = [
        keydb.config_path(node),
        keydb.credentials_path(node),
        *keydb.certificate_paths(node).values(),
        *boot_guard.wanted_files(group, node),
        *units.paths(node),
        kernel.PATH,
    ]
    look_ahead(node.host, [*files, *rules, *directories])


def of_proxy(proxy: ProxyEntry) -> None:
    """Look at what a proxy's install looks at."""
    ca = [haproxy.ca_path(proxy)] if proxy.data("keydb_tls_ca") else []
    look_ahead(
        proxy.host,
        [haproxy.config_path(proxy), *ca, *units.paths_of_proxy(proxy), proxy.data("haproxy_config_directory")],
    )

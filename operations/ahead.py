"""What install will look at on a machine, looked at by one command before it begins; nothing depends on it."""

from __future__ import annotations

from pathlib import PurePosixPath

from keydb_runbooks.connectors.ahead import Question, ask
from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.facts.observation import questions_of
from keydb_runbooks.facts.running import recorded_of
from keydb_runbooks.operations import (
    boot_guard,
    firewall,
    haproxy,
    kernel,
    keydb,
    machine,
    owners,
    programs,
    service,
    units,
)
from keydb_runbooks.operations.files import files_of, look_ahead


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
    settings = [kernel.huge_pages_of(node)] if service.has_systemd(node.host) else []
    settings += [kernel.SETTINGS] if settings and node.data("keydb_kernel_settings") else []
    # What the group is asked for, before it is given its first primary, comes last.
    questions = [*programs.questions_of_server(node), *settings, *questions_of(node)]
    _look(node, service.server_unit(node), [*files, *rules, *directories], questions)


def of_proxy(proxy: ProxyEntry) -> None:
    """Look at what a proxy's install looks at."""
    ca = [haproxy.ca_path(proxy)] if proxy.data("keydb_tls_ca") else []
    files = [haproxy.config_path(proxy), *ca, *units.paths_of_proxy(proxy), proxy.data("haproxy_config_directory")]
    questions = [*programs.questions_of_proxy(proxy), haproxy.outdated_of(proxy)]
    _look(proxy, service.proxy_unit(proxy), files, questions)


def _look(entry: NodeEntry | ProxyEntry, unit: str, files: list[str], questions: list[Question]) -> None:
    """Ask for files, for what both kinds of machine are asked for, and for more."""
    user = owners.system_user(entry)
    users = [machine.has_user(user)] if user else []
    states = [units.state_of(unit)] if service.has_systemd(entry.host) else []
    ask(entry.host, [files_of(files), *users, *states, recorded_of(entry), *questions])
    look_ahead(entry.host, files)

"""What install will look at on a machine, looked at by one command before it begins; nothing depends on it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from pyinfra.api.host import Host

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
    _look(node.host, [*files, *rules, *directories], _questions_of_node(node))


def _questions_of_node(node: NodeEntry) -> Iterable[Question]:
    yield from programs.questions_of_server(node)
    if user := owners.system_user(node):
        yield machine.has_user(user)
    if service.has_systemd(node.host):
        yield units.state_of(service.server_unit(node))
        if node.data("keydb_kernel_settings"):
            yield kernel.SETTINGS
    yield recorded_of(node)
    # What the group is asked for, before it is given its first primary.
    yield from questions_of(node)


def of_proxy(proxy: ProxyEntry) -> None:
    """Look at what a proxy's install looks at."""
    ca = [haproxy.ca_path(proxy)] if proxy.data("keydb_tls_ca") else []
    files = [haproxy.config_path(proxy), *ca, *units.paths_of_proxy(proxy), proxy.data("haproxy_config_directory")]
    _look(proxy.host, files, _questions_of_proxy(proxy))


def _questions_of_proxy(proxy: ProxyEntry) -> Iterable[Question]:
    yield from programs.questions_of_proxy(proxy)
    if user := owners.system_user(proxy):
        yield machine.has_user(user)
    if service.has_systemd(proxy.host):
        yield units.state_of(service.proxy_unit(proxy))
    yield recorded_of(proxy)
    yield haproxy.outdated_of(proxy)


def _look(host: Host, files: list[str], questions: Iterable[Question]) -> None:
    ask(host, [files_of(files), *questions])
    look_ahead(host, files)

"""What install brings to one machine, in its order: the server of a node, or the HAProxy of a proxy; or to a pod.

Each act is a pyinfra operation of its own, so these are called by deploys and never inside an operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

from pyinfra.api.host import Host

from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.operations import (
    adopting,
    archives,
    boot_guard,
    firewall,
    haproxy,
    kernel,
    keydb,
    machine,
    owners,
    packages,
    pods,
    pods_image,
    pods_proxies,
    pods_ready,
    pods_renewal,
    programs,
    scope,
    service,
    units,
)


def server(node: NodeEntry) -> None:
    """A node's server with its files, its boot guard and systemd's units, started guarded: nobody's replica yet."""
    program = _program(node)
    filtered = programs.nft(node) if firewall.wanted(node) else ""
    if not node.adopted:
        _places(node)
    machine.directory(
        name="Make the server's directory",
        path=node.data("keydb_config_directory"),
        access=owners.config_directory(node),
    )
    if node.data("keydb_tls_ca"):
        keydb.certificates(name="Give the server its certificate")
    if node.adopted:
        adopting.users(name="Let our users log in")
    keydb.configuration(name="Configure the server", program=program)
    keydb.credentials(name="Let facts log in")
    boot_guard.installed(name="Give the node its boot guard")
    if service.has_systemd(node.host):
        units.server(name="Let systemd start the server", program=program)
        _kernel(node)
        kernel.advise_huge_pages(node)
    _firewall(node, filtered)
    keydb.running(name="Start the server, guarded", program=program)


def _program(node: NodeEntry) -> str:
    """Let there be the server's program, wherever it comes from; its path."""
    if node.data("keydb_package"):
        packages.server(name="Install the server's package")
    if node.data("keydb_program_source"):
        archives.server(name="Bring the server's program")
    if node.data("keydb_tls_ca") and service.has_systemd(node.host):
        programs.for_tls(node)
    return programs.server(node)


def _kernel(node: NodeEntry) -> None:
    """The kernel of a machine whose server is adopted is as somebody else wanted it, unless the inventory names it."""
    if node.data("keydb_kernel_settings") and (not node.adopted or node.names("keydb_kernel_settings")):
        kernel.settings(name="Let the kernel be as servers ask")
        kernel.advise(node.host)


def _firewall(node: NodeEntry, nft: str) -> None:
    """Who may reach the server; rules of an earlier install go where the inventory says so.

    :param nft: path of nftables' program if the inventory asks for rules
    """
    if nft:
        firewall.rules(name="Let nobody else reach the server", nft=nft)
    elif node.names("keydb_firewall") and service.has_systemd(node.host):
        firewall.none(name="Let everybody reach the server")


def _places(node: NodeEntry) -> None:
    """Who runs a server, and where it keeps what; of one that is adopted all of this is there."""
    data = node.data("keydb_data_directory")
    if user := owners.system_user(node):
        machine.system_user(name="Make the server's user", user=user, home=data)
        logs = str(PurePosixPath(node.data("keydb_log_file")).parent)
        machine.directory(name="Make the log's directory", path=logs, access=owners.servers(node, "750"))
    machine.directory(name="Make the data's directory", path=data, access=owners.servers(node, "700"))


def proxy(entry: ProxyEntry) -> None:
    """A proxy's HAProxy with its files and its unit, started, or reloaded if it runs; somebody else's is left alone."""
    if entry.adopted:
        return
    if entry.data("haproxy_package"):
        packages.proxy(name="Install HAProxy's package")
    program = programs.proxy(entry)
    config = entry.data("haproxy_config_directory")
    if user := owners.system_user(entry):
        machine.system_user(name="Make the proxy's user", user=user, home="/var/lib/haproxy")
    machine.directory(name="Make the proxy's directory", path=config, access=owners.roots(entry, "755"))
    if entry.data("keydb_tls_ca"):
        haproxy.trusted_ca(name="Tell the proxy which CA to trust")
    if service.has_systemd(entry.host):
        # First: by it a running HAProxy is reloaded.
        units.proxy(name="Let systemd start the proxy", program=program)
    haproxy.configuration(name="Configure the proxy", program=program)
    haproxy.running(name="Start the proxy", program=program)


def pod(target: Host, group: Group) -> None:
    """The objects of a group on Kubernetes, by the pod that conducts, and then each pod's configuration."""
    if scope.conducts(target, group):
        wanted = pods.wanted(target, group)
        pods_image.tried(name="Try the image", group=group, wanted=wanted)
        pods.applied(name="Apply what the pods need", group=group, wanted=wanted)
        pods_ready.ready(name="Wait until the pods run", group=group)
        if group.pod_proxies is not None:
            pods_proxies.ready(name="Wait until the proxies run", group=group)
    if group.node_of(target):
        _certificate(group)
        pods.configuration(name="Configure the pod's server")


def _certificate(group: Group) -> None:
    if group.nodes[0].data("keydb_tls_ca"):
        pods_renewal.taken_over(name="Let the server load its certificate", group=group)


def more_pods(target: Host, group: Group, join: Callable[[], object], joined: Callable[[], bool]) -> None:
    """The same with a new pod, which proxies get to know when it has joined.

    :param join: adds the operation by which it does
    :param joined: for ``_if``: whether it has
    """
    conducts = scope.conducts(target, group)
    if conducts:
        wanted = pods.wanted(target, group)
        pods_image.tried(name="Try the image", group=group, wanted=wanted)
        pods.applied(name="Apply what the pods need", group=group, wanted=wanted.of_servers(group))
        pods_ready.ready(name="Wait until the pods run", group=group)
    join()
    if conducts and group.pod_proxies is not None:
        pods.applied(name="Let proxies know it", group=group, wanted=wanted.of_proxies(group))
        pods_proxies.ready(name="Wait until the proxies run", group=group)
    if group.node_of(target):
        _certificate(group)
        pods.configuration(name="Configure the other servers too", _if=joined)


def fewer_pods(target: Host, group: Group, leaving: str) -> None:
    """The same without the last pod, of which proxies know nothing any more when it goes."""
    if not scope.conducts(target, group):
        return
    rest = replace(group, nodes=tuple(node for node in group.nodes if node.name != leaving))
    wanted = pods.wanted(target, rest)
    if rest.pod_proxies is not None:
        pods.applied(name=f"Lead no client to {leaving}", group=rest, wanted=wanted.of_proxies(rest))
        pods_proxies.ready(name="Wait until the proxies run", group=rest)
    pods.applied(name=f"Let {leaving} end", group=rest, wanted=wanted.of_servers(rest))
    pods_ready.gone(name=f"Wait until {leaving} has ended", group=rest, pod=leaving)

"""Who starts a server and HAProxy on a host: the one place that knows what kind of machine that is.

In the sandbox pyinfra starts processes itself (``processes``). On a pod Kubernetes does (``pods``). On every other
machine systemd does, so that they come back after a reboot as well (``units``). A server always starts guarded.
"""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api import StringCommand
from pyinfra.api.host import Host

from keydb_runbooks.connectors.group import NodeEntry, ProxyEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.sandbox import SandboxConnector
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.operations import processes, systemctl

STOP_SECONDS = 720
"""A server that is told to end is waited for: its unit has ten minutes to save its data and end."""


def has_systemd(host: Host) -> bool:
    """Whether systemd starts what runs there; it is not asked, since the files have to be the same if it is off."""
    return not issubclass(host.connector_cls, SandboxConnector | KubernetesConnector)


def stays_in_front(host: Host) -> bool:
    """Whether the server is the process that is started: systemd keeps it, and so does a container."""
    return not issubclass(host.connector_cls, SandboxConnector)


def server_unit(entry: NodeEntry) -> str:
    """The server's unit, with the name that the engine's packages give it unless there is another."""
    return str(entry.data("keydb_unit") or f"{entry.data('keydb_engine')}-server.service")


def guard_unit(entry: NodeEntry) -> str:
    """The unit of what decides behind a start: docs/boot-guard.md."""
    return f"{server_unit(entry).removesuffix('.service')}-guard.service"


def proxy_unit(entry: ProxyEntry) -> str:
    """HAProxy's unit."""
    return str(entry.data("haproxy_unit"))


# $1 the pid file, which HAProxy's master writes anew when it has read $2, its file. The reload itself only tells it to.
RELOADED = """
n=0
until [ "$1" -nt "$2" ]; do
    n=$((n+1))
    [ $n -gt 500 ] && { echo "HAProxy has not read $2 within 10 s; look at its journal" >&2; exit 1; }
    sleep 0.02
done
"""


def guard_settings(entry: NodeEntry) -> str:
    """Where the boot guard's settings are; the script lies beside them."""
    return f"{entry.data('keydb_config_directory')}/boot-guard.env"


def start_server(entry: NodeEntry, program: str, config: str) -> Iterator[StringCommand]:
    """Commands that start a server, guarded, unless it runs by now."""
    if has_systemd(entry.host):
        yield systemctl.start(server_unit(entry))
    else:
        yield from processes.start_server(program, config, guard_settings(entry), entry.data("keydb_pid_file"))


def restart_server(entry: NodeEntry, program: str, config: str) -> StringCommand:
    """A command that ends a server in order and starts it again, guarded."""
    if has_systemd(entry.host):
        return systemctl.restart(server_unit(entry))
    return processes.restart_server(program, config, guard_settings(entry), entry.data("keydb_pid_file"))


def end_server(entry: NodeEntry) -> StringCommand:
    """A command that ends a server in order, so that it is not started with the machine either."""
    if has_systemd(entry.host):
        return systemctl.disable(server_unit(entry), guard_unit(entry))
    return processes.end_server(entry.data("keydb_pid_file"))


def start_proxy(entry: ProxyEntry, program: str, config: str) -> Iterator[StringCommand]:
    """Commands that start HAProxy, unless it runs by now, and wait until it serves."""
    if has_systemd(entry.host):
        yield systemctl.start(proxy_unit(entry))
    else:
        yield from processes.start_proxy(program, config, entry.data("haproxy_pid_file"))


def reload_proxy(entry: ProxyEntry, program: str, config: str) -> Iterator[StringCommand]:
    """Commands that replace HAProxy's process by one with its present file; nobody is refused meanwhile."""
    if has_systemd(entry.host):
        yield systemctl.reload(proxy_unit(entry))
        yield script(RELOADED, entry.data("haproxy_pid_file"), config)
    else:
        pid_file, socket = entry.data("haproxy_pid_file"), entry.data("haproxy_runtime_socket")
        yield from processes.reload_proxy(program, config, pid_file, socket)

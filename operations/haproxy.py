"""Operations on one HAProxy: its file and its process."""

from __future__ import annotations

import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.local import LocalConnector

from keydb_runbooks.connectors.ahead import Question, answer
from keydb_runbooks.connectors.group import Group, PodProxies, ProxyEntry, all_groups
from keydb_runbooks.connectors.ports import is_free
from keydb_runbooks.connectors.quiet import try_quietly
from keydb_runbooks.connectors.runtime import RuntimeSocketError, runtime
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.haproxy import HaproxyOutdated, HaproxyProcess
from keydb_runbooks.facts.running import proxy_config_of, recorded_of
from keydb_runbooks.operations import owners
from keydb_runbooks.operations.files import put_file
from keydb_runbooks.operations.pod_objects import SECRET_FILES
from keydb_runbooks.operations.service import reload_proxy, start_proxy
from keydb_runbooks.runbooks.objects import TLS_MOUNT
from keydb_runbooks.runbooks.proxy_states import carried_over
from keydb_runbooks.runbooks.replication import Address
from keydb_runbooks.templates import render

Commands = Generator[PyinfraCommand, None, None]

PID_FILE_SECONDS = 0.5

PROBE_PORT = 8405
"""What kubelet asks the proxies in pods at."""

# $1 HAProxy's program, $2 the new file. The check's password stands in there as digits, which are not repeated.
CHECK = """
told=$("$1" -c -f "$2" 2>&1) && exit
echo "HAProxy refuses the new configuration:" >&2
echo "$told" | sed -E "s/[0-9a-fA-F]{24,}/.../g" >&2
exit 1
"""

# $1 the file; its text comes on standard input.
WRITE_STATES = 'umask 077; cat >"$1"'


@operation()
def configuration(program: str, without: str = "") -> Commands:
    """Give this proxy its ``haproxy.cfg``, checked by HAProxy itself, and reload it if it runs.

    + program: path of HAProxy's program
    + without: name of a node that it shall not lead to, though the inventory has it

    **Example:**

    .. code:: python

        haproxy.configuration(name="Configure the proxy", program="/usr/sbin/haproxy")
    """
    group, entry = this_proxy(host)
    path = config_path(entry)
    wanted = wanted_configuration(group, entry, without)
    changes = put_file(host, path, wanted, partial(_check, program), owners.roots(entry, "600"))
    yield from changes
    # A run that died behind the rename left a proxy that doesn't know its new file.
    if answer(host, recorded_of(entry)) and _is_outdated(entry, changed=bool(changes)):
        yield FunctionCommand(_carry_over, (group, entry, without), {})
        yield from reload_proxy(entry, program, path)
        # Whoever starts much later shall not believe it.
        yield script('rm -f -- "$1"', states_path(entry))
    elif not changes:
        host.noop(f"{path} is as wanted")


@operation()
def trusted_ca() -> Commands:
    """Give this proxy the CA of the servers of a group that speaks TLS; its checks trust nobody else.

    **Example:**

    .. code:: python

        haproxy.trusted_ca(name="Tell the proxy which CA to trust")
    """
    _, entry = this_proxy(host)
    content = Path(entry.data("keydb_tls_ca")).read_text(encoding="utf-8")
    changes = put_file(host, ca_path(entry), content, access=owners.roots(entry, "600"))
    yield from changes
    if not changes:
        host.noop(f"{ca_path(entry)} is as wanted")


@operation()
def running(program: str) -> Commands:
    """Let HAProxy run.

    + program: path of HAProxy's program

    **Example:**

    .. code:: python

        haproxy.running(name="Start the proxy", program="/usr/sbin/haproxy")
    """
    _, entry = this_proxy(host)
    pid = answer(host, recorded_of(entry))
    if pid is None:
        raise OperationError(f"{entry.name}: it is unknown whether HAProxy runs; look at its pid file")
    if pid:
        host.noop(f"HAProxy runs as process {pid}")
        return
    yield FunctionCommand(_ports_are_free, (entry,), {})
    yield from start_proxy(entry, program, config_path(entry))


def _is_outdated(entry: ProxyEntry, *, changed: bool) -> bool:
    fact, arguments = outdated_of(entry)
    return bool(host.get_fact(fact, **arguments) if changed else answer(host, (fact, arguments)))


def outdated_of(entry: ProxyEntry) -> Question:
    """What a machine is asked for to tell whether HAProxy runs with files that were written later."""
    paths = [config_path(entry), *([ca_path(entry)] if entry.data("keydb_tls_ca") else [])]
    return HaproxyOutdated, {"paths": paths, "pid_file": entry.data("haproxy_pid_file")}


def this_proxy(target: Host) -> tuple[Group, ProxyEntry]:
    """The inventory's entry of a host, and its group.

    :raises OperationError: if the host is no proxy
    """
    for group in all_groups(target.inventory).values():
        entry = group.proxy_of(target)
        if entry is not None:
            return group, entry
    raise OperationError(f"{target.name} is not in the inventory's group haproxy")


def config_path(entry: ProxyEntry | PodProxies) -> str:
    return proxy_config_of(entry)


def states_path(entry: ProxyEntry) -> str:
    """Where an old process leaves to the new one what it knows of its servers, for the moment of a reload."""
    return f"{entry.data('haproxy_config_directory')}/server-states"


def ca_path(entry: ProxyEntry | PodProxies) -> str:
    """The file with the CA that its checks trust; in a pod it is one of the Secret's."""
    if isinstance(entry, PodProxies):
        return f"{TLS_MOUNT}/{SECRET_FILES['keydb_tls_ca']}"
    return f"{entry.data('haproxy_config_directory')}/ca.pem"


def wanted_configuration(group: Group, entry: ProxyEntry, without: str = "") -> str:
    """The text of ``haproxy.cfg`` that the inventory asks for.

    :param without: name of a node that is left out
    """
    user = group.nodes[0].user("check")
    check = _resp("AUTH", user.name, user.password) + _resp("INFO", "replication") + _resp("QUIT")
    if group.pod_proxies is not None:
        return pod_configuration(group, group.pod_proxies, check.hex())
    listeners = {
        "address": entry.write_address.host,
        "write_port": entry.write_address.port,
        # As hexadecimal digits any password survives, whatever characters it has.
        "check": check.hex(),
        "nodes": [{"name": node.name, "address": str(node.address)} for node in group.nodes if node.name != without],
        **_listeners(group, entry),
    }
    return render(
        "haproxy.cfg.j2",
        pod=None,
        runtime_socket=entry.data("haproxy_runtime_socket"),
        states=states_path(entry),
        user=owners.system_user(entry),
        source=entry.data("haproxy_source_address"),
        groups={group.name: listeners},
        **_global(entry),
    )


def pod_configuration(group: Group, proxies: PodProxies, check: str) -> str:
    """The text of ``haproxy.cfg`` in every pod of a group's proxies.

    :param check: what their checks send, as hexadecimal digits; in a ConfigMap only a mark for it
    """
    listeners = {
        "address": "*",
        "write_port": proxies.data("haproxy_write_port"),
        "check": check,
        "nodes": [{"name": node.name, "address": str(node.address)} for node in group.nodes],
        **_listeners(group, proxies),
    }
    return render(
        "haproxy.cfg.j2",
        pod={"runtime_port": proxies.data("haproxy_runtime_port"), "probe_port": PROBE_PORT},
        user=None,
        source=None,
        groups={group.name: listeners},
        **_global(proxies),
    )


def _listeners(group: Group, proxies: ProxyEntry | PodProxies) -> dict[str, Any]:
    return {
        "read_port": proxies.data("haproxy_read_port"),
        "max_lag": group.nodes[0].data("keydb_min_replicas_max_lag"),
        "interval": proxies.data("haproxy_check_interval"),
        "tls_ca": ca_path(proxies) if proxies.data("keydb_tls_ca") else None,
    }


def _global(proxies: ProxyEntry | PodProxies) -> dict[str, Any]:
    return {
        "pid_file": proxies.data("haproxy_pid_file"),
        "max_connections": proxies.data("haproxy_max_connections"),
        "statistics_port": proxies.data("haproxy_statistics_port"),
    }


def _carry_over(state: State, host: Host, group: Group, entry: ProxyEntry, without: str) -> bool:
    """Leave to the new process what this one knows; without it that has to ask everybody first, as at a start."""
    servers = {node.name: node.address for node in group.nodes if node.name != without}
    try:
        socket = runtime(entry)
        try:
            told = carried_over(
                socket.command("show servers state"),
                dict.fromkeys((f"{group.name}-write", f"{group.name}-read"), servers),
            )
        finally:
            socket.close()
    except RuntimeSocketError:
        return True
    if told is not None:
        try_quietly(host, script(WRITE_STATES, states_path(entry)), stdin=told)
    return True


def _resp(*words: str) -> bytes:
    """One command as the servers' protocol writes it."""
    encoded = [word.encode() for word in words]
    parts = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
    return b"*%d\r\n%b" % (len(encoded), parts)


def _check(program: str, new: str) -> StringCommand:
    return script(CHECK, program, new)


def _is_started(host: Host, entry: ProxyEntry) -> bool:
    """Whether another run has started it meanwhile; HAProxy takes its ports before it writes its pid file."""
    deadline = time.monotonic() + PID_FILE_SECONDS
    while not host.get_fact(HaproxyProcess, pid_file=entry.data("haproxy_pid_file")):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _ports_are_free(state: State, host: Host, entry: ProxyEntry) -> bool:
    """Name a port that is taken before HAProxy fails on it with less to say."""
    if not isinstance(host.connector, LocalConnector):
        return True
    ports = {
        "haproxy_write_port": entry.write_address,
        "haproxy_read_port": entry.read_address,
        "haproxy_statistics_port": Address("127.0.0.1", entry.data("haproxy_statistics_port")),
    }
    taken = [(key, place) for key, place in ports.items() if not is_free(place.host, place.port)]
    if taken and _is_started(host, entry):
        return True
    for key, place in taken:
        told = f"port {place} is taken by another process; stop that, or set {key} for {entry.name}"
        hint = host.data.get("sandbox_port_hint")
        host.log_styled(f"{told} ({hint})" if hint else told, fg="red")
    return not taken

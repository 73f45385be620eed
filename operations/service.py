"""Starting a server on a node: the one place that knows what kind of machine a node is.

A server is always started guarded: as nobody's replica, read-only, until a verb says what it is. So one that
comes back after a crash is never a second primary, and an empty one is nobody's source
(keydb-facts, "Empty primary").
"""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api import QuoteString, StringCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host

from keydb_runbooks.connectors.sandbox import SandboxConnector
from keydb_runbooks.runbooks.replication import GUARD_ADDRESS

GUARD = ("--replicaof", GUARD_ADDRESS, "1")
"""Arguments that guard a start. Two words behind the option: as one argument the start fails."""


def start_server(host: Host, program: str, config: str, pid_file: str) -> Iterator[StringCommand]:
    """Commands that start a server, guarded, and wait until it has written its pid file."""
    arguments = [program, config, *GUARD, "--set-proc-title", "no"]
    yield _start(host, arguments, pid_file)


def start_proxy(host: Host, program: str, config: str, pid_file: str) -> Iterator[StringCommand]:
    """Commands that start HAProxy and wait until it has written its pid file."""
    yield _start(host, [program, "-D", "-f", config], pid_file)


def reload_proxy(host: Host, program: str, config: str, pid_file: str, socket: str) -> Iterator[StringCommand]:
    """Commands that replace HAProxy's process; the listening sockets are handed over, so nobody is refused."""
    _known(host)
    script = '"$1" -D -f "$2" -x "$4" -sf $(cat "$3")'
    yield StringCommand("sh", "-c", QuoteString(script), "sh", *map(QuoteString, (program, config, pid_file, socket)))


def _start(host: Host, arguments: list[str], pid_file: str) -> StringCommand:
    _known(host)
    # 10 s at most: a server that daemonizes has its pid file long before.
    script = (
        # A server gives its umask to the files that it writes, keydb.conf with its password among them.
        'umask 077; file="$1"; shift; rm -f "$file"; cd / && "$@" || exit 1; n=0; '
        'until [ -s "$file" ]; do n=$((n+1)); [ $n -gt 500 ] && exit 1; sleep 0.02; done'
    )
    return StringCommand("sh", "-c", QuoteString(script), "sh", QuoteString(pid_file), *map(QuoteString, arguments))


def _known(host: Host) -> None:
    if not isinstance(host.connector, SandboxConnector):
        raise OperationError(
            f"{host.name}: starting servers is known for @sandbox nodes only; "
            "on machines and pods start them with your own unit, guarded by "
            f"`{' '.join(GUARD)}`, then run the role verbs"
        )

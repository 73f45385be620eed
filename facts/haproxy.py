"""Facts about an HAProxy on one host, for anybody's deploy."""

from __future__ import annotations

import csv

from pyinfra.api import FactBase, StringCommand

from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.machine import process_command

# socat where it is, else Python: a Unix socket can't be opened from a plain shell.
PYTHON = (
    "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]); "
    "s.sendall(b'show stat\\n'); "
    "[sys.stdout.write(c.decode()) for c in iter(lambda: s.recv(65536), b'')]"
)

# $1 a pid file, behind it files.
OUTDATED = 'pid=$1; shift; for file; do [ -e "$pid" ] && [ "$file" -nt "$pid" ] && echo yes && exit; done; echo no'


class HaproxyServers(FactBase[dict[str, dict[str, str]]]):
    """Returns the status of every server of every backend, None if HAProxy didn't answer.

    + socket: path of the runtime socket

    .. code:: python

        {"keydb-write": {"keydb-1": "UP", "keydb-2": "DOWN"}}
    """

    def command(self, socket: str) -> StringCommand:
        ask = (
            'if command -v socat >/dev/null; then echo "show stat" | socat - UNIX-CONNECT:"$1"; '
            'else python3 -c "$2" "$1"; fi'
        )
        return script(ask, socket, PYTHON)

    def process(self, output: list[str]) -> dict[str, dict[str, str]]:
        servers: dict[str, dict[str, str]] = {}
        for row in csv.DictReader("\n".join(output).removeprefix("# ").splitlines()):
            if row["svname"] not in ("FRONTEND", "BACKEND"):
                servers.setdefault(row["pxname"], {})[row["svname"]] = row["status"]
        return servers


class HaproxyProcess(FactBase[int]):
    """Returns the process id of HAProxy, 0 if none runs, None if that is unknown.

    + pid_file: where HAProxy writes its process id
    """

    def command(self, pid_file: str) -> StringCommand:
        return process_command(pid_file, "haproxy*")

    def process(self, output: list[str]) -> int:
        return int(output[0])


class HaproxyOutdated(FactBase[bool]):
    """Returns whether a file that it reads when it starts is newer than its process, None if that is unknown.

    + paths: its configuration file, and the CA's if it has one
    + pid_file: where HAProxy writes its process id when it starts and when it is reloaded
    """

    def command(self, paths: list[str], pid_file: str) -> StringCommand:
        return script(OUTDATED, pid_file, *paths)

    def process(self, output: list[str]) -> bool:
        return output[0] == "yes"

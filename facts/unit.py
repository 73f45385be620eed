"""Facts about systemd's units on one host, for anybody's deploy. Nothing is changed by asking."""

from __future__ import annotations

import re
from typing import TypedDict

from pyinfra.api import FactBase, StringCommand

from keydb_runbooks.connectors.shell import script

# $1 the unit. Where another program is the first process, systemctl may be there all the same.
SHOW = (
    'if [ ! -d /run/systemd/system ]; then echo "Systemd=no"; exit; fi; '
    'echo "User=$(id -u)"; '
    'systemctl show --property=LoadState,FragmentPath,UnitFileState,NeedDaemonReload,ActiveState,Result -- "$1"'
)

# $1 the unit. Whose its process is, the kernel knows: the unit may say nothing of that.
START = (
    'systemctl show --property=FragmentPath,MainPID,ExecStart -- "$1"; '
    'pid=$(systemctl show --value --property=MainPID -- "$1"); '
    '[ "${pid:-0}" = 0 ] || echo "Owner=$(stat -c %U:%G -- /proc/"$pid")"'
)
ARGUMENTS = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")


class State(TypedDict):
    """What ``Unit`` returns; "" is what systemd does not say."""

    systemd: bool
    root: bool
    file: str
    enabled: bool
    outdated: bool
    active: str
    result: str


class Unit(FactBase[State]):
    """Returns how a unit is, None if that is unknown.

    + unit: its name
    + systemd: whether systemd runs there at all; + root: whether root asks
    + file: where its own file is; + outdated: whether systemd has read an older one than is there now

    .. code:: python

        {"systemd": True, "root": True, "file": "/lib/systemd/system/haproxy.service", "enabled": True,
         "outdated": False, "active": "active", "result": "success"}
    """

    def command(self, unit: str) -> StringCommand:
        return script(SHOW, unit)

    def process(self, output: list[str]) -> State:
        told = dict(line.partition("=")[::2] for line in output)
        return State(
            systemd="Systemd" not in told,
            root=told.get("User") == "0",
            file=told.get("FragmentPath", ""),
            enabled=told.get("UnitFileState") == "enabled",
            outdated=told.get("NeedDaemonReload") == "yes",
            active=told.get("ActiveState", ""),
            result=told.get("Result", ""),
        )


class Started(TypedDict):
    """What ``UnitStart`` returns; ``process`` is 0 if none runs, and "" is what systemd does not say."""

    file: str
    process: int
    owner: str
    command: list[str]
    guarded: bool


class UnitStart(FactBase[Started]):
    """Returns how a unit starts its process, None if that is unknown.

    + unit: its name
    + owner: the user and the group of the process; + command: its program and arguments, behind the boot guard if
      it goes through one

    .. code:: python

        {"file": "/etc/systemd/system/kv.service", "process": 812, "owner": "kv:kv",
         "command": ["/opt/kv/bin/keydb-server", "/srv/kv/kv.conf"], "guarded": False}
    """

    def command(self, unit: str) -> StringCommand:
        return script(START, unit)

    def process(self, output: list[str]) -> Started:
        told = dict(line.partition("=")[::2] for line in output)
        found = ARGUMENTS.search(told.get("ExecStart", ""))
        words = found[1].split() if found else []
        guarded = words[1:2] == ["pre"] and words[0].endswith("/boot-guard")
        return Started(
            file=told.get("FragmentPath", ""),
            process=int(told.get("MainPID", "0")),
            owner=told.get("Owner", ""),
            command=words[2:] if guarded else words,
            guarded=guarded,
        )

"""Facts about systemd's units on one host, for anybody's deploy. Nothing is changed by asking."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase, StringCommand

from keydb_runbooks.connectors.shell import script

# $1 the unit. Where another program is the first process, systemctl may be there all the same.
SHOW = (
    'if [ ! -d /run/systemd/system ]; then echo "Systemd=no"; exit; fi; '
    'echo "User=$(id -u)"; '
    'systemctl show --property=LoadState,FragmentPath,UnitFileState,NeedDaemonReload,ActiveState,Result -- "$1"'
)


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

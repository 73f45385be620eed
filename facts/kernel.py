"""A fact about the kernel's settings that servers warn of, for anybody's deploy. Nothing is changed by asking."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase, StringCommand

from keydb_runbooks.connectors.shell import script

# $1 a file of sysctl's, behind it names of settings. In a container what root may not change lies on a read-only mount.
SHOW = """
file=$1; shift
for name; do
    path=/proc/sys/$(echo "$name" | tr . /)
    value=$(cat "$path" 2>/dev/null) || continue
    kept=no can=no
    grep -q "^$name *=" "$file" 2>/dev/null && kept=yes
    [ -w "$path" ] && can=yes
    echo "$name $value $can $kept"
done
"""


class Setting(TypedDict):
    """One setting in ``KernelSettings``."""

    value: int
    writable: bool
    kept: bool


class KernelSettings(FactBase[dict[str, Setting]]):
    """Returns what the kernel's settings are; one that this kernel doesn't have is left out.

    + file: a file of sysctl's; + names: sysctl's names of settings
    + value: now; + writable: whether whoever asks may change it; + kept: whether the file sets it at each boot

    .. code:: python

        {"vm.overcommit_memory": {"value": 1, "writable": True, "kept": True}}
    """

    def command(self, file: str, names: list[str]) -> StringCommand:
        return script(SHOW, file, *names)

    def process(self, output: list[str]) -> dict[str, Setting]:
        rows = (line.split() for line in output)
        return {
            name: Setting(value=int(value), writable=can == "yes", kept=kept == "yes")
            for name, value, can, kept in rows
        }

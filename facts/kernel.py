"""Facts about what servers warn of at their start, for anybody's deploy. Nothing is changed by asking."""

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

# $1 a pid file. What the kernel says of the process counts, whatever its configuration does.
HUGE = """
read -r modes </sys/kernel/mm/transparent_hugepage/enabled
case $modes in *"[always]"*) ;; *) exit 0 ;; esac
read -r pid <"$1" && grep -q "^THP_enabled:.*1" "/proc/$pid/status" && echo yes
exit 0
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


class HugePages(FactBase[bool]):
    """Returns whether a process gets huge pages that it doesn't ask for (transparent huge pages, ``always``).

    + pid_file: where its id is
    """

    def command(self, pid_file: str) -> StringCommand:
        return script(HUGE, pid_file)

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]

    @staticmethod
    def default() -> bool:
        return False

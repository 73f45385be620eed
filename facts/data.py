"""Which data files lie in a directory; nothing of them is read."""

from __future__ import annotations

from pyinfra.api import FactBase, StringCommand

from keydb_runbooks.connectors.shell import script

# $1 the directory. One that isn't there holds nothing.
FILES = """
[ -e "$1" ] || { echo none; exit; }
[ -d "$1" ] && [ -r "$1" ] && [ -x "$1" ] || exit 0
cd -- "$1" && for name in dump.rdb appendonly.aof appendonlydir; do [ ! -e "$name" ] || echo "$name"; done
echo none
"""


class DataFiles(FactBase[list[str]]):
    """Returns the names of the files that a server has its data in, [] if there are none, None if that is unknown.

    + path: the directory

    .. code:: python

        ["dump.rdb", "appendonlydir"]
    """

    def command(self, path: str) -> StringCommand:
        return script(FILES, path)

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line != "none"]

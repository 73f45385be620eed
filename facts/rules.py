"""Read which rules a machine's kernel has for a server's port (docs/firewall.md). Nothing is changed by asking."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.host import Host

from keydb_runbooks.connectors.ahead import Question
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.runbooks.drift_firewall import Loaded

# $1 the table, $2 what a comment in it says if its rules are these, $3 the unit; the rules on standard input. What the
# kernel would list of them, and it alone knows that, is asked in a network of its own, which ends with this command.
# Where there can't be one, the comment decides.
ASK = """
[ "$(id -u)" = 0 ] && nft=$(command -v nft) || exit 0
echo "nft $nft"
systemctl is-enabled --quiet "$3" 2>/dev/null && echo "enabled $3"
now=$("$nft" -s list table inet "$1" 2>/dev/null) || { echo "loaded none"; exit; }
wanted=$(unshare --net sh -c '"$1" -f - && exec "$1" -s list table inet "$2"' sh "$nft" "$1" 2>/dev/null) || wanted=
case $now in
"$wanted") echo "loaded these" ;;
*"$2"*) [ -n "$wanted" ] && echo "loaded others" || echo "loaded these" ;;
*) echo "loaded others" ;;
esac
"""

# $1 the table, then files. Who is not root can't ask the kernel.
LEFT = """
table=$1; shift
for path; do [ ! -e "$path" ] || echo "$path"; done
nft list table inet "$table" >/dev/null 2>&1 && echo "table $table"
true
"""


@dataclass(frozen=True)
class Asked:
    """What a machine says of a table of rules; ``nft`` is the path of nftables' program."""

    nft: str
    loaded: Loaded
    enabled: bool


def ask(host: Host, table: str, mark: str, unit: str, rules: str) -> Asked | None:
    """Whether the kernel has these rules, and whether a unit that loads them starts with the machine.

    :param table: its name
    :param mark: the comment that tells these rules from others of the same name
    :param rules: what nft would be given
    :returns: None if it can't be seen: only root may, and by nft
    """
    lines = run_quietly(host, script(ASK, table, mark, unit), stdin=rules)
    told = dict(line.split(" ", 1) for line in lines or ())
    if not told:
        return None
    return Asked(told["nft"], Loaded(told["loaded"]), "enabled" in told)


class RulesLeft(FactBase[list[str]]):
    """Returns what there is of a table and of files, as far as the user may see it.

    + table: its name
    + files: paths

    .. code:: python

        ["/etc/keydb/firewall.nft", "table runbooks_keydb"]
    """

    def command(self, table: str, files: list[str]) -> StringCommand:
        return script(LEFT, table, *files)

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return output


def left_of(table: str, files: list[str]) -> Question:
    """What a machine is asked for to tell what there is of a table and of files."""
    return RulesLeft, {"table": table, "files": files}

"""Facts about Debian's packages on one host, for anybody's deploy. Nothing is changed by asking."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase, StringCommand

from keydb_runbooks.connectors.shell import script

# $1 the package. A package that was removed is known for its configuration files, and has no version any more.
SHOW = (
    "command -v dpkg-query >/dev/null || { echo 'dpkg no'; exit; }; "
    "dpkg-query -W -f='status ${db:Status-Abbrev}\\nversion ${Version}\\n' -- \"$1\" 2>/dev/null; "
    'apt-mark showhold -- "$1" 2>/dev/null | sed "s/^/held /"; echo asked'
)


class Package(TypedDict):
    """What ``AptPackage`` returns; ``version`` is "" if it is not installed."""

    dpkg: bool
    version: str
    held: bool


class AptPackage(FactBase[Package]):
    """Returns whether a package is installed, None if that is unknown.

    + package: its name
    + dpkg: whether the machine has Debian's packages at all
    + held: whether it is kept from being upgraded together with everything else

    .. code:: python

        {"dpkg": True, "version": "6:6.3.4-1~deb12u1", "held": True}
    """

    def command(self, package: str) -> StringCommand:
        return script(SHOW, package)

    def process(self, output: list[str]) -> Package:
        told = dict(line.partition(" ")[::2] for line in output)
        installed = told.get("status", "").startswith(("ii", "hi"))
        return Package(
            dpkg="dpkg" not in told,
            version=told.get("version", "") if installed else "",
            held="held" in told,
        )

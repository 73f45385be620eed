"""Debian's packages of the server and of HAProxy, where the inventory names them.

What a package starts by itself would be a server that nobody configured, and without its boot guard: its unit is masked
until it is installed. The mask is gone with a reboot, so a run that was killed leaves nothing that lasts.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError

from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.package import AptPackage
from keydb_runbooks.operations import haproxy, keydb
from keydb_runbooks.operations.files import READABLE, forget_ahead, put_file
from keydb_runbooks.operations.service import proxy_unit, server_unit

Commands = Generator[PyinfraCommand, None, None]

KEYRING = "/etc/apt/keyrings/keydb-runbooks.asc"
SOURCES = "/etc/apt/sources.list.d/keydb-runbooks.sources"
ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"

# $1 the unit that a package brings, or nothing; $2 the package's version, or nothing; behind it the packages, only one
# if a version is named. What a package needs in its own version (KeyDB's and Redis' servers lie in their tools'
# package) apt would take in the newest one, and refuse.
INSTALL = """
unit=$1 version=$2
shift 2
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt() { apt-get -qq -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confold "$@" >/dev/null; }
if [ -n "$unit" ]; then
    systemctl mask --runtime --quiet "$unit" || exit 1
    trap 'systemctl unmask --runtime --quiet "$unit"' EXIT
fi
needs() {
    apt-cache show "$1=$version" 2>/dev/null | awk -v same="(= $version)" '
        sub(/^(Pre-)?Depends: /, "") {
            for (n = split($0, needed, /, */); n > 0; n--) {
                name = needed[n]; sub(/[ :].*/, "", name)
                if (index(needed[n], same)) print name
            }
        }'
}
apt update || exit 1
wanted=$*${version:+=$version} left=${version:+$1}
while [ -n "$left" ]; do
    more=
    for name in $(for one in $left; do needs "$one"; done); do
        case " $wanted " in *" $name=$version "*) ;; *) wanted="$wanted $name=$version" more="$more $name" ;; esac
    done
    left=$more
done
apt install -y --no-install-recommends --allow-change-held-packages $wanted || exit 1
[ -z "$version" ] || apt-mark -qq hold "$1" >/dev/null
"""


@operation()
def server() -> Commands:
    """Install the package that the inventory names for this node's server, from its repository if it names one.

    **Example:**

    .. code:: python

        packages.server(name="Install the server's package")
    """
    entry = keydb.this_node(host)
    changes = _repository(entry)
    yield from changes
    package, version = entry.data("keydb_package"), entry.data("keydb_package_version")
    wanted = not _has(package, version)
    if wanted:
        yield from _installed([package], version, server_unit(entry))
    if not changes and not wanted:
        host.noop(f"{package} is installed")


@operation()
def proxy() -> Commands:
    """Install the package that the inventory names for this proxy's HAProxy, and socat, which talks to its socket.

    **Example:**

    .. code:: python

        packages.proxy(name="Install HAProxy's package")
    """
    _, entry = haproxy.this_proxy(host)
    packages = (entry.data("haproxy_package"), "socat")
    if wanted := [package for package in packages if not _has(package, None)]:
        yield from _installed(wanted, None, proxy_unit(entry) if packages[0] in wanted else "")
    else:
        host.noop(f"{packages[0]} and socat are installed")


def _repository(entry: NodeEntry) -> list[PyinfraCommand]:
    """Commands that let apt know the inventory's repository, and no other key for it than the inventory's."""
    source = entry.data("keydb_apt_repository")
    if not source:
        return []
    key = Path(entry.data("keydb_apt_key")).read_text(encoding="ascii", errors="replace")
    if not key.lstrip().startswith(ARMOR):
        told = f"{entry.data('keydb_apt_key')} is no armored OpenPGP key (gpg --armor --export makes one)"
        raise OperationError(f"{entry.name}: keydb_apt_key: {told}")
    return [
        *put_file(entry.host, KEYRING, key, access=READABLE),
        *put_file(entry.host, SOURCES, sources(source), access=READABLE),
    ]


def sources(repository: str) -> str:
    """The text of apt's file about a repository: ``URI SUITE COMPONENT...``, or ``URI ./`` for one without suites."""
    uri, suite, *components = repository.split()
    lines = ["# Written by keydb-runbooks", "Types: deb", f"URIs: {uri}", f"Suites: {suite}"]
    lines += [f"Components: {' '.join(components)}"] if components else []
    return "\n".join([*lines, f"Signed-By: {KEYRING}", ""])


def _has(package: str, version: str | None) -> bool:
    """Whether a package is installed, and held at its version if one is named."""
    seen = host.get_fact(AptPackage, package=package)
    if seen is None:
        raise OperationError(
            f"{host.name}: it is unknown whether {package} is installed; try `dpkg -l {package}` there"
        )
    if not seen["dpkg"]:
        told = (
            f"{package} is a package of Debian's, and this machine has no dpkg; install the program by something else"
        )
        raise OperationError(f"{host.name}: {told}, and leave the key of the package out")
    return bool(seen["version"] and version is None) or (seen["version"], seen["held"]) == (version, True)


def _installed(packages: list[str], version: str | None, unit: str) -> Commands:
    """Install packages; the one whose version is named is held at it."""
    yield script(INSTALL, unit, version or "", *packages)
    # It is executed by now: its directories and its configuration file may be there, with owners and modes of its own.
    forget_ahead(host)

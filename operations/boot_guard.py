"""The boot guard's files on a node: the script, its settings and the credentials that it asks with.

What the script does is told in docs/boot-guard.md. They lie beside ``keydb.conf``, closed to others; on a machine they
are root's, and the server can't replace them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from pyinfra import host
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from keydb_runbooks.connectors import shell
from keydb_runbooks.connectors.group import Group, NodeEntry, all_groups
from keydb_runbooks.operations import keydb, owners
from keydb_runbooks.operations.files import Access, put_file
from keydb_runbooks.operations.service import guard_settings
from keydb_runbooks.runbooks.configuration import quote
from keydb_runbooks.templates import plain, render

Check = Callable[[str], StringCommand]

EXECUTABLE = 'chmod u+x "$1" && bash -n "$1"'
# $1 the new settings, $2 the script, which says what it can't use: here, and not when the machine boots.
USABLE = 'set -a && . "$1" && exec "$2" check'


@operation()
def installed(without: str = "") -> Generator[PyinfraCommand, None, None]:
    """Give this node its boot guard. Nothing is started: your unit or ``start`` does that through it.

    + without: name of a node that it shall not ask, though the inventory has it

    **Example:**

    .. code:: python

        boot_guard.installed(name="Give the node its boot guard")
    """
    entry = keydb.this_node(host)
    group = next(group for group in all_groups(host.inventory).values() if group.node_of(host) is not None)
    changes = []
    for path, (content, check, access) in wanted_files(group, entry, without).items():
        changes += put_file(host, path, content, check, access)
    yield from changes
    if not changes:
        host.noop(f"{script_path(entry)} and its settings are as wanted")


def script_path(entry: NodeEntry) -> str:
    return guard_settings(entry).removesuffix(".env")


def credentials_path(entry: NodeEntry) -> str:
    return f"{entry.data('keydb_config_directory')}/operator.auth"


def wanted_files(
    group: Group, entry: NodeEntry, without: str = ""
) -> dict[str, tuple[str, Check | None, Access | None]]:
    """Each file's text, what has to succeed with a new one, and whose it is; the settings, which name it, are last.

    :param without: name of a node that is left out
    """
    operator = entry.user("operator")
    settings = render(
        "boot-guard.env.j2",
        node=entry.name,
        nodes=" ".join(f"{node.name}={node.address}" for node in group.nodes if node.name != without),
        config=keydb.config_path(entry),
        auth=credentials_path(entry),
        tls_ca=keydb.certificate_paths(entry).get("keydb_tls_ca"),
    )
    script = script_path(entry)
    return {
        script: (
            plain("boot-guard.sh"),
            lambda new: shell.script(EXECUTABLE, new),
            owners.read_by_server(entry, "750"),
        ),
        credentials_path(entry): (
            f"AUTH {quote(operator.name)} {quote(operator.password)}\n",
            None,
            owners.roots(entry, "600"),
        ),
        guard_settings(entry): (
            settings,
            lambda new: shell.script(USABLE, new, script),
            owners.read_by_server(entry, "640"),
        ),
    }

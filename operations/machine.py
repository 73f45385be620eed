"""What a machine needs before something is installed on it, and pyinfra's own operations don't do as it is needed."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.operations import files

from keydb_runbooks.connectors.ahead import Question, answer
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.machine import HasUser
from keydb_runbooks.operations.files import Access, seen_ahead

# $1 the user, $2 its home. Somebody else may have made it meanwhile, or be at it: a machine may have several servers.
MAKE = """
id -u -- "$1" >/dev/null 2>&1 && exit
shell=$(command -v nologin || echo /bin/false)
useradd --system --user-group --no-create-home --home-dir "$2" --shell "$shell" "$1" && exit
n=0
until id -u -- "$1" >/dev/null 2>&1; do
    n=$((n+1))
    [ $n -gt 50 ] && exit 1
    sleep 0.1
done
"""


def has_user(user: str) -> Question:
    """What a machine is asked for to tell whether there is a user."""
    return HasUser, {"user": user}


@operation()
def system_user(user: str, home: str) -> Generator[PyinfraCommand, None, None]:
    """Let there be a user that nobody logs in as. One that is there stays as a package made it.

    + user: its name
    + home: the directory that it is told to have; it is not made

    **Example:**

    .. code:: python

        machine.system_user(name="Make the server's user", user="keydb", home="/var/lib/keydb")
    """
    known = answer(host, has_user(user))
    if known is None:
        raise OperationError(f"{host.name}: it is unknown whether there is a user {user}; try `id {user}` there")
    if known:
        host.noop(f"there is a user {user}")
        return
    yield script(MAKE, user, home)


@operation()
def directory(path: str, access: Access | None) -> Generator[PyinfraCommand, None, None]:
    """Let there be a directory of somebody's.

    + path: the directory; + access: whose it is, and its mode; without it that of who makes it, closed to others

    **Example:**

    .. code:: python

        machine.directory(name="Make the data's directory", path="/var/lib/keydb", access=Access("kv", "kv", "700"))
    """
    seen = seen_ahead(host, path)
    if access is not None and seen is not None and seen.access == access:
        host.noop(f"{path} is as wanted")
        return
    given: dict[str, str] = {"mode": "700"}
    if access is not None:
        given = {"user": access.user, "group": access.group, "mode": access.mode}
    yield from files.directory._inner(path=path, **given)

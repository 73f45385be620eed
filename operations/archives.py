"""The server's program, out of a tarball or as it is, from where the inventory says, by the inventory's checksum.

It is fetched to this machine, once for all nodes, and only if one of them lacks it; nothing is changed before its
checksum is right. On a node each has a directory of its own, named by that checksum, which comes to be by a rename:
what is in it is whole, and the program before stays where it is.
"""

from __future__ import annotations

import io
import tarfile
import urllib.error
import urllib.request
from collections.abc import Generator
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from secrets import token_hex
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import FileUploadCommand, PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.connectors.link import in_parallel
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.operations import keydb, programs, scope, together

FETCH_SECONDS = 30
"""For so long a server of files may be silent."""

LOOK = '[ -x "$1" ] && echo there || echo missing'

# $1 the new directory. What a run left behind that was killed is nobody's.
MAKE = """
top=$(dirname "$1")
mkdir -p "$top" && find "$top" -maxdepth 1 -name "*.new.*" -mmin +60 -exec rm -rf {} + && mkdir "$1"
"""

# $1 the program in a new directory, $2 its place, $3 its checksum.
TAKE = """
new=$(dirname "$1") place=$(dirname "$2")
stop() { rm -rf "$new"; echo "$1" >&2; exit 1; }
[ "$(sha256sum <"$1" | cut -c1-64)" = "$3" ] || stop "$2 did not come whole, the old program stays: run this again"
chmod 755 "$new" "$1" || stop "$1 can't be made a program"
told=$("$1" --version 2>&1) && echo "$told" | grep -q "v=" ||
    stop "$2 does not run on this machine, the old program stays: $(echo "$told" | head -n 1)"
sync "$1" || stop "$1 can't be written"
# Somebody else may have been quicker.
[ -x "$2" ] && { rm -rf "$new"; exit; }
mv -T "$new" "$place" || stop "$place can't be made"
"""

_fetched: WeakKeyDictionary[State, dict[tuple[str, ...], bytes]] = WeakKeyDictionary()


class ArchiveError(Exception):
    """What was named can't be had, or is something else than its checksum says."""


def refuse(target: Host) -> None:
    """Refuse to change anything if a program that a node lacks can't be had whole. Looked at once, for all hosts.

    :raises SystemExit: after the reasons were printed
    """

    def try_all() -> list[str]:
        nodes = [node for group in scope.groups(target) for node in group.nodes]
        asked = [node for node in nodes if node.host.connected and node.data("keydb_program_source")]
        lacking = [node for node, there in zip(asked, in_parallel(_is_there, asked), strict=True) if not there]
        return list(dict.fromkeys(filter(None, map(_try, lacking))))

    together.refuse_all(target, "no-program", try_all)


@operation()
def server() -> Generator[PyinfraCommand, None, None]:
    """Put the server's program on this node from where the inventory says; what runs goes on.

    **Example:**

    .. code:: python

        archives.server(name="Bring the server's program")
    """
    entry = keydb.this_node(host)
    path = programs.from_archive(entry)
    if _is_there(entry):
        host.noop(f"{path} is there")
        return
    try:
        content = program(entry, host.state)
    except ArchiveError as error:
        raise OperationError(f"{entry.name}: {error}") from None
    new = f"{PurePosixPath(path).parent}.new.{token_hex(4)}"
    part = f"{new}/{PurePosixPath(path).name}"
    yield script(MAKE, new)
    yield FileUploadCommand(io.BytesIO(content), part)
    yield script(TAKE, part, path, sha256(content).hexdigest())


def program(entry: NodeEntry, state: State) -> bytes:
    """The server's program, read once in a run.

    :raises ArchiveError: if it can't be had whole
    """
    source, wanted, member = (str(entry.data(f"keydb_program_{key}") or "") for key in ("source", "sha256", "member"))
    names = programs.SERVERS[entry.data("keydb_engine")]
    known = _fetched.setdefault(state, {})
    key = (source, wanted, member, *names)
    if key not in known:
        known[key] = unpack(fetch(source, wanted), member or names[0], source)
    return known[key]


def fetch(source: str, wanted: str) -> bytes:
    """What is at a URL or in a file of this machine, if it has this checksum.

    :raises ArchiveError: if it has not, or can't be read to its end
    """
    try:
        if source.startswith(("http://", "https://")):
            with urllib.request.urlopen(source, timeout=FETCH_SECONDS) as answer:  # noqa: S310 - these two alone
                content = bytes(answer.read())
        else:
            content = Path(source).read_bytes()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ArchiveError(f"{source} can't be fetched: {reason}") from None
    found = sha256(content).hexdigest()
    if found != wanted.lower():
        told = f"{source} has the checksum {found} ({len(content):,} bytes), and keydb_program_sha256 is another"
        raise ArchiveError(f"{told}; look where both come from")
    return content


def unpack(content: bytes, name: str, source: str) -> bytes:
    """A program out of a tarball; what is no tarball is the program itself.

    :param name: of the program, or its path in the tarball if several have that name
    :raises ArchiveError: if it isn't there, or is no file
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            return _member(archive, name, source)
    except tarfile.ReadError:
        return content


def _member(archive: tarfile.TarFile, name: str, source: str) -> bytes:
    # Nothing is unpacked by its own path, so none can lead elsewhere.
    files = [member for member in archive.getmembers() if member.isfile()]
    found = [one for one in files if one.name.removeprefix("./") == name] or [
        one for one in files if PurePosixPath(one.name).name == name
    ]
    if len(found) != 1:
        there = ", ".join(one.name for one in found) or ", ".join(one.name for one in files[:5]) or "nothing"
        told = f"{source} has {'several' if found else 'no'} {name} ({there})"
        raise ArchiveError(f"{told}; say in keydb_program_member which file is the server's program")
    opened = archive.extractfile(found[0])
    assert opened is not None
    return opened.read()


def _try(entry: NodeEntry) -> str | None:
    try:
        program(entry, entry.host.state)
    except ArchiveError as error:
        return str(error)
    return None


def _is_there(entry: NodeEntry) -> bool:
    return run_quietly(entry.host, script(LOOK, programs.from_archive(entry))) == ["there"]

"""Reading and writing configuration files with passwords in them.

A file is either the old one or the new one, checked, and never readable by others. The content travels on standard
input and output: in no argument, no diff, nothing that is printed, and no file that others can read.
"""

from __future__ import annotations

import tarfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from secrets import token_hex
from types import EllipsisType
from weakref import WeakKeyDictionary

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.ahead import Question, quiet_answer
from keydb_runbooks.connectors.quiet import try_quietly
from keydb_runbooks.connectors.shell import script

# $1 the new file, $2 the one that it replaces, $3 and $4 its owner and mode, if these are told. A run that was killed
# leaves its new file behind, with passwords in it.
WRITE = """
find "$(dirname "$2")" -maxdepth 1 -name "$(basename "$2").new.*" -mmin +60 -exec rm -f {} +
umask 077
cat >"$1" && { [ -z "$3" ] || { chown "$3" "$1" && chmod "$4" "$1"; }; } && sync "$1" && exit
rm -f "$1"
# Who sends the content would fail by that, and say nothing of this.
cat >/dev/null
echo "$1 can't be written; $2 stays as it is" >&2
exit 1
"""

# $1 the new file, behind it a command that checks it.
CHECK = """
new=$1; shift
"$@" && exit
rm -f "$new"
exit 1
"""

# $1 the new file, $2 the one that it replaces; on standard input the checksum of what $2 is expected to be.
RENAME = """
new=$1 file=$2
checksum() { { cat "$1"; [ -s "$1" ] && [ -z "$(tail -c1 "$1")" ] || echo; } | sha256sum | cut -c1-64; }
stop() { rm -f "$new" "$new.previous"; echo "$2" >&2; exit "$1"; }
read -r seen
wanted=$(checksum "$new") now=nothing
[ -n "$wanted" ] || stop 1 "there is no sha256sum here to compare with, so $file stays as it is"
if [ -e "$file" ]; then
    # The old one may have been open to others, with other passwords in it.
    cp -p "$file" "$new.previous" && chmod go= "$new.previous" || stop 1 "$file can't be kept, so it stays as it is"
    now=$(checksum "$file")
fi
if [ "$seen" != anything ]; then
    [ "$now" != "$wanted" ] || stop 0 "another install has just written the same"
    [ "$now" = "$seen" ] || stop 1 "$file was changed meanwhile, by a verb or another install: run this again"
fi
[ "$now" = nothing ] || mv "$new.previous" "$file.previous" || stop 1 "$file can't be kept, so it stays as it is"
mv "$new" "$file" || stop 1 "$file can't be replaced, so it stays as it is"
"""


# $1 the file.
LOOK = """
[ -e "$1" ] || [ -L "$1" ] || { echo missing; exit; }
LC_ALL=C stat -c %F:%U:%G:%a -- "$1" && base64 <"$1"
"""

# Each argument is a path. Those that are there and no links come as one archive on one line: two programs for each of
# them, and a line for each 57 bytes, would take most of the time of an install that changes nothing.
LOOK_AHEAD = """
for path; do
    shift
    [ -r "$path" ] && [ ! -L "$path" ] && set -- "$@" "$path"
done
[ $# = 0 ] || tar -cP --no-recursion -f - -- "$@" 2>/dev/null | base64 -w 0
"""


@dataclass(frozen=True)
class Access:
    """Whose a file or a directory is, and its mode as octal digits."""

    user: str
    group: str
    mode: str


OURS = "# Written by keydb-runbooks"
"""How the files begin that install writes."""

READABLE = Access("root", "root", "644")
"""Of a file that every user of a machine may read, and root alone may change."""


@dataclass(frozen=True)
class Seen:
    """A file that is there; ``access`` is None for a link, whose own owner and mode mean nothing."""

    text: str
    access: Access | None


_ahead: WeakKeyDictionary[State, dict[tuple[str, str], Seen]] = WeakKeyDictionary()


class Files(FactBase[dict[str, Seen]]):
    """What there is of many files and directories, by their paths; for ``look_ahead``."""

    def command(self, paths: Sequence[str]) -> StringCommand:
        return script(LOOK_AHEAD, *paths)

    @staticmethod
    def default() -> dict[str, Seen]:
        return {}

    def process(self, output: list[str]) -> dict[str, Seen]:
        try:
            with tarfile.open(fileobj=BytesIO(b64decode("".join(output)))) as archive:
                return {one.name: _seen_of(archive, one) for one in archive if one.isreg() or one.isdir()}
        except (tarfile.TarError, ValueError):
            # It did not come whole: whoever needs a file looks at it alone.
            return {}


def files_of(paths: Sequence[str]) -> Question:
    """What a machine is asked for by ``look_ahead``."""
    return Files, {"paths": list(paths)}


def look_ahead(target: Host, paths: Sequence[str]) -> None:
    """Look at many files and directories by one command; each is then seen so once, by whoever looks first.

    A command by SSH costs as much whatever it reads. Only what is there is kept: what is missing may soon be brought.
    """
    found = quiet_answer(target, files_of(paths))
    _ahead.setdefault(target.state, {}).update({(target.name, path): seen for path, seen in found.items()})


def seen_ahead(target: Host, path: str, *, keep: bool = False) -> Seen | None:
    """What ``look_ahead`` saw and nobody asked for since; None if it has to be looked at.

    :param keep: whether the next one may be told the same
    """
    kept = _ahead.get(target.state, {})
    return kept.get((target.name, path)) if keep else kept.pop((target.name, path), None)


def forget_ahead(target: Host) -> None:
    """Look again at whatever is asked for next: somebody else, as a package, changes files and directories."""
    kept = _ahead.get(target.state, {})
    for known in [one for one in kept if one[0] == target.name]:
        del kept[known]


def put_file(
    target: Host,
    path: str,
    content: str,
    check: Callable[[str], StringCommand] | None = None,
    access: Access | None = None,
) -> list[PyinfraCommand]:
    """Commands that give a host a file; none if it has it, with this access."""
    seen = look(target, path)
    if seen is None or seen.text != (content if content.endswith("\n") else f"{content}\n"):
        return list(replace_file(path, content, check, access=access))
    return mend_access(seen, path, access)


def mend_access(seen: Seen, path: str, access: Access | None) -> list[PyinfraCommand]:
    """Commands that make a file that is there somebody's; none if it is."""
    if access is None or seen.access in (None, access):
        return []
    owner = QuoteString(f"{access.user}:{access.group}")
    return [StringCommand("chown", owner, QuoteString(path)), StringCommand("chmod", access.mode, QuoteString(path))]


def replace_file(
    path: str,
    content: str,
    check: Callable[[str], StringCommand] | None,
    *,
    access: Access | None = None,
    seen: str | EllipsisType | None = ...,
    before: PyinfraCommand | None = None,
) -> Iterator[PyinfraCommand]:
    """Commands that write a new file, check it, keep the old one as ``PATH.previous`` and rename.

    Two runs at once have a new file each. Nothing is done without this program: if it is killed, the old file stays.

    :param access: whose the new file is; without it that of who writes it, closed to others
    :param check: makes the command that fails if the file of this name is no good; the old file stays then
    :param seen: the text from which ``content`` was made, None for no file; if it is another one by now, it stays
    :param before: is done before the file is replaced, so that a run that dies in between does it again
    """
    new = f"{path}.new.{token_hex(4)}"
    owner = () if access is None else (f"{access.user}:{access.group}", access.mode)
    yield script(WRITE, new, path, *owner, _stdin=content)
    if check is not None:
        yield StringCommand("sh", "-c", QuoteString(CHECK), "sh", QuoteString(new), check(new))
    if before is not None:
        yield before
    yield script(RENAME, new, path, _stdin=f"{_checksum(seen)}\n")


def _checksum(seen: str | EllipsisType | None) -> str:
    """On standard input as well: who knows all of a file but a password could try which one gives its checksum."""
    if isinstance(seen, EllipsisType):
        return "anything"
    return "nothing" if seen is None else sha256(seen.encode("utf-8", "surrogateescape")).hexdigest()


def look(target: Host, path: str) -> Seen | None:
    """A file on a host, None if there is none. Whatever bytes it has come back from ``replace_file``.

    It is one command: a machine is asked for ten files by an install that changes nothing.

    :raises OperationError: if it is there and can't be read
    """
    if seen := seen_ahead(target, path):
        return seen
    done, output = try_quietly(target, script(LOOK, path))
    if not done:
        why = next((f": {line.strip()}" for line in reversed(output.stderr_lines) if line.strip()), "")
        raise OperationError(f"{target.name}: {path} can't be read{why}")
    return seen_in(list(output.stdout_lines))


def seen_in(lines: Sequence[str]) -> Seen | None:
    """What ``LOOK`` printed."""
    if lines == ["missing"]:
        return None
    kind, *access = lines[0].split(":")
    return Seen(_text(b64decode("".join(lines[1:]))), None if kind == "symbolic link" else Access(*access))


def _seen_of(archive: tarfile.TarFile, one: tarfile.TarInfo) -> Seen:
    """What ``LOOK_AHEAD`` found."""
    opened = archive.extractfile(one)
    return Seen(_text(opened.read() if opened else b""), Access(one.uname, one.gname, f"{one.mode:o}"))


def _text(content: bytes) -> str:
    """Whatever bytes it has; it ends with a line's end."""
    text = content.decode("utf-8", "surrogateescape")
    return text if text.endswith("\n") else f"{text}\n"


def read_file(target: Host, path: str) -> str | None:
    """The text of a file on a host, None if there is none.

    :raises OperationError: if it is there and can't be read
    """
    seen = look(target, path)
    return None if seen is None else seen.text

"""Facts about a machine's files and listening processes, for anybody's deploy. Nothing is changed by asking."""

from __future__ import annotations

import ipaddress
from typing import TypedDict

from pyinfra.api import FactBase, StringCommand

from keydb_runbooks.connectors.shell import script

FILE = (
    'changed=$(LC_ALL=C stat -L -c %Z -- "$1" 2>&1) || '
    '{ case "$changed" in *"No such file"*) echo missing;; esac; exit 0; }; '
    '[ -r "$1" ] && echo "$changed" && cat -- "$1"; true'
)

# Of all that a process has open only what listens is told: a machine may have many servers, and each of them many
# clients. Files are read by grep: the shell's own read takes each character by a call of its own.
LISTENERS = r"""
sockets=$(grep -hs " 0A " /proc/net/tcp /proc/net/tcp6)
[ -z "$sockets" ] || echo "$sockets"
name='(haproxy|[^[:space:]]*(keydb|redis|valkey))[^[:space:]]*'
servers=$(LC_ALL=C grep -ohsE "^[0-9]+ \\($name\\) . [0-9]+" /proc/[0-9]*/stat)
set -f
inodes= directories= IFS='
'
for socket in $sockets; do unset IFS; set -- $socket; inodes="$inodes${10}|"; done
unset IFS
set -- $servers
while [ $# != 0 ]; do echo "process $1 $4"; directories="$directories /proc/$1/fd"; shift 4; done
[ -z "$directories" ] || ls -ln -- $directories /proc/self/fd 2>/dev/null | grep -E "^/|socket:.(${inodes}none)]"
true
"""

# $1 a port, as the kernel writes it.
PEERS = (
    "[ -r /proc/net/tcp ] && echo asked; "
    'grep -hsE "^ +[0-9]+: [0-9A-F]+:$1 [0-9A-F:]+ 01 " /proc/net/tcp /proc/net/tcp6; true'
)

# $1 a pid file, which a killed process leaves behind; its id may be somebody else's by now. Killed, but not yet waited
# for, it runs no more. Where other users' processes are hidden, the first one is hidden too, and nothing is known.
# Builtins as far as possible: each command of its own takes a look at a group a millisecond and more.
PROCESS = (
    'case "$1" in */*) d=${1%%/*};; *) d=.;; esac; [ -e "$d" ] && [ ! -x "$d" ] && exit 0; '
    '[ -e "$1" ] || { echo 0; exit 0; }; [ -r "$1" ] || exit 0; read -r pid <"$1"; '
    '{ read -r line <"/proc/$pid/stat"; } 2>/dev/null || line=; name=${line#*(} state=${line##*) }; '
    '[ "${state%%%% *}" != Z ] || { echo 0; exit 0; }; '
    'case "${name%%%%)*}" in %s) echo "$pid";; *) [ -r /proc/1/stat ] && echo 0;; esac; true'
)

SERVERS = "*keydb*|*redis*|*valkey*"
"""Names of a server's process, as patterns of the shell."""

# df may wait for ever for a file system that is away.
MACHINE = (
    f'pid=$({PROCESS % SERVERS}); [ -n "$pid" ] && echo "process $pid"; '
    '[ "${pid:-0}" != 0 ] && '
    '{ target=$(readlink /proc/"$pid"/fd/0) || { ls /proc/"$pid"/fd >/dev/null 2>&1 && target=closed; }; } && '
    'echo "descriptor $target"; '
    'LC_ALL=C timeout 2 df -Pk -- "$2" 2>/dev/null | '
    '{ read -r _; read -r _ size _ free _ && echo "disk $size $free"; }; '
    "while read -r name kilobytes _; do "
    '[ "$name" != MemAvailable: ] || { echo "$name $kilobytes"; break; }; done 2>/dev/null </proc/meminfo; true'
)

# $1 a pid file, or nothing; then files. A server gives its umask to the file that it rewrites.
EXPOSURE = (
    f"pid=$({PROCESS % SERVERS}); shift; "
    'while read -r name value; do [ "$name" != Umask: ] || { echo "umask $value"; break; }; done '
    '2>/dev/null <"/proc/${pid:-0}/status"; '
    '[ $# = 0 ] || stat -L -c "mode %a %n" -- "$@" 2>/dev/null; true'
)

# Files. What is missing can be told only where its folder can be looked into.
CHECKSUMS = (
    'for path; do if [ -r "$path" ]; then '
    'sum=$({ cat -- "$path"; [ -z "$(tail -c1 -- "$path")" ] || echo; } | sha256sum) && echo "${sum%% *} $path"; '
    'elif [ ! -e "$path" ] && [ -x "${path%/*}" ]; then echo "missing $path"; fi; done; true'
)


def process_command(pid_file: str, names: str) -> StringCommand:
    """A command that prints the id of a process, 0 if none runs, and nothing if that is unknown.

    :param names: patterns of the shell, one of which a process of that kind has as its name
    """
    return script(PROCESS % names, pid_file)


class FileContent(TypedDict):
    """What ``FileText`` returns; ``changed`` is the ctime in seconds, None if there is no file."""

    text: str
    changed: int | None


class FileText(FactBase[FileContent]):
    """Returns a file's text and when it was changed last, "" if there is none, None if that is unknown.

    + path: the file

    .. code:: python

        {"text": "port 6379\\n", "changed": 1767225600}
    """

    def command(self, path: str) -> StringCommand:
        return script(FILE, path)

    def process(self, output: list[str]) -> FileContent:
        if output == ["missing"]:
            return FileContent(text="", changed=None)
        return FileContent(text="\n".join(output[1:]) + "\n", changed=int(output[0]))


class Exposed(TypedDict):
    """What ``Exposure`` returns: the mode of each file that is there, and a process's umask, None if unknown."""

    modes: dict[str, int]
    umask: int | None


class Exposure(FactBase[Exposed]):
    """Returns who may read files, and what a server that rewrites one of them leaves to others.

    + paths: the files
    + pid_file: where the server writes its process id, "" if nobody rewrites them

    .. code:: python

        {"modes": {"/etc/keydb/keydb.conf": 0o600}, "umask": 0o077}
    """

    def command(self, paths: list[str], pid_file: str) -> StringCommand:
        return script(EXPOSURE, pid_file, *paths)

    @staticmethod
    def default() -> Exposed:
        return Exposed(modes={}, umask=None)

    def process(self, output: list[str]) -> Exposed:
        found = Exposed(modes={}, umask=None)
        for line in output:
            kind, value, *path = line.split(" ", 2)
            if kind == "mode":
                found["modes"][path[0]] = int(value, 8)
            else:
                found["umask"] = int(value, 8)
        return found


class Checksums(FactBase[dict[str, str]]):
    """Returns the SHA-256 of files, "" of one that isn't there; one that can't be read is left out.

    A text that ends without a line's end counts as one that has it.

    + paths: the files

    .. code:: python

        {"/etc/keydb/ca.pem": "9f86d081...", "/etc/keydb/key.pem": ""}
    """

    def command(self, paths: list[str]) -> StringCommand:
        return script(CHECKSUMS, *paths)

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def process(self, output: list[str]) -> dict[str, str]:
        rows = [line.split(" ", 1) for line in output]
        return {path: "" if told == "missing" else told for told, path in rows}


class RealDirectory(FactBase[str]):
    """Returns where a directory really is, with all links followed, None if that is unknown.

    + path: the directory
    """

    def command(self, path: str) -> StringCommand:
        return script('cd -- "$1" 2>/dev/null && pwd -P; true', path)

    def process(self, output: list[str]) -> str:
        return output[0]


class HasUser(FactBase[bool]):
    """Returns whether the system knows a user, None if that is unknown.

    + user: its name
    """

    def command(self, user: str) -> StringCommand:
        return script('if id -u -- "$1" >/dev/null 2>&1; then echo yes; else echo no; fi', user)

    def process(self, output: list[str]) -> bool:
        return output[0] == "yes"


class State(TypedDict):
    """What ``MachineState`` returns; sizes in bytes, None is unknown."""

    process: bool | None
    disk_free: int | None
    disk_size: int | None
    memory_available: int | None
    descriptor: str | None


class MachineState(FactBase[State]):
    """Returns how a server's machine is, None if it did not tell anything.

    + pid_file: where the server writes its process id
    + directory: whose file system is looked at

    .. code:: python

        {"process": True, "disk_free": 10737418240, "disk_size": 53687091200, "memory_available": 4294967296,
         "descriptor": "open"}
    """

    def command(self, pid_file: str, directory: str) -> StringCommand:
        return script(MACHINE, pid_file, directory)

    def process(self, output: list[str]) -> State:
        told = {words[0]: words[1:] for words in map(str.split, output) if len(words) > 1}
        pid, descriptor = told.get("process"), told.get("descriptor")
        size, free = (_kilobytes(told.get("disk", []), place) for place in (0, 1))
        return State(
            process=None if pid is None else pid != ["0"],
            disk_free=free,
            disk_size=size,
            memory_available=_kilobytes(told.get("MemAvailable:", []), 0),
            descriptor=None if descriptor is None else _descriptor(descriptor[0]),
        )


def _kilobytes(words: list[str], place: int) -> int | None:
    return int(words[place]) * 1024 if len(words) > place and words[place].isdecimal() else None


def _descriptor(target: str) -> str:
    if target == "closed":
        return "closed"
    return "socket" if target.startswith("socket:") else "open"


class ListeningProcess(TypedDict):
    """One row of ``Listeners``."""

    pid: int
    parent: int
    address: str
    port: int


class Listeners(FactBase[list[ListeningProcess]]):
    """Returns the servers and HAProxies that listen on TCP ports of this machine, as far as the user may see them.

    .. code:: python

        [{"pid": 812, "parent": 1, "address": "10.0.0.11", "port": 6379}]
    """

    def command(self) -> StringCommand:
        return script(LISTENERS)

    def process(self, output: list[str]) -> list[ListeningProcess]:
        places: dict[str, str] = {}
        parents: dict[str, int] = {}
        found: list[ListeningProcess] = []
        pid = ""
        for words in map(str.split, output):
            if words[0] == "process":
                parents[words[1]] = int(words[2])
            elif words[0].startswith("/proc/"):
                pid = words[0].split("/")[2]
            elif words[-1].startswith("socket:["):
                inode = words[-1].removeprefix("socket:[").rstrip("]")
                if inode in places and pid in parents:
                    found.append(_listening(places[inode], int(pid), parents[pid]))
            else:
                places[words[9]] = words[1]
        return found


class Peers(FactBase[list[str]]):
    """Returns the addresses of those who are connected to a port of this machine, None if that is unknown.

    + port: of a server

    .. code:: python

        ["10.0.0.12", "10.0.0.21"]
    """

    def command(self, port: int) -> StringCommand:
        return script(PEERS, f"{port:04X}")

    def process(self, output: list[str]) -> list[str]:
        return sorted({_place(line.split()[2])[0] for line in output if line != "asked"})


def _listening(place: str, pid: int, parent: int) -> ListeningProcess:
    address, port = _place(place)
    return ListeningProcess(pid=pid, parent=parent, address=address, port=port)


def _place(written: str) -> tuple[str, int]:
    """The kernel writes an address as words of four bytes in its own order, here taken to be little endian."""
    digits, _, port = written.partition(":")
    words = [bytes.fromhex(digits[start : start + 8])[::-1] for start in range(0, len(digits), 8)]
    return str(ipaddress.ip_address(b"".join(words))), int(port, 16)

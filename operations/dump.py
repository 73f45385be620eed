"""An RDB file of a node: made by BGSAVE, kept under a name of its own, brought here, and described by a JSON file.

BGSAVE works on every engine, with ``save ""``, with AOF, and on a node that is guarded; a replication link (what
``--rdb`` of the servers' tools uses) is refused by a replica that has no primary. The dump file is kept by a hard link,
since a server only ever replaces it: no byte is written twice (docs/rejoin.md).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import redis
from pyinfra.api.host import Host

from keydb_runbooks.connectors import shell
from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.connectors.link import Client, LinkError, link
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.operations.failures import StepFailed, Stopped
from keydb_runbooks.operations.waits import Lines, Pace, meanwhile, until
from keydb_runbooks.runbooks.condition import dataset_bytes
from keydb_runbooks.runbooks.replication import Node, read_info
from keydb_runbooks.runbooks.rescue import Room, file_name
from keydb_runbooks.runbooks.resync import read_save

WAIT_FOR_OTHERS_SECONDS = 600.0
"""How long another child of the server, that saves or rewrites its AOF, may take before our save begins."""

POLL_SECONDS = 0.1
PIECE_BYTES = 4 * 1024**2

# $1 the server's dump file, $2 the name under which it is kept. What a run that was killed left is removed.
KEEP = """
umask 077
directory=$(dirname "$2")
find "$directory" -maxdepth 1 -name "$3-*.part" -exec rm -f {} +
part=$2.part
fail() { rm -f "$part"; echo "$1"; exit; }
{ ln -- "$1" "$part" || cp --reflink=auto -- "$1" "$part"; } 2>/dev/null || fail "$1 can't be kept beside itself"
chmod 600 -- "$part" && sync -- "$part" || fail "$part can't be written"
sum=$(sha256sum <"$part") && size=$(stat -c %s -- "$part") || fail "$part can't be read"
mv -T -- "$part" "$2" && sync -- "$directory" || fail "$2 can't be written"
echo "kept $size ${sum%% *}"
"""

# $1 the file; its text comes on standard input, since keys may be secrets too.
WRITE = """
umask 077
cat >"$1.part" && sync -- "$1.part" && mv -T -- "$1.part" "$1" && echo written || { rm -f "$1.part"; echo failed; }
"""

PIECE = 'dd if="$1" bs=4194304 skip="$2" count=1 2>/dev/null | base64'

FREE = 'df -Pk -- "$1" | tail -n1'


@dataclass(frozen=True)
class Kept:
    """A saved file: its path without the ending, and the host that has it, None for this machine."""

    stem: str
    host: Host | None

    @property
    def place(self) -> str:
        return f"{self.host.name}:{self.stem}.rdb" if self.host is not None else f"{self.stem}.rdb"


def write_beside(place: Kept, ending: str, content: object) -> str:
    """Write JSON beside a saved file, readable by its owner alone, whole or not at all; return where.

    :raises StepFailed: if it can't be written
    """
    path, text = f"{place.stem}{ending}", json.dumps(content, indent=2) + "\n"
    if place.host is None:
        write_here(Path(path), text.encode())
    elif run(place.host, WRITE, path, given=text) != ["written"]:
        raise StepFailed(f"{place.host.name}: {path} can't be written")
    return path


def background_save(name: str, client: Client) -> None:
    """Let the server save, and wait until it did; a child that already works for something else is waited for.

    What the server began it goes on with, whoever stops waiting here.

    :raises StepFailed: if it may not or could not; ``Stopped`` if this program is told to stop
    """
    busy = ""

    def begun() -> bool | None:
        nonlocal busy
        busy = _begin_to_save(name, client)
        return None if busy else True

    told = lambda: f"{name} is busy with another save or rewrite; its own comes behind that"  # noqa: E731
    if until(begun, WAIT_FOR_OTHERS_SECONDS, POLL_SECONDS, told) is None:
        raise StepFailed(f"{name} is busy with another save or rewrite: {busy}")
    lines, pace = Lines(), Pace("keys")
    while (state := read_info(client.execute_command("INFO", "persistence")))["rdb_bgsave_in_progress"] != ["0"]:
        pace.see(*read_save(state))
        lines.go_on(lambda: f"{name} is saving: {pace}")
        time.sleep(POLL_SECONDS)
    if state["rdb_last_bgsave_status"] != ["ok"]:
        raise StepFailed(f"{name} could not save its data (its log says why); its data stay as they are")


def _begin_to_save(name: str, client: Client) -> str:
    """What keeps the server from it, "" if it began."""
    try:
        client.execute_command("BGSAVE")
    except redis.exceptions.NoPermissionError:
        raise StepFailed(f"{name} does not permit the operator BGSAVE; run install, or save=no") from None
    except redis.ResponseError as error:
        if "progress" not in str(error) and "child" not in str(error):
            raise
        return str(error)
    return ""


def keep(dump: str, place: Kept, node: str) -> tuple[int, str]:
    """Keep a server's dump file beside it under the name of ``place``; return its size in bytes and its SHA-256.

    :raises StepFailed: if it can't be kept; ``Stopped`` if this program is told to stop, and then nothing is kept
    """
    assert place.host is not None
    name = file_name(node, "", "", 0).removesuffix("---0")
    # Whatever stands before the node's name belongs to the same kind of file.
    prefix = f"{Path(place.stem).name.partition(name)[0]}{name}"
    host, path = place.host, f"{place.stem}.rdb"
    try:
        work = partial(run, host, KEEP, dump, path, prefix)
        lines = meanwhile(work, lambda: f"{node} reads its file for a checksum")
    except Stopped:
        # A script that still reads finds nothing left to give the name to.
        remove(place)
        raise
    answer = " ".join(lines or ["no shell answers there"]).split()
    if answer[:1] != ["kept"]:
        raise StepFailed(f"{node}: {' '.join(answer)}")
    return int(answer[1]), answer[2]


def fetch(place: Kept, stem: Path, size: int, checksum: str) -> Kept:
    """Bring a kept file to this machine, piece by piece, so that no copy of it is ever readable by others.

    It is whole and on the disk before it has its name, and only then it is removed on the node.

    :param stem: its path here, without the ending
    :param size: its length in bytes; ``checksum`` is its SHA-256
    :raises StepFailed: if it can't be read or written, or came as another one; ``Stopped`` if this program is told to
        stop, and then nothing of it is here
    """
    assert place.host is not None
    path = stem.with_name(f"{stem.name}.rdb")
    part = path.with_name(f"{path.name}.part")
    try:
        stem.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with private(part) as file:
            seen = _copy(place, size, file)
            file.flush()
            os.fsync(file.fileno())
        if seen != checksum:
            raise StepFailed(f"{path} came with another checksum than {place.place} has, which stays there")
        part.rename(path)
        sync_directory(stem.parent)
    except OSError as error:
        raise StepFailed(f"{path} can't be written: {error.strerror}; {place.place} stays there") from None
    except ValueError:
        raise StepFailed(f"{place.place} can't be read from here, and stays there") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    remove(place)
    return Kept(str(stem), None)


def _copy(place: Kept, size: int, file: BinaryIO) -> str:
    """Copy a kept file into one of this machine; the SHA-256 of what came."""
    assert place.host is not None
    host, lines, pace, seen = place.host, Lines(), Pace("bytes"), sha256()
    for number in range((size + PIECE_BYTES - 1) // PIECE_BYTES):
        work = partial(run, host, PIECE, f"{place.stem}.rdb", str(number))
        answer = meanwhile(work, lambda: f"{host.name} sends its file: {pace}", lines)
        piece = b64decode("".join(answer or []))
        seen.update(piece)
        file.write(piece)
        pace.see(file.tell(), size)
    return seen.hexdigest()


def remove(place: Kept) -> None:
    """Remove a kept file on its node, and what is not whole of it; that it can't be removed harms nobody."""
    assert place.host is not None
    run(place.host, 'rm -f -- "$1.part" "$1"', f"{place.stem}.rdb")


def sync_directory(directory: Path) -> None:
    """Let a name that was just given survive a power loss.

    :raises OSError: if that can't be had
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private(path: Path) -> BinaryIO:
    """A new file that its owner alone can read from the beginning; nobody's link is followed in the meantime."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def write_here(path: Path, content: bytes) -> None:
    """Write a file of this machine, readable by its owner alone, whole or not at all.

    :raises StepFailed: if it can't be written
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with private(part) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StepFailed(f"{path} can't be written: {error.strerror}") from None


def description(group: str, node: Node, size: int, checksum: str) -> dict[str, object]:
    """What stands beside a saved file; ``node`` as it was when its save began."""
    return {
        "format": 1,
        "group": group,
        "node": node.name,
        "address": str(node.address),
        "engine": node.engine,
        "version": node.version,
        "run_id": node.run_id,
        "replication_id": node.replication_id,
        "offset": node.offset,
        "previous_replication_id": node.previous_replication_id,
        "second_offset": node.second_offset,
        "keys": node.keys,
        "bytes": size,
        "sha256": checksum,
        "saved_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def room(entry: NodeEntry, fetch_to: Path | None = None, held: Client | None = None) -> Room:
    """What the data need at most, and what the disk has: the node's, and this machine's if they are fetched.

    :param fetch_to: the directory of this machine into which they are fetched
    :param held: a link that is open already
    """
    try:
        client = held or link(entry)
        try:
            fields = read_info(client.execute_command("INFO", "memory"))
            directory = setting(client, "dir")
        finally:
            if held is None:
                client.close()
    except (LinkError, redis.RedisError, OSError):
        return Room(None, None)
    needed = dataset_bytes(fields)
    needed = int(fields["used_memory"][0]) if needed is None else needed
    free = [free_there(entry.host, directory), *([] if fetch_to is None else [_free_here(fetch_to)])]
    known = [one for one in free if one is not None]
    return Room(needed, min(known) if len(known) == len(free) else None)


def free_there(host: Host, directory: str) -> int | None:
    """Bytes that are free where a directory of a host is, None if that is unknown."""
    lines = None
    with suppress(StepFailed):
        lines = run(host, FREE, directory)
    words = lines[-1].split() if lines else []
    return int(words[3]) * 1024 if len(words) > 4 and words[3].isdigit() else None


def _free_here(directory: Path) -> int | None:
    """Of the nearest directory that is there already."""
    there = next((one for one in (directory.absolute(), *directory.absolute().parents) if one.is_dir()), None)
    return shutil.disk_usage(there).free if there is not None else None


def setting(client: Client, name: str) -> str:
    """A setting of a running server."""
    return str(client.execute_command("CONFIG GET", name)[name])


def run(host: Host, script: str, *arguments: str, given: str | None = None) -> list[str] | None:
    """What a script of the shell prints on a host, nothing of it on the screen; None if it failed.

    :raises StepFailed: if the host has ended the connection
    """
    try:
        return run_quietly(host, shell.script(script, *arguments), stdin=given)
    except ConnectionError as error:
        raise StepFailed(str(error)) from None

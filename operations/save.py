"""Saving what only one node holds: BGSAVE there, the file kept under a name of its own, a JSON file beside it.

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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from weakref import WeakKeyDictionary

import redis
from pyinfra import logger
from pyinfra.api import QuoteString, StringCommand
from pyinfra.api.host import Host

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import Client, LinkError, link
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.perform import Links, perform
from keydb_runbooks.runbooks.plan import Answer, Plan, Request
from keydb_runbooks.runbooks.replication import Node, read_info
from keydb_runbooks.runbooks.rescue import Room, file_name, refuse_room
from keydb_runbooks.runbooks.steps_save import SaveData, StillHolds
from keydb_runbooks.runbooks.topology import Topology

WAIT_FOR_OTHERS_SECONDS = 600.0
"""How long another child of the server, that saves or rewrites its AOF, may take before our save begins."""

POLL_SECONDS = 0.1
PROGRESS_SECONDS = 3.0
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


_kept: WeakKeyDictionary[Links, dict[str, Kept]] = WeakKeyDictionary()


def kept(links: Links, node: str) -> Kept | None:
    """Where this run saved a node's data, None if it did not."""
    return _kept.get(links, {}).get(node)


def write_beside(place: Kept, ending: str, content: object) -> str:
    """Write JSON beside a saved file, readable by its owner alone, whole or not at all; return where.

    :raises StepFailed: if it can't be written
    """
    path, text = f"{place.stem}{ending}", json.dumps(content, indent=2) + "\n"
    if place.host is None:
        _write_here(Path(path), text.encode())
    elif _run(place.host, WRITE, path, given=text) != ["written"]:
        raise StepFailed(f"{place.host.name}: {path} can't be written")
    return path


def informed(
    group: Group, plan: Callable[[Topology, Request, int], Answer]
) -> Callable[[Topology, Request, int], Answer]:
    """A verb that also refuses what is known not to fit where it would be saved."""

    def decide(topology: Topology, request: Request, min_replicas: int) -> Answer:
        answer = plan(topology, request, min_replicas)
        if not isinstance(answer, Plan):
            return answer
        steps = [step for step in answer.steps if isinstance(step, SaveData)]
        return refuse_room(answer, {step.where: _room(group.node(step.where), step) for step in steps}) or answer

    return decide


@perform.register
def _still_holds(step: StillHolds, links: Links) -> str:
    node = links.read(step.where)
    if node.run_id != step.run_id:
        raise StepFailed(f"{step.where} was restarted meanwhile: it is another process now")
    if node.empty is step.keys:
        raise StepFailed(f"{step.where} holds {node.keys:,} keys now: look at the group again")
    return f"still holds {node.keys:,} keys"


@perform.register
def _save_data(step: SaveData, links: Links) -> str:
    entry, client = links.group.node(step.where), links.node(step.where)
    room = _room(entry, step, client)
    if room.needed is None or room.free is None or room.lacking:
        free = "an unknown number of" if room.free is None else f"{room.free:,}"
        raise StepFailed(f"{step.where}: saving needs up to {room.needed or 0:,} bytes, and {free} are free; make room")
    node = links.read(step.where)
    background_save(step.where, client)
    stem = file_name(step.where, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), node.replication_id, node.offset)
    place = Kept(f"{_setting(client, 'dir')}/{stem}", entry.host)
    size, checksum = _keep(f"{_setting(client, 'dir')}/{_setting(client, 'dbfilename')}", place, step.where)
    if step.to == "fetch":
        place = _fetch(place, Path(step.directory), size, checksum)
    write_beside(place, ".json", _description(links.group.name, node, size, checksum))
    _kept.setdefault(links, {})[step.where] = place
    return f"saved {node.keys:,} keys, {size:,} bytes: {place.place}"


def background_save(name: str, client: Client) -> None:
    """Let the server save, and wait until it did; a child that already works for something else is waited for."""
    deadline = time.monotonic() + WAIT_FOR_OTHERS_SECONDS
    while True:
        try:
            client.execute_command("BGSAVE")
            break
        except redis.exceptions.NoPermissionError:
            raise StepFailed(f"{name} does not permit the operator BGSAVE; run install, or save=no") from None
        except redis.ResponseError as error:
            if "progress" not in str(error) and "child" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise StepFailed(f"{name} is busy with another save or rewrite: {error}") from None
            time.sleep(POLL_SECONDS)
    told = time.monotonic()
    while (state := _persistence(client))["rdb_bgsave_in_progress"] != "0":
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            done, total = state.get("current_save_keys_processed", "?"), state.get("current_save_keys_total", "?")
            logger.info(f"    {name} is saving: {done} of {total} keys")
        time.sleep(POLL_SECONDS)
    if state["rdb_last_bgsave_status"] != "ok":
        raise StepFailed(f"{name} could not save its data (its log says why); nothing of it was thrown away")


def _persistence(client: Client) -> dict[str, str]:
    return {key: values[0] for key, values in read_info(client.execute_command("INFO", "persistence")).items()}


def _keep(dump: str, place: Kept, node: str) -> tuple[int, str]:
    assert place.host is not None
    prefix = file_name(node, "", "", 0).removesuffix("---0")
    answer = " ".join(_run(place.host, KEEP, dump, f"{place.stem}.rdb", prefix) or ["no shell answers there"]).split()
    if answer[:1] != ["kept"]:
        raise StepFailed(f"{node}: {' '.join(answer)}")
    return int(answer[1]), answer[2]


def _fetch(place: Kept, directory: Path, size: int, checksum: str) -> Kept:
    """Bring a kept file to this machine, piece by piece, so that no copy of it is ever readable by others."""
    assert place.host is not None
    path = directory / f"{Path(place.stem).name}.rdb"
    part, seen = path.with_name(f"{path.name}.part"), sha256()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _private(part) as file:
            for number in range((size + PIECE_BYTES - 1) // PIECE_BYTES):
                piece = b64decode("".join(_run(place.host, PIECE, f"{place.stem}.rdb", str(number)) or []))
                seen.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if seen.hexdigest() != checksum:
            raise StepFailed(f"{path} came with another checksum than {place.place} has, which stays there")
        part.rename(path)
    except OSError as error:
        raise StepFailed(f"{path} can't be written: {error.strerror}; {place.place} stays there") from None
    except ValueError:
        raise StepFailed(f"{place.place} can't be read from here, and stays there") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    _run(place.host, 'rm -f -- "$1"', f"{place.stem}.rdb")
    return Kept(str(path.with_suffix("")), None)


def _private(path: Path) -> BinaryIO:
    """A new file that its owner alone can read from the beginning; nobody's link is followed in the meantime."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _write_here(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        with _private(part) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StepFailed(f"{path} can't be written: {error.strerror}") from None


def _description(group: str, node: Node, size: int, checksum: str) -> dict[str, object]:
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


def _room(entry: NodeEntry, step: SaveData, held: Client | None = None) -> Room:
    """What the data need at most, and what the disk has: the node's, and this machine's if they are fetched."""
    try:
        client = held or link(entry)
        try:
            fields = read_info(client.execute_command("INFO", "memory"))
            directory = _setting(client, "dir")
        finally:
            if held is None:
                client.close()
    except (LinkError, redis.RedisError, OSError):
        return Room(None, None)
    needed = int(fields.get("used_memory_dataset", fields["used_memory"])[0])
    free = [_free_there(entry.host, directory), *([_free_here(Path(step.directory))] if step.to == "fetch" else [])]
    known = [one for one in free if one is not None]
    return Room(needed, min(known) if len(known) == len(free) else None)


def _free_there(host: Host, directory: str) -> int | None:
    lines = _run(host, FREE, directory)
    words = lines[-1].split() if lines else []
    return int(words[3]) * 1024 if len(words) > 4 and words[3].isdigit() else None


def _free_here(directory: Path) -> int | None:
    """Of the nearest directory that is there already."""
    there = next((one for one in (directory.absolute(), *directory.absolute().parents) if one.is_dir()), None)
    return shutil.disk_usage(there).free if there is not None else None


def _setting(client: Client, name: str) -> str:
    return str(client.execute_command("CONFIG GET", name)[name])


def _run(host: Host, script: str, *arguments: str, given: str | None = None) -> list[str] | None:
    words = map(QuoteString, arguments)
    return run_quietly(host, StringCommand("sh", "-c", QuoteString(script), "sh", *words), stdin=given)

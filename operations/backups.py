"""Making a backup: what is in its directory, and the steps by which another one gets there (docs/backup.md).

A backup is an RDB file with a JSON file beside it. That is written last and removed first, so whatever has none is no
backup. Whoever makes one holds the lock of the directory; files of an older run without a description are therefore
nobody's, and are removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from weakref import WeakKeyDictionary

from pyinfra.api.host import Host

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.operations import dump, programs
from keydb_runbooks.operations.dump import Kept
from keydb_runbooks.operations.failures import LeftBehind, StepFailed
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.options import option
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.waits import meanwhile, until
from keydb_runbooks.runbooks import backup
from keydb_runbooks.runbooks.plan import Answer, Plan, Request
from keydb_runbooks.runbooks.rdb import Checked, read_check
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.shelf import Backup, Shelf, backup_name, expired, is_backup_of
from keydb_runbooks.runbooks.steps_backup import BringBackup, ExpireBackups, MakeBackup
from keydb_runbooks.runbooks.topology import Topology

DIRECTORY = "backups"
"""Of the operator's machine, where ``save_to`` names none."""

NAME_SECONDS = 3
"""A backup is named by its second: for so long the next one is waited for."""

# $1 the server's program, $2 its engine, $3 the file. The check is the server's own program under another name; where
# nobody installed that name beside it, it is called so. Of a broken file it prints whatever bytes it has read.
CHECK = """
server=$(command -v -- "$1") || { echo "there is no $1 here"; exit 0; }
tool=$(dirname -- "$server")/$2-check-rdb
if [ -x "$tool" ]; then "$tool" "$3"
else bash -c 'exec -a "$0" "$@"' "$2-check-rdb" "$server" "$3"
fi 2>&1 | LC_ALL=C tr -cd '\\11\\12\\40-\\176'
exit 0
"""

# $1 a directory of a server's data: what backups left there that died more than a day ago.
FORGOTTEN = "find \"$1\" -maxdepth 1 -name 'backup-*.rdb' -cmin +1440 -exec rm -f {} +"


@dataclass
class Made:
    """A backup under way: the checked file on its node, what it is, and the lock of the directory."""

    place: Kept
    node: Node
    size: int
    checksum: str
    checked: Checked


_made: WeakKeyDictionary[Links, Made] = WeakKeyDictionary()
_locks: WeakKeyDictionary[Links, _Lock] = WeakKeyDictionary()


def informed(host: Host, group: Group) -> Callable[[Topology, Request, int], Answer]:
    """The decision of a backup, which knows what is in its directory and whether there is room."""
    directory = Path(str(option(host, "save_to") or DIRECTORY))

    def decide(topology: Topology, request: Request, min_replicas: int) -> Answer:
        answer = backup.plan(topology, request, min_replicas, look(directory, group.name))
        if not isinstance(answer, Plan):
            return answer
        room = dump.room(group.node(answer.about), directory)
        return backup.refuse_room(answer, str(directory), room) or answer

    return decide


def look(directory: Path, group: str) -> Shelf:
    """What is in a directory: the group's whole backups, and files without a description."""
    try:
        files = sorted(path.name for path in directory.iterdir() if is_backup_of(group, path.name))
    except OSError:
        files = []
    whole = {file.removesuffix(".json"): age for file in files if (age := _age_of(directory / file)) is not None}
    parts = [file for file in files if file.endswith(".part") or Path(file).stem not in whole]
    backups = tuple(Backup(name, age) for name, age in whole.items())
    return Shelf(str(directory), backups, tuple(parts))


def _age_of(path: Path) -> float | None:
    """Days since a backup was made, None if this describes none, or its file is not there as described."""
    if path.suffix != ".json":
        return None
    try:
        described = json.loads(path.read_bytes())
        if path.with_suffix(".rdb").stat().st_size != described["bytes"]:
            return None
        made = datetime.fromisoformat(str(described["saved_at"]).replace("Z", "+00:00"))
        return (datetime.now(timezone.utc) - made).total_seconds() / 86_400
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check(entry: NodeEntry, path: str) -> Checked:
    """Check an RDB file on a node by the engine's own program.

    :raises StepFailed: if it can't be checked, or isn't sound
    """
    engine = entry.data("keydb_engine")
    told = meanwhile(
        lambda: dump.run(entry.host, CHECK, programs.on_path(entry), str(engine), path),
        lambda: f"{entry.name} checks {path}",
    )
    checked = read_check(told or [])
    if not checked.sound:
        raise StepFailed(f"{entry.name}: {engine}-check-rdb {path}: {checked.trouble}")
    return checked


@perform.register
def _make_backup(step: MakeBackup, links: Links) -> str:
    entry, client = links.group.node(step.where), links.node(step.where)
    node = links.read_same(step.where, step.run_id)
    dump.background_save(step.where, client)
    data = dump.setting(client, "dir")
    dump.run(entry.host, FORGOTTEN, data)
    place = Kept(f"{data}/backup-{_plain(step.where)}-{_now()}", entry.host)
    size, checksum = dump.keep(f"{data}/{dump.setting(client, 'dbfilename')}", place, step.where)
    try:
        checked = check(entry, f"{place.stem}.rdb")
    except StepFailed:
        dump.remove(place)
        raise
    _made[links] = Made(place, node, size, checksum, checked)
    return f"saved {checked.keys:,} keys, {size:,} bytes; {step.engine}-check-rdb finds the file sound"


@perform.register
def _bring_backup(step: BringBackup, links: Links) -> str:
    made, directory = _made[links], Path(step.directory)
    try:
        _locks[links] = _Lock(directory)
        free = partial(_free_name, directory, links.group.name, step.where)
        name = until(free, NAME_SECONDS, 0.05, lambda: "a backup of this very second is there")
        if name is None:
            raise StepFailed(f"{directory} has a backup of {_now()} already; look at this machine's clock")
        here = dump.fetch(made.place, directory / name, made.size, made.checksum)
    finally:
        dump.remove(made.place)
    try:
        dump.write_beside(here, ".json", _description(links.group.name, made))
    except StepFailed:
        with suppress(OSError):
            Path(f"{here.stem}.rdb").unlink()
        raise
    return f"{made.checked.keys:,} keys, {made.size:,} bytes, sha256 {made.checksum[:8]}...: {here.place}"


@perform.register
def _expire_backups(step: ExpireBackups, links: Links) -> str:
    directory = Path(step.directory)
    shelf = look(directory, links.group.name)
    gone = [backup.name for backup in expired(shelf.backups, step.keep, step.keep_days)]
    try:
        for name in gone:
            # Without its description it is no backup any more, whatever becomes of the rest.
            (directory / f"{name}.json").unlink()
            dump.sync_directory(directory)
            (directory / f"{name}.rdb").unlink()
        for file in shelf.interrupted:
            (directory / file).unlink(missing_ok=True)
    except OSError as error:
        raise LeftBehind(f"{error.filename} can't be removed: {error.strerror}") from None
    kept = len(shelf.backups) - len(gone)
    told = "".join(f"; removed {name}" for name in (*gone, *shelf.interrupted))
    return f"{step.directory} has {kept:,} {'backup' if kept == 1 else 'backups'} of {links.group.name}{told}"


def _description(group: str, made: Made) -> dict[str, object]:
    """As beside what rejoin saves; keys and the place in the stream are those that the file itself tells."""
    node, checked = made.node, made.checked
    described = dump.description(group, node, made.size, made.checksum)
    if checked.replication_id is not None and checked.offset is not None:
        described |= {"replication_id": checked.replication_id, "offset": checked.offset}
    return {**described, "keys": checked.keys, "checked": f"{node.engine}-check-rdb"}


class _Lock:
    """The lock of a directory, which ends with this object or with this program.

    :raises StepFailed: if somebody else has it, or it can't be had
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StepFailed(f"{directory} can't be used: {error.strerror}; name another by save_to=") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise StepFailed(f"another backup is being written into {directory}; wait until it is done") from None
        except OSError as error:
            os.close(self._descriptor)
            raise StepFailed(f"{directory} can't be locked: {error.strerror}; name another by save_to=") from None

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._descriptor)


def _free_name(directory: Path, group: str, node: str) -> str | None:
    """A backup's name by this second, None if one has it already."""
    name = backup_name(group, _now(), node)
    taken = any((directory / f"{name}{ending}").exists() for ending in (".rdb", ".json"))
    return None if taken else name


def _now() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _plain(name: str) -> str:
    return backup_name("", "", name).rpartition("-from-")[2]

"""A directory with the backups of a group: how they are called, which of them are kept, and which go."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TIME = r"\d{8}T\d{6}Z"


@dataclass(frozen=True)
class Backup:
    """A backup that is whole: its file has the length that its description says. ``age_days`` is since it was made."""

    name: str
    age_days: float


@dataclass(frozen=True)
class Shelf:
    """What is in the directory of the operator's machine, and what it has room for.

    ``interrupted`` are the names of files that a run which died left; no backup is made of them.
    """

    directory: str
    backups: tuple[Backup, ...] = ()
    interrupted: tuple[str, ...] = ()


def backup_name(group: str, time: str, node: str) -> str:
    """The name of a backup's files, without their endings; names in the order of the alphabet are in that of time.

    >>> backup_name("demo", "20260102T030405Z", "keydb-2")
    'demo-20260102T030405Z-from-keydb-2'
    """
    return f"{_plain(group)}-{time}-from-{_plain(node)}"


def is_backup_of(group: str, file: str) -> bool:
    """Whether a file's name is one that a backup of this group has, finished or not.

    >>> is_backup_of("demo", "demo-20260102T030405Z-from-keydb-2.rdb.part")
    True
    """
    pattern = rf"{re.escape(_plain(group))}-{_TIME}-from-[A-Za-z0-9._-]+\.(rdb|json)(\.part)?"
    return re.fullmatch(pattern, file) is not None


def expired(backups: tuple[Backup, ...], keep: int | None, keep_days: int | None) -> tuple[Backup, ...]:
    """The backups that nothing keeps, oldest first.

    The ``keep`` newest are kept, and all that are not older than ``keep_days``; of two rules each keeps by itself.
    Without any rule all are kept, and the newest one always is.
    """
    newest_first = sorted(backups, key=lambda backup: (backup.age_days, backup.name))
    if keep is None and keep_days is None:
        return ()
    kept = 1 if keep is None else keep
    old = (backup for backup in newest_first[kept:] if keep_days is None or backup.age_days > keep_days)
    return tuple(reversed(list(old)))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")

"""The acts of a restore: a backup is put on a node, loaded there beside its server, taken over, and made the primary's.

Up to the promotion nobody else is touched, and what only reads or writes beside the data changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keydb_runbooks.runbooks.steps import Command, Promote, Step

RESTORED_KEY = "runbook:restored"
"""The SHA-256 of the backup that a group's data were restored from, set in the segment of the promotion: who runs the
same restore again after a death finishes it, and doesn't throw away what was written since."""


@dataclass(frozen=True)
class PutBackup(Step):
    """Bring a backup to a node, compare its checksum, and check it there by the program that will load it."""

    path: str
    sha256: str
    size: int

    changes: ClassVar[bool] = False

    @property
    def sentence(self) -> str:
        return f"get {self.path} ({self.size:,} bytes), compare its SHA-256 and check it there; nothing is loaded yet"


@dataclass(frozen=True)
class OfferBackup(Step):
    """Start a second server beside the node's own, for a moment, on the backup; clients can't log in there."""

    keys: int

    changes: ClassVar[bool] = False

    @property
    def sentence(self) -> str:
        return f"load it into a second server beside its own ({self.keys:,} keys), which no client can use"


@dataclass(frozen=True)
class LoadBackup(Step):
    """Take all data over from the second server, by a full resync; the line on disk stays as it is.

    A node that is restarted meanwhile is what its file says, as if nothing had been done. What has a limit is how long
    it gets no further, as for ``InSync``.
    """

    stalled_seconds: float

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("REPLICAOF", "<itself>", "<the second server's port>"),)

    @property
    def sentence(self) -> str:
        return f"take over its data, read-only; give up after {self.stalled_seconds:g} s without progress"


@dataclass(frozen=True)
class PromoteRestored(Promote):
    """As ``Promote``, and note in the data which backup they are."""

    backup: str

    @property
    def commands(self) -> tuple[Command, ...]:
        *first, last = super().commands
        return (*first, ("SET", RESTORED_KEY, self.backup), last)


@dataclass(frozen=True)
class EndOffer(Step):
    """End the second server and remove its files."""

    changes: ClassVar[bool] = False

    @property
    def sentence(self) -> str:
        return "end the second server, and remove its files"


@dataclass(frozen=True)
class NoWayBack(Step):
    """Stands where a run that failed would undo, and can't: the node's former data are only in the file by now."""

    @property
    def sentence(self) -> str:
        return "it holds its former data no longer; the same restore again goes on"

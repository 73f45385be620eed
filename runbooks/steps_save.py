"""The acts around data that would be thrown away: guard the node, save its data, tell what differs; and see that a
server is as empty, or as full, as it was when the plan was made.

Saving and comparing change nothing that a group depends on, so a run that fails in them is unchanged. But they are why
data may be thrown away behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keydb_runbooks.runbooks.steps import Command, Step


@dataclass(frozen=True)
class StillHolds(Step):
    """See that a server is the same process, and still holds keys, or still none."""

    run_id: str
    keys: bool

    changes: ClassVar[bool] = False
    vital: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("INFO",),)

    @property
    def sentence(self) -> str:
        return f"see that it still holds {'its keys' if self.keys else 'no keys'}"


@dataclass(frozen=True)
class SaveData(Step):
    """Save all that a node holds as an RDB file of its own, with a JSON file beside it that says what it is.

    ``to`` is ``node`` (beside the server's own dump file) or ``fetch`` (into ``directory`` of this machine).
    """

    to: str
    directory: str

    changes: ClassVar[bool] = False
    vital: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("BGSAVE",), ("INFO", "persistence"))

    @property
    def sentence(self) -> str:
        place = f"into {self.directory} of this machine" if self.to == "fetch" else "on the node, beside its dump file"
        return f"save its data (BGSAVE) {place}"


@dataclass(frozen=True)
class SaveInstead(SaveData):
    """The same of a node that holds what another one does, if that could not be saved."""

    other: str

    @property
    def sentence(self) -> str:
        return f"{super().sentence}, unless those of {self.other} are saved"


@dataclass(frozen=True)
class SaveIfMore(SaveData):
    """The same of a node that has stepped down, if it got anything that the primary lacks.

    It may have taken writes between the look and its step down. ``until``: up to this offset it holds nothing alone,
    None if it held no keys. With ``no`` for ``to`` whatever is more is not saved, and the run ends here.
    """

    until: int | None

    @property
    def commands(self) -> tuple[Command, ...]:
        return super().commands if self.to != "no" else (("INFO",),)

    @property
    def sentence(self) -> str:
        more = "keys" if self.until is None else f"more than offset {self.until}"
        if self.to == "no":
            return f"see that it has not got {more} meanwhile"
        return f"{super().sentence}, if it holds {more}"


@dataclass(frozen=True)
class Compare(Step):
    """List the keys in which a node and the primary differ, without a single value; at most ``listed`` by name."""

    primary: str
    listed: int

    changes: ClassVar[bool] = False
    vital: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("SCAN", "0"),)

    @property
    def sentence(self) -> str:
        return f"list the keys that differ from {self.primary}'s ({self.listed:,} at most by name)"

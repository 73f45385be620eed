"""The acts of a backup. None of them changes anything that a group depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from keydb_runbooks.runbooks.steps import Command, Step

HERE = "here"
"""Where a step is done that no node is asked for: on the operator's machine."""


@dataclass(frozen=True)
class MakeBackup(Step):
    """Let a server save all that it holds, and check the file on its own machine from the first to the last byte."""

    engine: str
    run_id: str

    changes: ClassVar[bool] = False

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("BGSAVE",), ("INFO", "persistence"))

    @property
    def sentence(self) -> str:
        return f"save its data (BGSAVE), and check the file there with {self.engine}-check-rdb"


@dataclass(frozen=True)
class BringBackup(Step):
    """Bring the checked file here, then write what it is beside it: only with that it is a backup."""

    directory: str

    changes: ClassVar[bool] = False

    @property
    def sentence(self) -> str:
        return f"bring the file into {self.directory} of this machine, with its description beside it"


@dataclass(frozen=True)
class ExpireBackups(Step):
    """Remove backups that no rule keeps, and what runs that died left, now that a newer one is whole.

    ``expected`` are those that would be removed now; which they are is looked at again then.
    """

    directory: str
    keep: int | None
    keep_days: int | None
    expected: tuple[str, ...] = field(default=(), compare=False)

    changes: ClassVar[bool] = False

    @property
    def sentence(self) -> str:
        rules = [
            *([] if self.keep is None else [f"the {self.keep:,} newest"]),
            *([] if self.keep_days is None else [f"those of the last {self.keep_days:,} days"]),
        ]
        kept = " and ".join(rules) or "all backups"
        return f"keep {kept} in {self.directory}; remove {', '.join(self.expected) or 'none'}"

"""The acts of a group that grows or shrinks. Nobody waits for the rest of them, so each ends the run if it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keydb_runbooks.runbooks.steps import Command, Step


@dataclass(frozen=True)
class LeftByClients(Step):
    """Wait until no client is connected to a node any more; those that stay are cut when its server ends."""

    timeout_seconds: float

    changes: ClassVar[bool] = False

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("CLIENT", "LIST"),)

    @property
    def sentence(self) -> str:
        return f"wait until clients have left it ({self.timeout_seconds:g} s at most)"


@dataclass(frozen=True)
class Leave(Step):
    """Save the data and end the server, now and for good: its unit no longer starts it with the machine.

    ``run_id`` is the process that is meant; another one may have another role.
    """

    run_id: str

    lasting: ClassVar[bool] = True
    ends: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("BGSAVE",),)

    @property
    def sentence(self) -> str:
        return "save its data, and end its server for good"

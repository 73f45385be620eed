"""Ending the connections of clients that are open to a node which is no longer the primary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keydb_runbooks.runbooks.steps import Command, Step

END: tuple[Command, ...] = (("CLIENT", "LIST"), ("CLIENT", "KILL", "ID", "<each connection of a client>"))


@dataclass(frozen=True)
class EndSessions(Step):
    """End the connections that no proxy ends: a process of HAProxy that a reload replaced keeps those that it has.

    It no longer asks who is the primary, and ends 30 s after the reload (``hard-stop-after``) in any case.
    """

    spare: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return END

    @property
    def sentence(self) -> str:
        return "end the connections that clients still have to it"


@dataclass(frozen=True)
class EndStragglers(Step):
    """End clients' connections to a node that is no longer the primary, until the Service leads nobody there.

    A moved Service moves no connection that is open. Whoever has one would get -READONLY for ever.
    """

    service: str
    primary: str

    @property
    def commands(self) -> tuple[Command, ...]:
        return END

    @property
    def sentence(self) -> str:
        return f"end its clients' connections: {self.service} leads to {self.primary} now"


@dataclass(frozen=True)
class EndLatecomers(Step):
    """The same once more, when every machine has had the time to learn of the move."""

    service: str
    primary: str

    @property
    def commands(self) -> tuple[Command, ...]:
        return END

    @property
    def sentence(self) -> str:
        return f"end the connections of clients that came before {self.service} had moved everywhere"

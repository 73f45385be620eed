"""The acts of restart and upgrade, as ``steps`` has those of the other verbs.

Nobody waits for the rest of a rolling restart, so each of them ends the run if it fails: nothing else is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keydb_runbooks.runbooks.replication import Address
from keydb_runbooks.runbooks.steps import SAVE, STALLED_SECONDS, Command, Step

RESTART_TIMEOUT_SECONDS = 600.0
"""How long a server may take to save its data, to end, to start and to load them again; systemd gives it as long."""

SETTLE_SECONDS = 20.0
"""For how long the group may look otherwise than the plan expects it: proxies' checks need a moment."""


@dataclass(frozen=True)
class LookAgain(Step):
    """Look at the whole group again before this node is touched: what is left to do must be what the plan says."""

    timeout_seconds: float = SETTLE_SECONDS

    changes: ClassVar[bool] = False
    ends: ClassVar[bool] = True

    @property
    def sentence(self) -> str:
        return f"look at the whole group again before it is touched ({self.timeout_seconds:g} s at most)"


@dataclass(frozen=True)
class SaveToDisk(Step):
    """Write the data to disk now, on a server that has no save points: else it would start empty."""

    ends: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("BGSAVE",),)

    @property
    def sentence(self) -> str:
        return "save its data, since it doesn't by itself when it ends"


@dataclass(frozen=True)
class UseProgram(Step):
    """Let the next start of a server take this program, where something else than the inventory names it: its unit."""

    program: str

    lasting: ClassVar[bool] = True
    ends: ClassVar[bool] = True

    @property
    def sentence(self) -> str:
        return f"its next start takes {self.program}"


@dataclass(frozen=True)
class Restart(Step):
    """End a server's process in order, start another one guarded, and let that follow the primary.

    ``run_id`` is the process that is meant; another one was started by somebody else. ``told`` says what it runs now,
    and what then; ``version`` is that where it must be another one.
    """

    run_id: str
    primary: str
    address: Address
    told: str
    version: str | None = None
    timeout_seconds: float = RESTART_TIMEOUT_SECONDS

    lasting: ClassVar[bool] = True
    ends: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("REPLICAOF", self.address.host, str(self.address.port)), SAVE)

    @property
    def sentence(self) -> str:
        return f"restart {self.told}, follow {self.primary}, and save that ({self.timeout_seconds:g} s at most)"


@dataclass(frozen=True)
class RestartAlone(Step):
    """The same for a group's only node: it is nobody's replica then, until it is promoted again.

    ``keys`` is whether it holds any now: if it comes back without them, it stays guarded.
    """

    run_id: str
    told: str
    version: str | None
    keys: bool
    timeout_seconds: float = RESTART_TIMEOUT_SECONDS

    lasting: ClassVar[bool] = True
    ends: ClassVar[bool] = True

    @property
    def sentence(self) -> str:
        return f"restart {self.told}, guarded ({self.timeout_seconds:g} s at most)"


@dataclass(frozen=True)
class BackInSync(Step):
    """Wait until a restarted node has what its primary has, and the primary counts it, as ``InSync`` waits."""

    primary: str
    address: Address
    stalled_seconds: float = STALLED_SECONDS

    changes: ClassVar[bool] = False
    ends: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("INFO",),)

    @property
    def sentence(self) -> str:
        return f"wait until it has all that {self.primary} has, or for {self.stalled_seconds:g} s without progress"

"""The acts that a plan is made of, each described completely before anyone performs it.

A step names its node, the raw commands that are sent, and a sentence. ``operations/perform.py`` performs
them; what is printed for a dry run is this very object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keydb_runbooks.runbooks.replication import GUARD_ADDRESS, Address

SHORT_PAUSE_MILLISECONDS = 1500
"""The first pause ends by itself: a run that dies before the second one harms nobody for long."""

ENDLESS_PAUSE_MILLISECONDS = 10**12
"""The second pause ends only when a verb ends it; any number a run could outlive loses writes
(convergence-facts, "The pause")."""

EPOCH_KEY = "runbook:epoch"
"""Counts the promotions of a group, in its data: replicated, saved, absent on an empty node
(convergence-facts, "Lineage")."""

LINEAGE_KEY = "runbook:lineage"
"""The streams that the data descend from, newest first (docs/lineage.md)."""

LINEAGE_LENGTH = 32
"""How many promotions are remembered."""

VERIFY_KEY = "runbook:verify"
"""Written and read back through every proxy at the end of a run."""

Command = tuple[str, ...]

SAVE: Command = ("CONFIG", "REWRITE")
"""Writes a server's role into its file. It comes last in a step: a full disk takes nothing back, and stops nobody."""


@dataclass(frozen=True)
class Step:
    """An act on one node or proxy.

    ``commands`` are sent in one segment, in order. ``changes`` is False for waits and checks.
    ``commits`` marks the step from which on there is no way back: before it a failed run is undone,
    after it the run can only be finished. ``spare`` marks a step that is done by itself a moment later: if it fails,
    that is told, and nothing is left out; what must not be missing is proved by a later step. ``lasting`` marks one
    that nothing undoes.
    ``ends`` marks one for whose like nobody waits: if it fails, nothing else is touched.
    ``vital`` marks one that changes nothing, and without which the rest must not happen to its node: a signal that cuts
    other waits short gives the node up in it.
    """

    where: str

    changes: ClassVar[bool] = True
    commits: ClassVar[bool] = False
    spare: ClassVar[bool] = False
    lasting: ClassVar[bool] = False
    ends: ClassVar[bool] = False
    vital: ClassVar[bool] = False

    @property
    def commands(self) -> tuple[Command, ...]:
        return ()

    @property
    def sentence(self) -> str:
        raise NotImplementedError

    @property
    def code(self) -> str:
        """The step's name, for reports and tests."""
        return type(self).__name__


@dataclass(frozen=True)
class Pause(Step):
    """Hold writes back on a primary. A later shorter pause doesn't shorten a longer one."""

    milliseconds: int

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("CLIENT", "PAUSE", str(self.milliseconds), "WRITE"),)

    @property
    def sentence(self) -> str:
        if self.milliseconds >= ENDLESS_PAUSE_MILLISECONDS:
            return "hold writes back until a verb ends it"
        return f"hold writes back for {self.milliseconds / 1000:g} s"


@dataclass(frozen=True)
class Unpause(Step):
    """End a pause, so that a replica applies what it receives and clients get their answer."""

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("CLIENT", "UNPAUSE"),)

    @property
    def sentence(self) -> str:
        return "end the pause"


@dataclass(frozen=True)
class Reinstate(Step):
    """Let a primary go on although a silent node may have been promoted over it, and outrank that, in one segment.

    A pause comes first, or it would hold the epoch back; ``min_replicas`` as with ``Promote``.
    """

    silent: tuple[str, ...]
    epoch: int
    min_replicas: int

    @property
    def commands(self) -> tuple[Command, ...]:
        return (
            ("CLIENT", "UNPAUSE"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            ("SET", EPOCH_KEY, str(self.epoch)),
            ("CONFIG", "SET", "min-replicas-to-write", str(self.min_replicas)),
        )

    @property
    def sentence(self) -> str:
        return f"go on as epoch {self.epoch}, whatever {' and '.join(self.silent)} became, and end a pause"


@dataclass(frozen=True)
class CatchUp(Step):
    """Wait until a replica has all that its primary has, and see that the primary is still the same process."""

    source: str
    source_run_id: str
    timeout_seconds: float

    changes: ClassVar[bool] = False

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("INFO", "replication"),)

    @property
    def sentence(self) -> str:
        return f"wait until it has all that {self.source} has ({self.timeout_seconds:g} s at most)"


@dataclass(frozen=True)
class ComeClose(Step):
    """Wait, while nobody is held back, until a replica lacks so little that it has the rest within a moment.

    A slow replica may need long, and a pause that is as long would be an outage; so the long wait comes before it.
    """

    source: str
    source_run_id: str
    timeout_seconds: float

    changes: ClassVar[bool] = False

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("INFO", "replication"),)

    @property
    def sentence(self) -> str:
        return f"wait until it is close to {self.source} ({self.timeout_seconds:g} s at most)"


@dataclass(frozen=True)
class Promote(Step):
    """Make a replica the primary and count the promotion, in one TCP segment.

    Without the first command the epoch's SET is refused with -NOREPLICAS on every engine; the
    setting is restored behind it.
    """

    epoch: int
    min_replicas: int

    commits: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return (
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            ("REPLICAOF", "NO", "ONE"),
            ("SET", EPOCH_KEY, str(self.epoch)),
            ("CONFIG", "SET", "min-replicas-to-write", str(self.min_replicas)),
        )

    @property
    def sentence(self) -> str:
        return f"become the primary, epoch {self.epoch}"


@dataclass(frozen=True)
class RecordLineage(Step):
    """Record a promotion in the data, so that a node that comes back from its disk later is recognised.

    It comes before anybody attaches: a server without a backlog forgets its former id at the first full resync.
    """

    min_replicas: int

    @property
    def commands(self) -> tuple[Command, ...]:
        return (
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            ("SET", LINEAGE_KEY, "<former id>:<its last offset>,..."),
            ("CONFIG", "SET", "min-replicas-to-write", str(self.min_replicas)),
        )

    @property
    def sentence(self) -> str:
        return "record where its history comes from"


@dataclass(frozen=True)
class Follow(Step):
    """Replicate another node, and save that at once: the line on disk is the record that survives."""

    primary: str
    address: Address

    lasting: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("REPLICAOF", self.address.host, str(self.address.port)), SAVE)

    @property
    def sentence(self) -> str:
        return f"follow {self.primary}, and save that"


@dataclass(frozen=True)
class Guard(Step):
    """Become nobody's replica: read-only, with its data and its offset, until a verb says what it is; and save that.

    The address is one that fails at once and leaves KeyDB's file descriptor 0 alone (keydb-facts, "Empty primary").
    """

    lasting: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        # A replica that takes writes would go on with that, and what it acknowledged last would be saved nowhere.
        return (("CONFIG", "SET", "replica-read-only", "yes"), ("REPLICAOF", GUARD_ADDRESS, "1"), SAVE)

    @property
    def sentence(self) -> str:
        return "be nobody's replica, read-only, and save that"


@dataclass(frozen=True)
class SaveConfiguration(Step):
    """Write the role that a node has now into its configuration file."""

    @property
    def commands(self) -> tuple[Command, ...]:
        return (SAVE,)

    @property
    def sentence(self) -> str:
        return "save its role in its configuration file"


@dataclass(frozen=True)
class Route(Step):
    """Send new writing connections to the primary and cut those that lead elsewhere.

    The proxy's own check finds the same a moment later; this is faster (keydb-facts, "HAProxy in front").
    ``VerifyWrite`` proves one or the other.
    """

    backend: str
    primary: str
    others: tuple[str, ...]

    spare: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        cut = tuple(("set", "server", f"{self.backend}/{other}", "health", "down") for other in self.others)
        end = tuple(("shutdown", "sessions", "server", f"{self.backend}/{other}") for other in self.others)
        return (("set", "server", f"{self.backend}/{self.primary}", "health", "up"), *cut, *end)

    @property
    def sentence(self) -> str:
        return f"send writes to {self.primary}"


STALLED_SECONDS = 60.0
"""How long a replica that shall come in sync may get no further."""


@dataclass(frozen=True)
class InSync(Step):
    """Wait until a replica's link to the primary is up.

    A full resync takes as long as its data need, so what has a limit is how long it gets no further.
    """

    primary: str
    address: Address
    stalled_seconds: float

    changes: ClassVar[bool] = False

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("INFO",),)

    @property
    def sentence(self) -> str:
        return f"wait until it is in sync, or for {self.stalled_seconds:g} s without progress"


@dataclass(frozen=True)
class VerifyWrite(Step):
    """Write a value through a proxy, read it back, and see which node answered.

    ``primary_run_id`` is None where the primary will be another process by then: whatever that is, it must answer.
    """

    primary: str
    primary_run_id: str | None
    timeout_seconds: float

    changes: ClassVar[bool] = False

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("INFO", "server"), ("SET", VERIFY_KEY, "<random>"), ("GET", VERIFY_KEY))

    @property
    def sentence(self) -> str:
        return f"a write and a read through it reach {self.primary}"

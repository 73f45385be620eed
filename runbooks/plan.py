"""What a verb answers: a ``Plan``, ``NothingToDo`` or a ``Refusal``, each with a stable code and a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field

from keydb_runbooks.runbooks.grounds import Evidence, Place
from keydb_runbooks.runbooks.steps import Promote, Step

CATCH_UP_TIMEOUT_SECONDS = 30.0
"""How long a switchover waits, before it holds anything back, for a replica that is behind."""


@dataclass(frozen=True)
class Since:
    """A moment: ``seconds`` since 1970 by the operator's clock, and as a person writes it."""

    seconds: float
    told: str


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    ``to``: name of the node that shall be the primary, None to let the verb choose.
    ``allow_unread``: names of nodes and proxies that need not answer.
    ``accept_loss``: names of nodes whose own writes may be thrown away (by rejoin), or left out (by other verbs).
    ``accept_split``: go on although it isn't proved that the old primary takes no writes.
    ``catch_up_timeout``: seconds that a switchover waits for its target before it holds writes back.
    ``node``: name of the node that fence, unfence or demote acts on.
    ``allow_lag``: bytes that the target of a switchover may lack when it begins, None for the usual ones.
    ``accept``: codes of pre-checks that may fail (``checks``).
    ``save``: where data are saved before they are thrown away, ``node``, ``fetch`` (``save_to`` is a directory of the
    operator's machine then) or ``no``. ``compare``: whether differing keys are told, ``listed`` of them by name.
    ``since``: a node whose process began behind this moment is not restarted. ``processes``: run ids of those that are,
    None as long as no plan was made.
    ``keep``, ``keep_days``: how many backups are kept, and for how long; None is no rule. ``accept_replace``: a restore
    may replace a group's keys; ``accept_again``: even by the backup that they come from.
    """

    to: str | None = None
    allow_unread: frozenset[str] = frozenset()
    accept_loss: frozenset[str] = frozenset()
    accept_split: bool = False
    catch_up_timeout: float = CATCH_UP_TIMEOUT_SECONDS
    node: str | None = None
    allow_lag: int | None = None
    accept: frozenset[str] = frozenset()
    save: str = "node"
    save_to: str = "saved"
    compare: bool = True
    listed: int = 1000
    since: Since | None = None
    processes: frozenset[str] | None = None
    keep: int | None = None
    keep_days: int | None = None
    accept_replace: bool = False
    accept_again: bool = False


@dataclass(frozen=True)
class Loss:
    """Acknowledged writes that a plan may lose: a number of bytes with its source, or unknown and why.

    ``writes`` is about how many that are, None if that is unknown or nothing.
    """

    bytes: int | None
    reason: str
    writes: int | None = None

    def __str__(self) -> str:
        if self.bytes is None:
            return f"unknown ({self.reason})"
        about = f", about {self.writes:,} writes" if self.writes is not None else ""
        return f"{self.bytes:,} bytes{about} ({self.reason})"


@dataclass(frozen=True)
class Refusal:
    """Nothing was changed: the fact that forbids it, the node, and what to do or to type instead.

    ``also`` are the other reasons that were found at the same time, ``warnings`` what would not have forbidden it.
    ``passing`` is what a moment may change: whoever fell silent just now still counts as heard, for instance.
    """

    code: str
    where: str
    sentence: str
    hint: str
    also: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    ranking: tuple[Place, ...] = ()
    passing: bool = False

    def __str__(self) -> str:
        own = f"refused: {self.code} {self.where}: {self.sentence}; {self.hint}"
        return "\n".join([own, *map(str, self.also), *(f"warning: {warning}" for warning in self.warnings)])


@dataclass(frozen=True)
class NothingToDo:
    """All is as it was asked for, or ``head`` says that something is left."""

    code: str
    where: str
    sentence: str
    head: str = "nothing to do"

    def __str__(self) -> str:
        return f"{self.head}: {self.code} {self.where}: {self.sentence}"


@dataclass(frozen=True)
class Plan:
    """The steps in their order, and what they cost.

    ``primary`` is the node that is the primary afterwards, ``former`` the one that is it now.
    ``undo`` is sent if a step fails before the one that commits. ``proof`` says why nobody else
    acknowledges writes meanwhile. ``node`` and ``outcome`` are of verbs that act on one node, whose ``primary`` may be
    None: which it is, and what holds afterwards. ``evidence`` is what was seen, ``ranking`` who else could be the
    primary, ``needs`` what the plan costs besides: full resyncs, their time, memory and disk. ``again`` are the options
    that another run needs to go on with it. ``locks`` is False for a plan that changes nothing of a group: other
    operators go on meanwhile, however long it takes.
    ``moved_from`` is whose role the primary has where that isn't ``former``: a run that died moved it, which this plan
    finishes, or it came back as nobody's primary. ``moved_epoch`` is the promotion's; both are for people.
    """

    verb: str
    group: str
    primary: str | None
    former: str | None
    steps: tuple[Step, ...]
    loss: Loss
    proof: str
    gap: str
    undo: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    evidence: tuple[Evidence, ...] = ()
    ranking: tuple[Place, ...] = ()
    needs: tuple[str, ...] = ()
    node: str | None = None
    outcome: str = ""
    again: tuple[tuple[str, str], ...] = ()
    locks: bool = True
    moved_from: str | None = None
    moved_epoch: int | None = None

    @property
    def epoch(self) -> int | None:
        """The number of the promotion that it makes or finishes, None if it is of none."""
        return next((step.epoch for step in self.steps if isinstance(step, Promote)), self.moved_epoch)

    @property
    def about(self) -> str:
        """The node that it acts on, or that is the primary afterwards."""
        return self.node or self.primary or self.group

    @property
    def afterwards(self) -> str:
        """What holds when it has been carried out."""
        return self.outcome or f"{self.primary} is the primary of {self.group}"


Answer = Plan | NothingToDo | Refusal

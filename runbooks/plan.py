"""What a verb answers: a ``Plan``, ``NothingToDo`` or a ``Refusal``, each with a stable code and a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field

from keydb_runbooks.runbooks.steps import Step


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    ``to``: name of the node that shall be the primary, None to let the verb choose.
    ``allow_unread``: names of nodes and proxies that need not answer.
    ``accept_loss``: names of nodes whose own writes may be thrown away (by rejoin), or left out (by other verbs).
    ``accept_split``: go on although it isn't proved that the old primary takes no writes.
    ``save``: where data are saved before they are thrown away, ``node``, ``fetch`` (``save_to`` is a directory of the
    operator's machine then) or ``no``. ``compare``: whether differing keys are told, ``listed`` of them by name.
    """

    to: str | None = None
    allow_unread: frozenset[str] = frozenset()
    accept_loss: frozenset[str] = frozenset()
    accept_split: bool = False
    save: str = "node"
    save_to: str = "saved"
    compare: bool = True
    listed: int = 1000


@dataclass(frozen=True)
class Loss:
    """Acknowledged writes that a plan may lose: a number of bytes with its source, or unknown and why."""

    bytes: int | None
    reason: str

    def __str__(self) -> str:
        if self.bytes is None:
            return f"unknown ({self.reason})"
        return f"{self.bytes:,} bytes ({self.reason})"


@dataclass(frozen=True)
class Refusal:
    """Nothing was changed: the fact that forbids it, the node, and what to do or to type instead."""

    code: str
    where: str
    sentence: str
    hint: str

    def __str__(self) -> str:
        return f"refused: {self.code} {self.where}: {self.sentence}; {self.hint}"


@dataclass(frozen=True)
class NothingToDo:
    """All is as it was asked for."""

    code: str
    where: str
    sentence: str

    def __str__(self) -> str:
        return f"nothing to do: {self.code} {self.where}: {self.sentence}"


@dataclass(frozen=True)
class Plan:
    """The steps in their order, and what they cost.

    ``primary`` is the node that is the primary afterwards, ``former`` the one that is it now.
    ``undo`` is sent if a step fails before the one that commits. ``proof`` says why nobody else
    acknowledges writes meanwhile.
    """

    verb: str
    group: str
    primary: str
    former: str | None
    steps: tuple[Step, ...]
    loss: Loss
    proof: str
    gap: str
    undo: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = field(default=())


Answer = Plan | NothingToDo | Refusal

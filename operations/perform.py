"""Performing a step: one function for each kind of ``runbooks.steps.Step``.

A step either does what it says and returns what was seen, or raises ``StepFailed``. Whether a command was executed when
its answer didn't come is unknown, and never assumed.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import redis

from keydb_runbooks.connectors.link import Client, LinkError, explain
from keydb_runbooks.connectors.runtime import RuntimeSocketError
from keydb_runbooks.operations.failures import LeftBehind, NotSaved, StepFailed
from keydb_runbooks.operations.keydb import config_path
from keydb_runbooks.operations.links import Links
from keydb_runbooks.runbooks.replication import (
    NO_REPLICATION_ID,
    Ancestor,
    InfoError,
    read_ancestors,
    write_ancestors,
)
from keydb_runbooks.runbooks.steps import (
    ENDLESS_PAUSE_MILLISECONDS,
    LINEAGE_KEY,
    LINEAGE_LENGTH,
    SAVE,
    Promote,
    RecordLineage,
    Reinstate,
    Step,
)
from keydb_runbooks.runbooks.steps_fence import SAVE_USERS, Fence, Unfence


class SaveRefused(redis.ResponseError):
    """What a server says if it can't write its configuration file."""


def perform_step(step: Step, links: Links) -> str:
    """Do a step and return what was seen, in a few words; "" if there is no more to say than the step says.

    :raises StepFailed: with what is wrong and where
    :raises NotSaved: if only the configuration file could not be written
    """
    try:
        return perform(step, links)
    except SaveRefused as error:
        path = config_path(links.group.node(step.where))
        what = "its users" if isinstance(step, Fence | Unfence) else "its role"
        detail = f"{step.where} could not save {what} in {path}: {error}"
        raise NotSaved(f"{detail}; it is in force, but a restart would not know of it") from None
    except redis.ResponseError as error:
        raise StepFailed(f"{step.where} refused: {error}") from None
    except InfoError as error:
        raise StepFailed(f"{step.where}: {error}") from None
    except (LinkError, redis.RedisError, OSError) as error:
        told = explain(error, links.group.node(step.where).address)
        raise StepFailed(f"{told.detail}; whether it did what was asked is unknown") from None
    except RuntimeSocketError as error:
        raise StepFailed(f"{error.detail}; whether it did what was asked is unknown") from None


@singledispatch
def perform(step: Step, links: Links) -> str:
    """Send the step's commands in one segment; each must be answered without an error."""
    send_together(links.node(step.where), step.commands)
    return ""


def send_together(client: Client, commands: tuple[tuple[str, ...], ...]) -> list[Any]:
    """Send commands in one segment, so that a death of this program can't come between them; their answers.

    :raises redis.ResponseError: the first that was refused; ``SaveRefused`` if it is the one that saves
    """
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[Any] = pipeline.execute(raise_on_error=False)
    for command, answer in zip(commands, answers, strict=True):
        if isinstance(answer, redis.ResponseError):
            raise SaveRefused(str(answer)) if command in (SAVE, SAVE_USERS) else answer
    return answers


@perform.register
def _promote(step: Promote, links: Links) -> str:
    full = _set_or_full(links.node(step.where), step.commands)
    role = links.read(step.where)
    if not role.is_primary:
        raise StepFailed(f"{step.where} answered, but says that it is a {role.role.value}")
    if full:
        return f"is the primary at offset {role.offset:,}, but its memory is full: the epoch is not counted"
    return f"is the primary, epoch {step.epoch}, at offset {role.offset:,}"


def _set_or_full(client: Client, commands: tuple[tuple[str, ...], ...]) -> bool:
    """Send commands together; whether the only thing refused was a key, because the memory is full.

    Lineage tells the rightful primary then, and a run never stops where nobody can go on.
    """
    try:
        send_together(client, commands)
    except redis.OutOfMemoryError:
        return True
    return False


@perform.register
def _reinstate(step: Reinstate, links: Links) -> str:
    """Whoever comes behind one that failed shall see the sign that this one saw: the pause."""
    client, silent = links.node(step.where), " and ".join(step.silent)
    try:
        full = _set_or_full(client, step.commands)
    except redis.ResponseError:
        client.execute_command("CLIENT", "PAUSE", ENDLESS_PAUSE_MILLISECONDS, "WRITE")
        raise
    if full:
        raise LeftBehind(f"the memory of {step.where} is full, so epoch {step.epoch} is not counted: stop {silent}")
    return f"goes on as epoch {step.epoch}, whatever {silent} became"


@perform.register
def _record_lineage(step: RecordLineage, links: Links) -> str:
    """The former stream and its last offset come from the server itself, once it has been promoted."""
    client = links.node(step.where)
    info, value = _read_with_text(client, LINEAGE_KEY)
    node, recorded = links.understood(step.where, info), read_ancestors(value)
    former = Ancestor(node.previous_replication_id, node.second_offset - 1)
    if former.replication_id == NO_REPLICATION_ID or former in recorded:
        return "nothing new to record about its history"
    value = write_ancestors((former, *recorded)[:LINEAGE_LENGTH])
    commands = tuple((*command[:2], value) if command[0] == "SET" else command for command in step.commands)
    if _set_or_full(client, commands):
        return "its memory is full, so its history is not recorded; run a verb again when there is room"
    return "recorded its history"


def _read_with_text(client: Client, key: str) -> tuple[str, str | None]:
    """INFO and a key's value in one round trip, since writers wait.

    The value is None if there is none yet. Applications may write to it, so it may be no text: it is replaced then.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.execute_command("INFO")
    pipeline.execute_command("GET", key)
    info, value = pipeline.execute(raise_on_error=False)
    for answer in (info, value):
        if isinstance(answer, redis.ResponseError) and not str(answer).startswith("WRONGTYPE"):
            raise answer
    return info, None if isinstance(value, redis.ResponseError) else value

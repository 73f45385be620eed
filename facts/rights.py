"""Which of the commands that verbs need a server knows and permits, found out without executing any of them.

Behind MULTI a server looks whether it knows a command and whether the user may send it, and then only remembers it.
What it remembers is executed by EXEC, which is never sent and which the operator's rules don't permit; the connection
is closed instead, and that forgets all of it (docs/engines.md, "Servers of another kind").
"""

from __future__ import annotations

from typing import Any

import redis
from redis.exceptions import AskError, ClusterDownError, MasterDownError, MovedError, TryAgainError

from keydb_runbooks.connectors.link import Client, missing_command
from keydb_runbooks.runbooks.kinds import NEEDED, name_of
from keydb_runbooks.runbooks.replication import Node, Rights
from keydb_runbooks.runbooks.steps import Command

MULTI: Command = ("MULTI",)

# Refusals for another reason than the command itself, which a server names only after it has looked at that.
OTHER_REASONS = (
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
    AskError,
    MovedError,
    TryAgainError,
    ClusterDownError,
    MasterDownError,
)
OTHER_CODES = ("NOREPLICAS", "MISCONF", "BUSY")


def ask_rights(client: Client, node: Node) -> Rights:
    """Try every command that verbs need. The link is closed afterwards.

    :raises redis.RedisError: if a server answers with something else, or not at all
    """
    return ask(client, _tried(node))


def ask(client: Client, commands: tuple[Command, ...]) -> Rights:
    """Try these commands, as ``ask_rights``, as whoever the link logged in."""
    connection = client.connection_pool.get_connection()
    try:
        # Alone: whatever follows a MULTI that was refused would be executed.
        rights = _read(connection, (MULTI,))
        return rights if rights != Rights() else _read(connection, commands)
    finally:
        connection.disconnect()


def _tried(node: Node) -> tuple[Command, ...]:
    """What is not held back now; that PFCOUNT is known and permitted is what proved the pause."""
    held = {"PFCOUNT", *(("SET",) if node.is_primary else ())} if node.paused else set()
    return tuple(command for command in NEEDED if command[0] not in held)


def _read(connection: Any, commands: tuple[Command, ...]) -> Rights:
    connection.send_packed_command(connection.pack_commands(commands))
    answers = [(name_of(command), _answer(connection)) for command in commands]
    return Rights(
        missing=tuple(name for name, error in answers if error is not None and missing_command(error)),
        forbidden=tuple(name for name, error in answers if isinstance(error, redis.exceptions.NoPermissionError)),
    )


def _answer(connection: Any) -> redis.ResponseError | None:
    """None if the command was taken, the error if it is missing or not permitted."""
    try:
        answer = connection.read_response()
    except redis.exceptions.NoPermissionError as error:
        return error
    except OTHER_REASONS:
        return None
    except redis.ResponseError as error:
        if missing_command(error):
            return error
        if str(error).startswith(OTHER_CODES):
            return None
        raise
    if answer not in ("OK", "QUEUED"):
        raise redis.ResponseError(f"a command behind MULTI was answered with {answer!r}")
    return None

"""Performing the steps of fence and unfence; what is secret in their commands is filled in here.

They are added to ``perform.perform``, which every run calls.
"""

from __future__ import annotations

from hashlib import sha256

from keydb_runbooks.connectors.link import Client, LinkError, link
from keydb_runbooks.facts.rights import ask
from keydb_runbooks.facts.users import read_clients
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform, send_together
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks import steps_fence
from keydb_runbooks.runbooks.fencing import KEPT, awake, sleeping
from keydb_runbooks.runbooks.replication import ClientUser
from keydb_runbooks.runbooks.steps import Command
from keydb_runbooks.runbooks.steps_fence import Fence, TryWrites, Unfence


@perform.register
def _fence(step: Fence, links: Links) -> str:
    client = links.node(step.where)
    send_together(client, _filled(step.where, step.commands, _users(client), links))
    clients = _clients(step.where, client, links)
    if writers := [user.name for user in clients if user.may_write]:
        raise StepFailed(f"{step.where}: {' and '.join(writers)} may write all the same; look at ACL LIST there")
    return f"no client can write: {' and '.join(user.name for user in clients)}"


@perform.register
def _unfence(step: Unfence, links: Links) -> str:
    client = links.node(step.where)
    send_together(client, _filled(step.where, step.commands, _users(client), links))
    clients = _clients(step.where, client, links)
    if fenced := [user.name for user in clients if user.fenced]:
        raise StepFailed(f"{step.where}: {' and '.join(fenced)} may not write all the same; look at ACL LIST there")
    return step.sentence


@perform.register
def _try_writes(step: TryWrites, links: Links) -> str:
    try:
        client = link(links.group.node(step.where), role="application")
    except LinkError as error:
        # Whoever may not even send PING may do nothing.
        if error.code == "not-permitted" and not step.permitted:
            return "the application may do nothing"
        raise StepFailed(f"the application could not log in to try: {error.detail}") from None
    try:
        forbidden = ask(client, step.commands[1:]).forbidden
    finally:
        client.close()
    if forbidden == ("MULTI",):
        return "the application may not use MULTI, so only its rules were looked at"
    may = [command[0] for command in step.commands[1:] if command[0] not in forbidden]
    if step.permitted and forbidden:
        raise StepFailed(f"{step.where} does not permit the application {' and '.join(forbidden)}; run install")
    if not step.permitted and may:
        raise StepFailed(f"{step.where} still permits the application {' and '.join(may)}")
    return f"{step.sentence}: it asked for {' and '.join(command[0] for command in step.commands[1:])}"


def _users(client: Client) -> dict[str, tuple[str, ...]]:
    """The rules of every user by its name."""
    rows = [str(row).split() for row in client.execute_command("ACL LIST")]
    return {words[1]: tuple(words[2:]) for words in rows}


def _clients(name: str, client: Client, links: Links) -> tuple[ClientUser, ...]:
    return read_clients(links.group.node(name), client.execute_command("ACL LIST"))


def _filled(
    name: str, commands: tuple[Command, ...], users: dict[str, tuple[str, ...]], links: Links
) -> tuple[Command, ...]:
    """The commands with the rules and passwords that a plan doesn't show."""
    application = links.group.node(name).user("application")
    digest = sha256(application.password.encode("utf-8", "surrogateescape")).hexdigest()
    filled = []
    for command in commands:
        match command[-1]:
            case steps_fence.RULES_OF_ITS_OWN:
                own = users[command[2].removeprefix(KEPT)]
                filled.append((*command[:4], *sleeping(own)))
            case steps_fence.RULES_FROM_BEFORE:
                filled.append((*command[:4], *awake(users[KEPT + command[2]])))
            case steps_fence.RULES_OF_THE_INVENTORY:
                filled.append((*command[:5], f"#{digest}", *ACL["application"].split()))
            case _:
                filled.append(command)
    return tuple(filled)

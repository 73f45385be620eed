"""Rotating passwords: what servers take of them now, and the two moments at which all hosts wait for each other."""

from __future__ import annotations

import time
from collections.abc import Generator
from hashlib import sha256

import redis
from pyinfra import host
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.group import Credentials, Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import LinkError, in_parallel, link, link_as
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import asked, scope, together
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks.findings import Finding, Severity, find
from keydb_runbooks.runbooks.plan import Refusal, Request
from keydb_runbooks.runbooks.rotate import Rotation, Taken, decide, silent
from keydb_runbooks.runbooks.topology import Topology

Commands = Generator[PyinfraCommand, None, None]

# Each argument is a file that was replaced: what is kept of it goes, and what a run that died left of a new one.
FORGET = 'for path; do rm -f -- "$path.previous" "$path".new.[0-9a-f]* || exit 1; done'

SETTLE_SECONDS = 20.0
"""For how long proxies' checks and replicas' links may take to be as they were."""

POLL_SECONDS = 0.1


def rotation(target: Host, group: Group) -> Rotation:
    """Whose passwords change, and how far that is.

    :raises SystemExit: after a refusal was printed
    """
    request = asked.request_for(target, group, "rotate", "node")
    finish = asked.yes_or_no(target, "finish")
    return together.decided(target, group, lambda: _decided(group, request, finish))


def _decided(group: Group, request: Request, finish: bool) -> Rotation | Refusal:
    roles = tuple(role for role in ACL if any(node.previous(role) for node in group.nodes))
    topology = observe(group)
    answering = [node for node in group.nodes if topology.node(node.name) is not None]
    taken = in_parallel(lambda node: _taken(node, roles), answering)
    names = [node.name for node in answering]
    return decide(topology, request, roles, dict(zip(names, taken, strict=True)), finish=finish)


def _taken(node: NodeEntry, roles: tuple[str, ...]) -> Taken | None:
    try:
        client = link(node)
        try:
            rows = [str(row).split() for row in client.execute_command("ACL LIST")]
        finally:
            client.close()
    except (LinkError, redis.RedisError, OSError):
        return None
    held = {row[1]: {word for word in row if word.startswith("#")} for row in rows if len(row) > 1}
    new = [_hash(node.user(role)) in held.get(node.user(role).name, set()) for role in roles]
    before = [user for role in roles if (user := node.previous(role)) is not None]
    return Taken(all(new), any(_hash(user) in held.get(user.name, set()) for user in before))


def _hash(user: Credentials) -> str:
    return f"#{sha256(user.password.encode('utf-8', 'surrogateescape')).hexdigest()}"


@operation()
def proved(group: Group, what: str) -> Commands:
    """Wait for all servers, and see that each of them takes the new password of every role.

    + group: the nodes and proxies, see ``connectors.group``
    + what: for ``together.behind``
    """
    if scope.conducts(host, group):
        yield FunctionCommand(_prove, (group,), {})
        yield FunctionCommand(together.note, (group, what), {})


@operation()
def settled(group: Group, what: str, finish: bool = False) -> Commands:
    """Wait for everybody, and see that no proxy and no replica misses the old password.

    + group: the nodes and proxies, see ``connectors.group``
    + what: for ``together.behind``
    + finish: whether the old ones are taken away then: who went silent meanwhile may need them
    """
    if scope.conducts(host, group):
        yield FunctionCommand(_settle, (group, finish), {})
        yield FunctionCommand(together.note, (group, what), {})


@operation()
def forgotten(paths: list[str]) -> Commands:
    """Leave no password that no server takes any more in what is kept of a host's files.

    + paths: the files that had it

    **Example:**

    .. code:: python

        rotation.forgotten(name="Forget the old passwords", paths=["/etc/haproxy/haproxy.cfg"])
    """
    yield script(FORGET, *paths)


def _prove(state: State, host: Host, group: Group) -> bool:
    connected = [node for node in group.nodes if node.host.connected]
    refused = [told for node in connected for role in ACL if (told := _refused(node, role))]
    refused += [
        f"{name} could not be told of the new passwords: nothing else is changed" for name in _failed(state, group)
    ]
    for told in refused:
        host.log_styled(told, fg="red")
    return not refused


def _failed(state: State, group: Group) -> list[str]:
    """Who could not do its part in this run; pyinfra goes on without it."""
    everybody: tuple[NodeEntry | ProxyEntry, ...] = (*group.nodes, *group.proxies)
    return [entry.name for entry in everybody if entry.host.connected and entry.host in state.failed_hosts]


def _refused(node: NodeEntry, role: str) -> str | None:
    """Why a user can't log in with its new password; a server that doesn't run knows it by its file."""
    try:
        link_as(node, node.user(role)).close()
    except LinkError as error:
        if error.code == "wrong-password":
            return f"{node.name} does not take the new password of {role} yet: nothing else is changed"
        # Who has logged in and may not PING, or did not answer.
    return None


def _settle(state: State, host: Host, group: Group, finish: bool) -> bool:
    if failed := _failed(state, group):
        told = f"the old passwords stay, since {' and '.join(failed)} could not be told to use the new ones"
        host.log_styled(told, fg="red")
        return False
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        found = _in_the_way(group, observe(group), finish)
        if not found:
            return True
        if time.monotonic() > end:
            for told in found:
                host.log_styled(f"the old passwords stay, since the group is not in order: {told}", fg="red")
            return False
        time.sleep(POLL_SECONDS)


def _in_the_way(group: Group, topology: Topology, finish: bool) -> list[str]:
    """Why the old passwords have to stay, a sentence each."""
    found = [one for one in find(topology) if _matters(one, finish and group.pod_proxies is not None)]
    told = [f"{one.code} {one.where}: {one.sentence}" for one in found]
    untold = silent(topology) if finish else []
    return told + [f"{name} went silent, and may know the old ones alone" for name in untold]


def _matters(one: Finding, every_proxy: bool) -> bool:
    unread = every_proxy and one.code.startswith("proxy-")
    return one.severity is Severity.CRITICAL or one.code == "link-down" or unread

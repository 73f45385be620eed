"""Servers that somebody else installed: looked at before anything is changed, and given the users of verbs.

A server that runs where install would put one, and that nobody said is to be adopted, is left alone.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from posixpath import normpath

import redis
from pyinfra import host, logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.ahead import get_quietly
from keydb_runbooks.connectors.group import Credentials, Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import Client, LinkError, explain, in_parallel, link, link_as
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.keydb import KeydbProcess
from keydb_runbooks.facts.unit import UnitStart
from keydb_runbooks.operations import ahead, haproxy, keydb, owners, programs, scope, together
from keydb_runbooks.operations.files import OURS, look, read_file, seen_ahead
from keydb_runbooks.operations.service import has_systemd, server_unit
from keydb_runbooks.operations.show import wrap
from keydb_runbooks.runbooks.adopting import KEYS, LEASE, PLACES, Found, Login, Unit, Wish, complaints
from keydb_runbooks.runbooks.configuration import differences, parse

# $1 a configuration file, $2 who runs the server.
REPLACEABLE = 'runuser -u "$2" -- test -w "$(dirname -- "$1")" && echo yes || echo no'

Member = tuple[Group, NodeEntry | ProxyEntry]


def refuse(target: Host) -> None:
    """Refuse to install over a server that is somebody else's, and to adopt one that doesn't go together with what the
    inventory says; what adoption would change of a server's file is shown. The group is looked at once, for all hosts.

    :raises SystemExit: after all reasons of all nodes were printed
    """

    def look_at_all() -> list[str]:
        groups = scope.groups(target)
        entries: list[Member] = [(group, node) for group in groups for node in group.nodes]
        entries += [(group, proxy) for group in groups for proxy in group.proxies]
        there = [one for one in entries if one[1].host.connected and has_systemd(one[1].host)]
        return [line for lines in in_parallel(_look, there) for line in lines]

    together.refuse_all(target, "not-ours", look_at_all)


@operation()
def users() -> Generator[PyinfraCommand, None, None]:
    """Let the inventory's five users log in on a server that somebody else installed; its file gets them afterwards.

    **Example:**

    .. code:: python

        adopting.users(name="Let our users log in")
    """
    entry = keydb.this_node(host)
    try:
        link(entry).close()
    except LinkError as error:
        if error.code == "wrong-password" and entry.admin is not None:
            yield FunctionCommand(_make_users, (entry, entry.admin), {})
            return
        if error.code != "refused":
            raise OperationError(f"{entry.name}: {error.detail}") from None
    host.noop("the operator can log in, or the server does not run")


def _look(there: Member) -> list[str]:
    """Why a node can't be installed on; none if it can. What install will look at is looked at by the way."""
    group, node = there
    if isinstance(node, ProxyEntry):
        return [] if node.adopted else _unreadable(node)
    ahead.of_node(group, node)
    if not node.adopted:
        return _foreign(node)
    try:
        wish, found = _wish(node), _found(node)
    except OperationError as error:
        return [str(error)]
    told = [f"{node.name}: {sentence}" for sentence in complaints(wish, found)]
    if not told:
        _show(node, found.text or "")
    return told


def _unreadable(proxy: ProxyEntry) -> list[str]:
    """A machine on which nothing can be read, since sudo isn't there, for instance."""
    ahead.of_proxy(proxy)
    path = haproxy.config_path(proxy)
    try:
        # What is missing is not seen ahead, and neither is anything if the look ahead failed.
        if seen_ahead(proxy.host, path, keep=True) is None:
            read_file(proxy.host, path)
    except OperationError as error:
        return [str(error)]
    return []


def _foreign(node: NodeEntry) -> list[str]:
    """A server that answers though install has written no file for it."""
    # A link to it, or one that is missing, was not looked at ahead.
    seen = seen_ahead(node.host, node.config_file, keep=True)
    try:
        text = seen.text if seen is not None else read_file(node.host, node.config_file) or ""
        if any(line.startswith(OURS) for line in text.split("\n", 2)[:2]):
            return []
        # Who is not root may not see it, and is told so when it comes to that.
        if not text and run_quietly(node.host, "id -u") != ["0"]:
            return []
        link(node).close()
    except OperationError as error:
        return [str(error)]
    except LinkError as error:
        if error.code in ("refused", "no-answer", "unreachable-host"):
            return []
    told = f"{node.name}: a server answers on {node.address}, and {node.config_file} is not install's"
    return [f"{told}; keydb_adopted = True takes it over as it is (docs/adopt.md)"]


def _show(node: NodeEntry, present: str) -> None:
    """Tell what its file lacks; --dry ends behind that."""
    for difference in differences(keydb.wanted_configuration(node), present):
        for line in wrap(f"{node.name}: {node.config_file}: {difference}", "", 2):
            logger.info(f"    {line}")


def _wish(node: NodeEntry) -> Wish:
    lines = [line for line in parse(keydb.wanted_configuration(node)) if line.name == "user"]
    keys = {*PLACES.values(), *(key for key, _ in LEASE.values()), "keydb_default_user"}
    return Wish(
        config=normpath(node.config_file),
        program=programs.server(node),
        unit=server_unit(node),
        owner=str(owners.system_owner(node)),
        port=node.address.port,
        tls=bool(node.data("keydb_tls_ca")),
        named=frozenset(filter(node.names, KEYS)),
        values={key: node.data(key) for key in keys},
        users={line.values[0]: line.values[1:] for line in lines if line.values[0] != "default"},
        may_make_them=node.admin is not None,
    )


def _found(node: NodeEntry) -> Found:
    seen = look(node.host, node.config_file)
    user = owners.system_user(node) or ""
    replaceable = run_quietly(node.host, script(REPLACEABLE, node.config_file, user)) == ["yes"]
    started = get_quietly(node.host, UnitStart, unit=server_unit(node))
    if started is None:
        raise OperationError(f"{node.name}: systemd does not say how {server_unit(node)} is; is _sudo = True missing?")
    recorded = get_quietly(node.host, KeydbProcess, pid_file=node.data("keydb_pid_file"))
    unit = Unit(
        file=started["file"],
        process=started["process"],
        recorded=recorded,
        owner=started["owner"],
        command=tuple(started["command"]),
        guarded=started["guarded"],
    )
    return Found(
        text=None if seen is None else seen.text,
        is_link=seen is not None and seen.access is None,
        replaceable=replaceable,
        unit=unit,
        login=_login(node),
    )


def _login(node: NodeEntry) -> Login | str:
    """What a server tells the operator, or who may make the operator there."""
    for before, opened in ((False, partial(link, node)), (True, partial(_as_admin, node))):
        try:
            client = opened()
        except LinkError as error:
            if error.code == "wrong-password":
                continue
            return error.detail
        try:
            return _told_by(client, before)
        except (redis.RedisError, OSError) as error:
            return explain(error, node.address).detail
        finally:
            client.close()
    return f"{node.address} accepts neither the operator's name and password nor those of keydb_users.admin"


def _as_admin(node: NodeEntry) -> Client:
    if node.admin is None:
        raise LinkError("wrong-password", "")
    return link_as(node, node.admin)


def _told_by(client: Client, before: bool) -> Login:
    own = str(client.execute_command("CLIENT", "ID"))
    rows = [
        dict(word.partition("=")[::2] for word in row.split())
        for row in str(client.execute_command("CLIENT", "LIST")).splitlines()
    ]
    others = [row for row in rows if row.get("user") == "default" and row.get("id") != own]
    replicas = sum("S" in row.get("flags", "") for row in others)
    return Login(
        before=before,
        users={words[1]: tuple(words[2:]) for words in map(str.split, client.execute_command("ACL", "LIST"))},
        clients=len(others) - replicas - sum("M" in row.get("flags", "") for row in others),
        replicas=replicas,
    )


def _make_users(state: State, host: Host, entry: NodeEntry, admin: Credentials) -> bool:
    """One that is there and means the same was made by a run that died."""
    try:
        client = link_as(entry, admin)
        for line in parse(keydb.wanted_configuration(entry)):
            if line.name == "user" and line.values[0] != "default":
                client.execute_command("ACL", "SETUSER", line.values[0], "reset", *line.values[1:])
                host.log(f"user {line.values[0]}: made")
        client.close()
    except (LinkError, redis.RedisError, OSError) as error:
        host.log_styled(explain(error, entry.address).detail, fg="red")
        return False
    return True

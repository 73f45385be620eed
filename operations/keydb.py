"""Operations on one server: its files, its process and, for the brave, its role.

The role operations do what their name says and no more. Whoever wants the group to be safe uses the
deploys, which look at everybody first.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping
from functools import partial
from pathlib import Path

import redis
from pyinfra import host, logger
from pyinfra.api import FunctionCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.ahead import answer
from keydb_runbooks.connectors.group import Credentials, NodeEntry, all_groups
from keydb_runbooks.connectors.link import Client, LinkError, explain, link
from keydb_runbooks.facts.keydb import KeydbProcess
from keydb_runbooks.facts.running import recorded_of
from keydb_runbooks.facts.users import read_clients
from keydb_runbooks.operations import owners
from keydb_runbooks.operations.files import look, mend_access, put_file, replace_file
from keydb_runbooks.operations.links import read_once
from keydb_runbooks.operations.pod_objects import SECRET_FILES, is_pod
from keydb_runbooks.operations.service import start_server, stays_in_front
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks.adopting import KEYS, managed
from keydb_runbooks.runbooks.configuration import SECRET_DIRECTIVES, Difference, differences, merge, quote
from keydb_runbooks.runbooks.fencing import with_fence
from keydb_runbooks.runbooks.objects import TLS_MOUNT
from keydb_runbooks.runbooks.replication import InfoError, Node
from keydb_runbooks.runbooks.rotate import Stage
from keydb_runbooks.templates import render

Commands = Generator[PyinfraCommand, None, None]

START_SECONDS = 10.0
POLL_SECONDS = 0.01

# Boots on a socket of its own in a directory of its own, so that nothing that runs is touched. The socket's
# name is relative, since a Unix socket's path has 107 characters at most.
CHECK = """
dir=$(mktemp -d "$(dirname "$2")/check.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
"$1" "$2" --port 0 $3 --unixsocket s --dir "$dir" --pidfile "$dir/p" --logfile "$dir/log" \
    --daemonize no --appendonly no --save "" >"$dir/out" 2>&1 &
pid=$!
n=0
until [ -S "$dir/s" ]; do
    n=$((n+1))
    if ! kill -0 $pid 2>/dev/null || [ $n -gt 500 ]; then
        kill $pid 2>/dev/null
        echo "the server refuses the new configuration:" >&2
        grep -hE "FATAL|rror|Bad|>>>" "$dir/out" "$dir/log" | sed -E "s/^(>>> '($4)) .*/\\1 .../" >&2
        exit 1
    fi
    sleep 0.02
done
kill $pid
wait $pid 2>/dev/null
exit 0
"""


@operation()
def configuration(program: str, stage: Stage = Stage.NEW, strict: bool = False) -> Commands:
    """Give this node its ``keydb.conf``, from the inventory's data; a running server takes over what it can.

    + program: path of the server's program, which checks the file before the old one is replaced
    + stage: which passwords it has while they are rotated
    + strict: whether the file stays as it is if the server runs and can't be told; another run does both then

    The role is left alone: ``replicaof`` and everything that the inventory doesn't name stay as they are.

    **Example:**

    .. code:: python

        keydb.configuration(name="Configure the server", program="/usr/bin/keydb-server")
    """
    entry = this_node(host)
    path = config_path(entry)
    seen = look(host, path)
    present = None if seen is None else seen.text
    fenced = _fence_of(entry, present)
    wanted = wanted_configuration(entry, fenced, stage)
    if fenced is not None:
        logger.info(f"    {entry.name} is fenced, and installing leaves it so: unfence ends that")
    access = owners.servers(entry, "600")
    changes = differences(wanted, present) if present is not None else []
    if seen is not None and not changes:
        mended = mend_access(seen, path, access)
        yield from mended
        if not mended:
            host.noop(f"{path} has every directive as wanted")
        return
    content = wanted if present is None else merge(wanted, present)
    kept: list[str] = []
    live = FunctionCommand(_apply, (entry, tuple(changes), None if strict else kept), {}) if changes else None
    yield from replace_file(path, content, partial(_check, entry, program), access=access, seen=present, before=live)
    if kept:
        yield FunctionCommand(_tell_kept, tuple(kept), {})


@operation()
def certificates() -> Commands:
    """Give this node its certificate, its key and the CA of a group that speaks TLS; a running server takes them over.

    **Example:**

    .. code:: python

        keydb.certificates(name="Give the server its certificate")
    """
    entry = this_node(host)
    access = owners.read_by_server(entry, "640")
    changes = []
    for key, path in certificate_paths(entry).items():
        changes += put_file(host, path, Path(entry.data(key)).read_text(encoding="utf-8"), access=access)
    yield from changes
    if changes and entry.data("keydb_tls_certificate"):
        yield FunctionCommand(_reload_certificates, (entry,), {})
    elif not changes:
        host.noop("its certificates are as wanted")


@operation()
def credentials() -> Commands:
    """Give this node the file that ``facts.keydb.KeydbInfo`` logs in with: the monitoring user's AUTH line.

    **Example:**

    .. code:: python

        keydb.credentials(name="Let facts log in")
    """
    entry = this_node(host)
    user = entry.user("monitoring")
    content = f"AUTH {quote(user.name)} {quote(user.password)}\n"
    path = credentials_path(entry)
    changes = put_file(host, path, content, access=owners.roots(entry, "600"))
    yield from changes
    if not changes:
        host.noop(f"{path} is as wanted")


@operation()
def running(program: str) -> Commands:
    """Let the server run. One that doesn't is started guarded: as nobody's replica, read-only.

    + program: path of the server's program

    **Example:**

    .. code:: python

        keydb.running(name="Start the server", program="/usr/bin/keydb-server")
    """
    entry = this_node(host)
    pid = answer(host, recorded_of(entry))
    if pid is None:
        raise OperationError(
            f"{entry.name}: it is unknown whether the server runs; look at {entry.data('keydb_pid_file')}"
        )
    if pid:
        host.noop(f"the server runs as process {pid}")
        return
    yield FunctionCommand(_port_is_free, (entry,), {})
    yield from start_server(entry, program, config_path(entry))
    yield FunctionCommand(_answers, (entry,), {})


@operation()
def replica_of(primary: str) -> Commands:
    """Make this server a replica of another node and save that. Looks at nobody else: prefer ``deploys/rejoin.py``.

    + primary: name of the node to follow, as in the inventory

    **Example:**

    .. code:: python

        keydb.replica_of(name="Follow keydb-1", primary="keydb-1")
    """
    entry = this_node(host)
    source = peer(entry, primary)
    node = read_role(entry)
    if node.link is not None and node.link.primary == source.address:
        host.noop(f"{entry.name} already follows {primary}")
        return
    commands = (("REPLICAOF", source.address.host, str(source.address.port)), ("CONFIG", "REWRITE"))
    yield FunctionCommand(_send, (entry, commands), {})


@operation()
def promoted() -> Commands:
    """Make this server a primary and save that. Looks at nobody else: prefer ``deploys/switchover.py``.

    **Example:**

    .. code:: python

        keydb.promoted(name="Be the primary")
    """
    entry = this_node(host)
    if read_role(entry).is_primary:
        host.noop(f"{entry.name} already is a primary")
        return
    yield FunctionCommand(_send, (entry, (("REPLICAOF", "NO", "ONE"), ("CONFIG", "REWRITE"))), {})


def this_node(target: Host) -> NodeEntry:
    """The inventory's entry of a host.

    :raises OperationError: if the host is no node
    """
    for group in all_groups(target.inventory).values():
        entry = group.node_of(target)
        if entry is not None:
            return entry
    raise OperationError(f"{target.name} is not in the inventory's group keydb")


def peer(entry: NodeEntry, name: str) -> NodeEntry:
    """Another node of the same group, by name.

    :raises OperationError: if there is none
    """
    for group in all_groups(entry.host.inventory).values():
        if group.node_of(entry.host) is not None:
            for node in group.nodes:
                if node.name == name and node.name != entry.name:
                    return node
            allowed = ", ".join(node.name for node in group.nodes if node.name != entry.name)
            raise OperationError(f"{entry.name}: {name} is no other node of its group; allowed are {allowed}")
    raise OperationError(f"{entry.name} is in no group")


def config_path(entry: NodeEntry) -> str:
    return entry.config_file


def credentials_path(entry: NodeEntry) -> str:
    return f"{entry.data('keydb_config_directory')}/monitoring.auth"


def certificate_paths(entry: NodeEntry) -> dict[str, str]:
    """Where a node's certificate files are, by the inventory's key; none if the group does without TLS.

    A server that is adopted and keeps its own certificate has the CA alone, for its boot guard and for facts.
    """
    if not entry.data("keydb_tls_ca"):
        return {}
    if is_pod(entry):
        return {key: f"{TLS_MOUNT}/{name}" for key, name in SECRET_FILES.items()}
    directory = entry.data("keydb_config_directory")
    names = {"keydb_tls_ca": "ca.pem", "keydb_tls_certificate": "certificate.pem", "keydb_tls_key": "key.pem"}
    return {key: f"{directory}/{name}" for key, name in names.items() if entry.data(key)}


def _fence_of(entry: NodeEntry, present: str | None) -> list[str] | None:
    """The users of a file that is fenced, else None."""
    rows = [line for line in (present or "").split("\n") if line.split()[:1] == ["user"]]
    application = entry.user("application").name
    held = any(user.name == application and user.fenced for user in read_clients(entry, rows))
    return rows if held else None


def wanted_configuration(entry: NodeEntry, fenced: Iterable[str] | None = None, stage: Stage = Stage.NEW) -> str:
    """The text of ``keydb.conf`` that the inventory asks for, without any ``replicaof``.

    :param fenced: the ``user`` lines of a node that is fenced, and stays so
    """
    users = {role: entry.user(role) for role in ACL}
    wanted = configuration_text(entry, users, {role: entry.previous(role) for role in ACL}, stage)
    if entry.adopted:
        wanted = managed(wanted, frozenset(filter(entry.names, KEYS)), entry.data("keydb_settings"))
    return wanted if fenced is None else with_fence(wanted, entry.user("application").name, fenced)


def configuration_text(
    entry: NodeEntry,
    users: Mapping[str, Credentials],
    before: Mapping[str, Credentials | None] | None = None,
    stage: Stage = Stage.NEW,
) -> str:
    """``keydb.conf`` as the inventory asks for it, with these users by their roles.

    :param before: the same users with their previous passwords, if they have any; ``stage`` says which count
    """
    known = {} if stage is Stage.NEW else {role: user for role, user in (before or {}).items() if user is not None}
    passwords = {role: [user.password] for role, user in users.items()}
    for role, user in known.items():
        passwords[role].append(user.password)
    replication = users["replication"]
    if stage is Stage.BOTH:
        replication = known.get("replication", replication)
    return render(
        "keydb.conf.j2",
        engine=entry.data("keydb_engine"),
        address=entry.address.host,
        bind=entry.data("keydb_bind") or [entry.address.host],
        port=entry.address.port,
        tls=_own_certificate(entry),
        daemonize="no" if stays_in_front(entry.host) else "yes",
        pid_file=entry.data("keydb_pid_file"),
        log_file=entry.data("keydb_log_file"),
        data_directory=entry.data("keydb_data_directory"),
        server_threads=entry.data("keydb_server_threads"),
        persistence=entry.data("keydb_persistence"),
        maxmemory=entry.data("keydb_maxmemory"),
        backlog_size=entry.data("keydb_backlog_size"),
        min_replicas_to_write=entry.data("keydb_min_replicas_to_write"),
        min_replicas_max_lag=entry.data("keydb_min_replicas_max_lag"),
        users=users,
        passwords=passwords,
        masterauth=replication.password,
        default_user=entry.data("keydb_default_user"),
        acl=ACL,
        settings=entry.data("keydb_settings"),
    )


def _own_certificate(entry: NodeEntry) -> dict[str, str]:
    """The paths of what a server has its TLS by, if install gives it that."""
    if not (entry.data("keydb_tls_certificate") or entry.data("keydb_tls_secret")):
        return {}
    return {key.removeprefix("keydb_tls_"): path for key, path in certificate_paths(entry).items()}


def read_role(entry: NodeEntry) -> Node:
    """What the server says of itself now.

    :raises OperationError: if it can't be read
    """
    try:
        return read_once(entry)
    except (LinkError, redis.RedisError, OSError) as error:
        raise OperationError(f"{entry.name}: {explain(error, entry.address).detail}") from None
    except InfoError as error:
        raise OperationError(f"{entry.name}: {error}") from None


def _send(state: State, host: Host, entry: NodeEntry, commands: tuple[tuple[str, ...], ...]) -> bool:
    try:
        client = link(entry)
        for command in commands:
            client.execute_command(*command)
            host.log(" ".join(command))
        client.close()
    except (LinkError, redis.RedisError, OSError) as error:
        host.log_styled(explain(error, entry.address).detail, fg="red")
        return False
    return True


def _port_is_free(state: State, host: Host, entry: NodeEntry) -> bool:
    try:
        link(entry).close()
    except LinkError as error:
        if error.code == "refused":
            return True
    # Another run may have started it since this one looked.
    if host.get_fact(KeydbProcess, pid_file=entry.data("keydb_pid_file")):
        return True
    told = f"port {entry.address} is taken by another process; stop that, or set keydb_port for {entry.name}"
    hint = host.data.get("sandbox_port_hint")
    host.log_styled(f"{told} ({hint})" if hint else told, fg="red")
    return False


def _answers(state: State, host: Host, entry: NodeEntry) -> bool:
    """Wait until a server that was started answers; one that loads its data does."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            link(entry).close()
            return True
        except LinkError as error:
            if error.code == "loading":
                return True
            if error.code not in ("refused", "no-answer") or time.monotonic() > deadline:
                told = f"it was started, but {error.detail}; look at {entry.data('keydb_log_file')}"
                host.log_styled(told, fg="red")
                return False
        time.sleep(POLL_SECONDS)


def _reload_certificates(state: State, host: Host, entry: NodeEntry) -> bool:
    """A server reads its certificate files again when it is told their paths, even if these are the old ones."""
    try:
        client = link(entry)
        paths = {key.removeprefix("keydb_tls_"): path for key, path in certificate_paths(entry).items()}
        for name, path in {"ca-cert": paths["ca"], "cert": paths["certificate"], "key": paths["key"]}.items():
            client.execute_command("CONFIG", "SET", f"tls-{name}-file", path)
        client.close()
    except (LinkError, redis.RedisError, OSError) as error:
        told = explain(error, entry.address)
        # A server that doesn't run reads them when it starts; one without TLS needs a restart to have it.
        if told.code == "refused":
            return True
        host.log_styled(f"the files are written, but the server goes on without them: {told.detail}", fg="yellow")
    return True


def _check(entry: NodeEntry, program: str, new: str) -> StringCommand:
    without_tls = "--tls-port 0" if entry.data("keydb_tls_ca") else ""
    arguments = map(QuoteString, (program, new, without_tls, "|".join(SECRET_DIRECTIVES)))
    user = owners.system_user(entry)
    # As the server will be: what it can't read is told now.
    runs = ("runuser", "-u", user, "--") if user else ()
    return StringCommand(*runs, "sh", "-c", QuoteString(CHECK), "sh", *arguments)


def _apply(state: State, host: Host, entry: NodeEntry, changes: tuple[Difference, ...], kept: list[str] | None) -> bool:
    """Let a running server take over what changed, and say what needs a restart.

    :param kept: gets the reason if the server could not be told; the file is written all the same. With None it isn't
    """
    try:
        client = link(entry)
        for change in changes:
            if not _set(client, change):
                host.log_styled(f"{change} (takes effect with a restart)", fg="yellow")
            else:
                host.log(str(change))
        client.close()
    except (LinkError, redis.RedisError, OSError) as error:
        told = explain(error, entry.address)
        if told.code == "refused":
            return True
        if kept is None:
            host.log_styled(
                f"{config_path(entry)} stays as it is, since the server can't be told: {told.detail}", fg="red"
            )
            return False
        kept.append(told.detail)
    return True


def _tell_kept(state: State, host: Host, reason: str) -> bool:
    host.log_styled(f"the file is written, but the server keeps its settings: {reason}", fg="red")
    return False


def _set(client: Client, change: Difference) -> bool:
    try:
        if change.name == "user":
            client.execute_command("ACL", "SETUSER", change.wanted[0], "reset", *change.wanted[1:])
        else:
            client.execute_command("CONFIG", "SET", change.name, " ".join(change.wanted))
    except redis.ResponseError:
        return False
    return True

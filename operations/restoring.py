"""Restoring a backup: its description and checksum, and the steps that put it on a node (docs/restore.md).

A node takes the data over from a second server on its own machine, by a full resync. So its own server is never
stopped, nothing is done to its files behind its back, an AOF is rewritten by the server itself, and until the last byte
has come it has all of its former data. The second server has no user but those who replicate and operate, and it ends
by itself.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from weakref import WeakKeyDictionary

import redis
from pyinfra.api.host import Host

from keydb_runbooks.connectors import shell
from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import Client, LinkError, link, link_to
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.operations import dump, owners, programs
from keydb_runbooks.operations.backups import check
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.keydb import config_path
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.options import option
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.taking_over import TakingOver
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.operations.waits import SLOW_POLL_SECONDS, Lines, Pace, until
from keydb_runbooks.runbooks import restore
from keydb_runbooks.runbooks.plan import Answer, Request
from keydb_runbooks.runbooks.replication import Address, Node, node_from_info
from keydb_runbooks.runbooks.restore import Held, Source
from keydb_runbooks.runbooks.steps import EPOCH_KEY, LINEAGE_KEY, VERIFY_KEY
from keydb_runbooks.runbooks.steps_restore import RESTORED_KEY, EndOffer, LoadBackup, NoWayBack, OfferBackup, PutBackup
from keydb_runbooks.runbooks.topology import Topology

OWN_KEYS = (EPOCH_KEY, LINEAGE_KEY, VERIFY_KEY, RESTORED_KEY)

OFFER_SECONDS = 21_600
"""For how long a second server lives whose run died."""

START_SECONDS = 3600.0
"""How long it may take to load the backup."""

ALIVE_SECONDS = 10
"""How long a machine may take to say whether a process runs."""

PORTS = range(20_000, 32_000)
TRIES = 5

# $1 the directory beside the data, $2 whose it is or "". What a run left that died is ended and removed.
PREPARE = """
umask 077
if pid=$(cat -- "$1/pid" 2>/dev/null) && grep -qsF -- "$1/" "/proc/$pid/cmdline"; then
    kill -9 "$pid"; n=0
    while [ -e "/proc/$pid" ] && [ $n -lt 500 ]; do n=$((n+1)); sleep 0.02; done
fi
rm -rf -- "$1" && { [ "$3" = end ] || mkdir -- "$1"; } && echo ready
"""

# $1 the file; a piece of it comes on standard input.
APPEND = 'umask 077; base64 -d >>"$1" && echo appended'

# $1 the new file, $2 its name, $3 its directory, $4 whose both are or "".
NAME = """
sync -- "$1" && sum=$(sha256sum <"$1") && mv -T -- "$1" "$2" && { [ -z "$4" ] || chown -R -- "$4:" "$3"; } &&
echo "sum ${sum%% *}"
"""

LEFT_OUT = (
    "replicaof|slaveof|port|tls-port|unixsocket|dir|dbfilename|appendonly|appendfilename|save|pidfile|logfile|daemonize|"
    "supervised|user|aclfile|requirepass|replica-announce|min-replicas|min-slaves|active-replica|multi-master"
)
"""How the directives begin that say what the running server's place, role, files and users are."""

# $1 the server's program, $2 its configuration, $3 the directory, $4 whose it is or "", $5 how long it lives; then its
# arguments. Its own users come on standard input; modules and limits are those of the running server.
OFFER = f"""
umask 077
server=$(command -v -- "$1") || {{ echo "there is no $1 here"; exit; }}
conf=$3/conf home=$3 user=$4 seconds=$5
{{ grep -vE '^({LEFT_OUT})' -- "$2"; cat; }} >"$conf" || {{ echo "$conf can't be written"; exit; }}
[ -z "$user" ] || chown -- "$user:" "$conf"
shift 5
cd / || exit
set -- timeout -s KILL "$seconds" "$server" "$conf" --set-proc-title no "$@"
[ -z "$user" ] || set -- runuser -u "$user" -- "$@"
setsid "$@" >/dev/null 2>&1 </dev/null &
echo $! >"$home/launcher"
echo started
"""

# $1 the directory. One that ended and that nobody has asked for is still there.
ALIVE = """
pid=$(cat -- "$1/launcher" 2>/dev/null) && state=$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null) || exit 0
[ "$state" = Z ] || echo alive
"""

# $1 the directory.
LEFT = '[ ! -e "$1" ] || echo left'

LOG = 'tail -n 3 -- "$1/log" 2>/dev/null'

_offers: WeakKeyDictionary[Links, Address] = WeakKeyDictionary()


def informed(host: Host, group: Group) -> Callable[[Topology, Request, int], Answer]:
    """The decision of a restore, which knows the backup that was named, and what the nodes hold."""
    named = option(host, "backup")
    source = None if named is None else read_source(str(named))

    def decide(topology: Topology, request: Request, min_replicas: int) -> Answer:
        held = {node.name: _held(group.node(node.name), node) for node in topology.nodes}
        return restore.plan(topology, request, min_replicas, source, held, group.first_primary)

    return decide


def read_source(named: str) -> Source:
    """A backup by the path of either of its files, or without an ending; its file is read whole and compared."""
    path = Path(named)
    if path.suffix in (".rdb", ".json"):
        path = path.with_suffix("")
    file, description = Path(f"{path}.rdb"), Path(f"{path}.json")
    try:
        described = json.loads(description.read_bytes())
        source = Source(
            path=str(file),
            sha256=str(described["sha256"]),
            size=int(described["bytes"]),
            keys=int(described["keys"]),
            engine=str(described["engine"]),
            version=str(described["version"]),
            saved_at=str(described["saved_at"]),
        )
        seen = sha256()
        with file.open("rb") as content:
            while piece := content.read(dump.PIECE_BYTES):
                seen.update(piece)
            size = content.tell()
    except OSError as error:
        return Source(str(file), trouble=f"{error.filename} can't be read: {error.strerror}")
    except (ValueError, KeyError, TypeError):
        return Source(str(file), trouble=f"{description} does not describe a backup")
    if described.get("format") != 1:
        return Source(str(file), trouble=f"{description} is of another format than 1, the only one known here")
    if size != source.size or seen.hexdigest() != source.sha256:
        told = f"its length and SHA-256 are not those that {description.name} tells: it was changed, or cut short"
        return Source(str(file), trouble=told)
    return source


def _held(entry: NodeEntry, node: Node) -> Held:
    """What isn't known counts as keys: they are asked about before they are replaced."""
    try:
        client = link(entry)
        try:
            own = [client.execute_command("GET", key) for key in OWN_KEYS]
            directory = dump.setting(client, "dir")
            free = dump.free_there(entry.host, directory)
            left = dump.run(entry.host, LEFT, f"{directory}/restore")
        finally:
            client.close()
    except (StepFailed, LinkError, redis.RedisError, OSError):
        return Held(node.keys)
    keys = max(node.keys - sum(value is not None for value in own), 0)
    return Held(keys, own[-1], free, offer=left == ["left"])


@perform.register
def _put_backup(step: PutBackup, links: Links) -> str:
    entry = links.group.node(step.where)
    home, user = _home(links, step.where), owners.system_user(entry) or ""
    if dump.run(entry.host, PREPARE, home, user, "begin") != ["ready"]:
        raise StepFailed(f"{step.where}: {home} can't be made")
    try:
        _send(entry, step, f"{home}/dump.rdb.part")
        names = (f"{home}/dump.rdb.part", f"{home}/dump.rdb", home, user)
        if dump.run(entry.host, NAME, *names) != [f"sum {step.sha256}"]:
            raise StepFailed(f"{step.where}: {names[1]} came with another checksum than {step.path} has")
        checked = check(entry, names[1])
    except StepFailed:
        dump.run(entry.host, PREPARE, home, user, "end")
        raise
    return f"has it: {checked.keys:,} keys, and its own check finds the file sound"


def _send(entry: NodeEntry, step: PutBackup, part: str) -> None:
    lines, pace = Lines(), Pace("bytes")
    try:
        with Path(step.path).open("rb") as content:
            while piece := content.read(dump.PIECE_BYTES):
                if dump.run(entry.host, APPEND, part, given=b64encode(piece).decode()) != ["appended"]:
                    raise StepFailed(f"{step.where}: {part} can't be written; is its disk full?")
                pace.see(content.tell(), step.size)
                lines.go_on(lambda: f"{step.where} gets the backup: {pace}")
    except OSError as error:
        raise StepFailed(f"{step.path} can't be read: {error.strerror}") from None


@perform.register
def _offer_backup(step: OfferBackup, links: Links) -> str:
    entry = links.group.node(step.where)
    for _ in range(TRIES):
        address = Address(_listens(entry), secrets.choice(PORTS))
        _start_offer(entry, _home(links, step.where), address)
        node = _wait_for_offer(entry, address, links)
        if node is not None:
            break
    else:
        told = " ".join(dump.run(entry.host, LOG, _home(links, step.where)) or ["its log is empty"])
        raise StepFailed(f"{step.where}: no second server could be started on the backup: {told}")
    if node.keys > step.keys:
        raise StepFailed(f"{step.where}: {node.keys:,} keys were loaded, and the backup has {step.keys:,}")
    _offers[links] = address
    gone = step.keys - node.keys
    return f"loaded {node.keys:,} keys beside its own{f'; {gone:,} had expired' if gone else ''}"


def _start_offer(entry: NodeEntry, home: str, address: Address) -> None:
    user = owners.system_user(entry) or ""
    ports = ("--port", "0", "--tls-port") if entry.data("keydb_tls_ca") else ("--port",)
    arguments = (*ports, str(address.port), "--dir", home, "--dbfilename", "dump.rdb", "--pidfile", f"{home}/pid")
    arguments += ("--logfile", f"{home}/log", "--daemonize", "no", "--appendonly", "no", "--save", "")
    given = (programs.on_path(entry), config_path(entry), home, user, str(OFFER_SECONDS))
    if dump.run(entry.host, OFFER, *given, *arguments, given=_users(entry)) != ["started"]:
        raise StepFailed(f"{entry.name}: no second server could be started on the backup")


def _users(entry: NodeEntry) -> str:
    """Those who replicate and operate; no client can log in."""
    lines = ["user default off resetchannels -@all"]
    for role in ("replication", "operator"):
        known = [user for user in (entry.user(role), entry.previous(role)) if user is not None]
        digests = [sha256(user.password.encode("utf-8", "surrogateescape")).hexdigest() for user in known]
        lines.append(f"user {known[0].name} on {' '.join(f'#{digest}' for digest in digests)} {ACL[role]}")
    return "\n".join(lines) + "\n"


def _listens(entry: NodeEntry) -> str:
    """The address at which the node's own server listens, which its certificate names."""
    bound = entry.data("keydb_bind") or [entry.address.host]
    if {"0.0.0.0", "::"} & set(bound):  # noqa: S104 - it is only compared
        return entry.address.host
    return entry.address.host if entry.address.host in bound else str(bound[0])


def _wait_for_offer(entry: NodeEntry, address: Address, links: Links) -> Node | None:
    """What the second server says when it has loaded all; None if it ended, perhaps since the port was taken."""
    seen: list[Node] = []
    home = _home(links, entry.name)

    def over() -> bool | None:
        try:
            client = _link_to_offer(entry, address)
        except LinkError:
            return None if _lives(entry, home) else True
        try:
            node = node_from_info(entry.name, address, client.execute_command("INFO"))
        finally:
            client.close()
        if node.loading:
            return None
        seen.append(node)
        return True

    until(over, START_SECONDS, SLOW_POLL_SECONDS, lambda: f"{entry.name} loads the backup into a second server")
    return seen[0] if seen else None


def _lives(entry: NodeEntry, home: str) -> bool:
    """Whether a second server's process runs; where its machine is silent, nobody says that it has ended."""
    try:
        return run_quietly(entry.host, shell.script(ALIVE, home), timeout_seconds=ALIVE_SECONDS) == ["alive"]
    except TimeoutError:
        return True
    except ConnectionError as error:
        raise StepFailed(str(error)) from None


def _link_to_offer(entry: NodeEntry, address: Address) -> Client:
    return link_to(
        entry.host,
        address,
        entry.user("operator"),
        connect_timeout=entry.data("keydb_connect_timeout"),
        command_timeout=entry.data("keydb_command_timeout"),
        tls_ca=entry.data("keydb_tls_ca"),
    )


@perform.register
def _load_backup(step: LoadBackup, links: Links) -> str:
    entry, address = links.group.node(step.where), _offers[links]
    home = _home(links, step.where)
    reach, lives = partial(_link_to_offer, entry, address), partial(_lives, entry, home)
    try:
        taking = TakingOver(step, links, address, reach, lives)
    except LinkError as error:
        raise StepFailed(f"{step.where}: the second server is gone: {error.detail}") from None
    try:
        links.node(step.where).execute_command("REPLICAOF", address.host, str(address.port))
        node = taking.wait()
    finally:
        taking.close()
    return f"holds the backup's {node.keys:,} keys, read-only"


@perform.register
def _end_offer(step: EndOffer, links: Links) -> str:
    home = _home(links, step.where)
    if dump.run(links.group.node(step.where).host, PREPARE, home, "", "end") != ["ready"]:
        return f"{home} can't be removed; look at it"
    return step.sentence


@perform.register
def _no_way_back(step: NoWayBack, links: Links) -> str:
    raise StepFailed(f"{step.where}: {step.sentence}")


def _home(links: Links, name: str) -> str:
    return f"{dump.setting(links.node(name), 'dir')}/restore"

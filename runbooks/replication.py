"""What one server says of itself: the text of INFO as a ``Node``.

Holds no judgement: whether what a node says is good or bad is for ``topology`` to tell.
The oddities of the field names are in keydb-facts, "INFO quirks for parsers".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from keydb_runbooks.runbooks.condition import UNKNOWN, Condition, Machine, condition_from_info
from keydb_runbooks.runbooks.made import Undoing

NO_REPLICATION_ID = "0" * 40
"""``master_replid2`` of a server that was never promoted."""

GUARD_ADDRESS = "255.255.255.255"
"""A ``replicaof`` that connects to nobody: the server starts read-only and waits for a person.

The connect fails at once and leaves file descriptor 0 alone (keydb-facts, "Empty primary").
"""

LINK_ALIVE_SECONDS = 3
"""A replica follows only if its link is up and it heard of its primary within this many seconds.

A frozen primary's replicas say ``up`` for a minute (design, "Failover's proof").
"""


class Role(Enum):
    PRIMARY = "primary"
    REPLICA = "replica"
    ACTIVE_REPLICA = "active replica"


@dataclass(frozen=True)
class Address:
    """Where a server listens, as its peers reach it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Replica:
    """One replica, as its primary sees it (a ``slaveN:`` line); ``waits`` is for a save of the primary, or its end."""

    address: Address
    online: bool
    offset: int
    lag_seconds: int | None
    waits: bool = False

    @property
    def joins(self) -> bool:
        """Whether it is in a full resync: it is online as soon as all was sent, but has acknowledged nothing yet."""
        return not self.online or self.offset == 0


@dataclass(frozen=True)
class Link:
    """A replica's connection to its primary, as the replica sees it; ``down_seconds`` is since when it is not up."""

    primary: Address
    up: bool
    last_io_seconds: int | None
    syncing: bool
    down_seconds: int | None = None

    @property
    def guarded(self) -> bool:
        """Whether this link leads nowhere on purpose."""
        return self.primary.host == GUARD_ADDRESS

    @property
    def alive(self) -> bool:
        """Up, and heard of lately; unknown counts as not."""
        heard = self.last_io_seconds
        return self.up and heard is not None and 0 <= heard < LINK_ALIVE_SECONDS


@dataclass(frozen=True)
class Ancestor:
    """A stream that a data set descends from: its replication id, and the last offset that was taken over."""

    replication_id: str
    last_offset: int


@dataclass(frozen=True)
class Rights:
    """The commands that verbs need, and that a server doesn't know or doesn't permit the operator."""

    missing: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClientUser:
    """An ACL user that clients may log in with, as ``fencing`` judges its rules.

    ``may_write`` is True unless that can be ruled out. Of ``known`` users the inventory has the rules, of ``kept`` ones
    a sleeping user beside them has those from before a fence. ``fence`` are the rules that a fence adds.
    """

    name: str
    may_write: bool
    known: bool
    kept: bool
    fence: tuple[str, ...]

    @property
    def fenced(self) -> bool:
        """Whether it has rights to get back."""
        return self.kept or (self.known and not self.may_write)


@dataclass(frozen=True)
class Anew:
    """A pod that may stand in the place of one that nobody saw end (``anew``).

    ``since``: when it was made, "" if unknown; ``told``: what of it leaves that open. ``seconds`` is its age where that
    may still tell, None where it can't. ``ours``: whether install made it, so that its server began guarded.
    """

    since: str
    told: str
    seconds: float | None = None
    ours: bool = False


@dataclass(frozen=True)
class Node:
    """A server that answered.

    Offsets are bytes of the replication stream, memory is in bytes (a limit of 0 is none). ``None`` means
    unknown, never zero or no: ``epoch`` when the key is missing or could not be read, ``paused`` when no proof
    was possible, ``config_replicaof`` when the configuration file could not be read, ``read_only`` on a primary,
    whose INFO doesn't tell. ``ancestors`` are the streams that the data descend from, newest first, as far as
    promotions were recorded. ``good_replicas`` are those that ``min-replicas-to-write`` counts, None if it is off.
    ``sentinels`` is how many Sentinels watch the server. ``active_replica`` is KeyDB's setting: a node that has it
    and replicates nobody calls itself a primary. ``clients`` are the users that clients may log in with, as the server
    has them, ``config_clients`` as its file has them, both None if unknown; ``acl_file`` is whether users have a file
    of their own. ``round_trip_seconds`` is what a PING over the operator's link takes, ``observed_at`` the moment of
    INFO as the operator's clock had it, ``zone`` what the inventory says of the place. ``made`` is what of a pod's
    making may undo its role, ``anew`` what its pod leaves open of who ran before it, None if nothing.
    """

    name: str
    address: Address
    engine: str
    version: str
    run_id: str
    role: Role
    replication_id: str
    previous_replication_id: str
    offset: int
    second_offset: int
    backlog_first: int | None
    backlog_size: int
    replicas: tuple[Replica, ...]
    links: tuple[Link, ...]
    keys: int
    loading: bool
    read_only: bool | None
    priority: int
    unsaved_changes: int
    cluster: bool
    memory_used: int = 0
    memory_limit: int = 0
    good_replicas: int | None = None
    epoch: int | None = None
    paused: bool | None = None
    config_replicaof: str | None = None
    ancestors: tuple[Ancestor, ...] = ()
    sentinels: int | None = None
    active_replica: bool | None = None
    rights: Rights | None = None
    round_trip_seconds: float | None = None
    observed_at: str = ""
    zone: str = ""
    condition: Condition = UNKNOWN
    machine: Machine | None = None
    clients: tuple[ClientUser, ...] | None = None
    config_clients: tuple[ClientUser, ...] | None = None
    acl_file: bool | None = None
    made: tuple[Undoing, ...] = ()
    anew: Anew | None = None

    @property
    def fenced(self) -> bool | None:
        """Whether no client may write here, None if that is unknown."""
        return None if self.clients is None else not any(user.may_write for user in self.clients)

    @property
    def config_fenced(self) -> bool | None:
        """The same as its file has it: whether it is fenced after a restart."""
        return None if self.config_clients is None else not any(user.may_write for user in self.config_clients)

    @property
    def is_primary(self) -> bool:
        return self.role is Role.PRIMARY

    @property
    def link(self) -> Link | None:
        """The one link of a replica; None for a primary and for a multi-master replica."""
        return self.links[0] if len(self.links) == 1 else None

    @property
    def running_replicaof(self) -> str:
        """The ``replicaof`` that its file should say, "" for a primary."""
        return f"{self.link.primary.host} {self.link.primary.port}" if self.link is not None else ""

    @property
    def guarded(self) -> bool:
        """Started as nobody's replica, read-only, until a person says what it is."""
        return self.link is not None and self.link.guarded

    @property
    def empty(self) -> bool:
        return self.keys == 0

    def follows(self, primary: Node) -> bool:
        """Whether this node says that it replicates ``primary`` (the link may be broken)."""
        return self.link is not None and self.link.primary == primary.address


@dataclass(frozen=True)
class Unread:
    """A server that could not be read. It may be anything, a primary among others.

    ``code`` is one of ``unreachable-host``, ``refused``, ``no-answer``, ``wrong-password``,
    ``forwarding-forbidden``, ``no-link`` and ``not-a-server``, or a kind of server that verbs can't work with
    (``kinds``); ``detail`` is a sentence for people. ``stopped`` is True only if the node's own machine was asked
    and no server process runs there. ``machine`` is what that said, None if it could not be asked; ``anew`` as a
    ``Node``'s.
    """

    name: str
    address: Address
    code: str
    detail: str
    stopped: bool = False
    observed_at: str = ""
    machine: Machine | None = None
    anew: Anew | None = None


SILENT = ("unreachable-host", "refused", "no-answer")
"""Codes of a node that gave the operator no answer at all. Any other one came from a server, or says nothing of it."""


class InfoError(ValueError):
    """The text is no INFO of a server that can be in a group; ``code`` is one of ``Unread``'s."""

    def __init__(self, detail: str, code: str = "not-a-server") -> None:
        super().__init__(detail)
        self.code = code


def read_info(text: str) -> dict[str, list[str]]:
    """Return each field of INFO with its values in order, since one key may come several times.

    >>> read_info("# Replication\\r\\nrole:master\\r\\n")
    {'role': ['master']}
    """
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator and key[:1] != "#":
            if key in fields:
                fields[key].append(value)
            else:
                fields[key] = [value]
    return fields


def node_from_info(
    name: str,
    address: Address,
    text: str,
    *,
    epoch: int | None = None,
    paused: bool | None = None,
    config_replicaof: str | None = None,
    ancestors: tuple[Ancestor, ...] = (),
) -> Node:
    """Make a ``Node`` of INFO's text (all default sections).

    :param address: where the group's inventory says that the server listens
    :param epoch: value of the epoch key, None if missing or unknown
    :param paused: whether writes are paused, None if that could not be proved
    :param config_replicaof: the ``replicaof`` line on disk, "" if there is none
    :param ancestors: what ``read_ancestors`` made of the lineage key
    :raises InfoError: if a field that every server has is missing or is no number
    """
    fields = _Fields(read_info(text))
    if "sentinel" in (fields.first("redis_mode", ""), fields.first("server_mode", "")):
        raise InfoError("a Sentinel answers here, no server", "sentinel-process")
    return Node(
        name=name,
        address=address,
        engine=_engine(fields),
        version=fields.first("valkey_version", fields.first("redis_version", "")),
        run_id=fields.required("run_id"),
        role=_role(fields.required("role")),
        replication_id=fields.required("master_replid"),
        previous_replication_id=fields.first("master_replid2", NO_REPLICATION_ID),
        offset=_offset(fields),
        second_offset=fields.number("second_repl_offset", -1),
        backlog_first=_backlog_first(fields),
        backlog_size=fields.number("repl_backlog_size", 0),
        replicas=_replicas(fields),
        links=_links(fields),
        keys=_keys(fields),
        loading=fields.first("loading", "0") != "0",
        read_only=fields.first("slave_read_only", "") != "0" if "slave_read_only" in fields.fields else None,
        priority=fields.number("slave_priority", 100),
        unsaved_changes=fields.number("rdb_changes_since_last_save", 0),
        cluster=fields.first("cluster_enabled", "0") == "1",
        memory_used=fields.number("used_memory", 0),
        memory_limit=fields.number("maxmemory", 0),
        good_replicas=fields.number("min_slaves_good_slaves", 0) if "min_slaves_good_slaves" in fields.fields else None,
        epoch=epoch,
        paused=paused,
        config_replicaof=config_replicaof,
        ancestors=ancestors,
        condition=condition_from_info(fields.fields),
    )


def read_ancestors(text: str | None) -> tuple[Ancestor, ...]:
    """Read the value of the lineage key; what can't be read is not known, so it is left out.

    >>> read_ancestors("8ac1:1042")
    (Ancestor(replication_id='8ac1', last_offset=1042),)
    """
    parts = [part.partition(":") for part in (text or "").split(",")]
    return tuple(Ancestor(identity, int(last)) for identity, _, last in parts if identity and is_number(last))


LONGEST_NUMBER = 18


def is_number(text: str) -> bool:
    """Whether a text is a plain number, as servers write it; no longer than the boot guard can calculate with."""
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER


def write_ancestors(ancestors: tuple[Ancestor, ...]) -> str:
    """The value of the lineage key, as ``read_ancestors`` reads it."""
    return ",".join(f"{ancestor.replication_id}:{ancestor.last_offset}" for ancestor in ancestors)


class _Fields:
    """Typed access to INFO's fields; a missing or odd one is an InfoError, never a guess."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self.fields = fields

    def first(self, key: str, default: str) -> str:
        values = self.fields.get(key)
        return default if values is None else values[0]

    def required(self, key: str) -> str:
        if key not in self.fields:
            raise InfoError(f"INFO has no field {key}: this is no KeyDB, Valkey or Redis server, or a proxy")
        return self.fields[key][0]

    def number(self, key: str, default: int) -> int:
        values = self.fields.get(key)
        return default if values is None else _number(key, values[0])


def _number(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InfoError(f"INFO field {key} is {text!r}, not a number") from None


def _engine(fields: _Fields) -> str:
    # KeyDB calls its version redis_version, but alone has an mvcc_depth.
    if "mvcc_depth" in fields.fields:
        return "keydb"
    return "valkey" if "valkey_version" in fields.fields else "redis"


def _role(word: str) -> Role:
    roles = {"master": Role.PRIMARY, "slave": Role.REPLICA, "active-replica": Role.ACTIVE_REPLICA}
    if word not in roles:
        raise InfoError(f"INFO field role is {word!r}; allowed are {', '.join(roles)}")
    return roles[word]


def _offset(fields: _Fields) -> int:
    own = fields.number("master_repl_offset", 0)
    replicated = fields.number("slave_repl_offset", own)
    # A full resync that was cut off leaves slave_repl_offset at 1, with the old data and the old id.
    return max(own, replicated) if replicated <= 1 else replicated


def _backlog_first(fields: _Fields) -> int | None:
    if fields.first("repl_backlog_active", "0") == "0":
        return None
    return fields.number("repl_backlog_first_byte_offset", 0)


def _replicas(fields: _Fields) -> tuple[Replica, ...]:
    lines = [
        values[0]
        for key, values in fields.fields.items()
        if key.startswith("slave") and key[5:].isdigit() and "=" in values[0]
    ]
    return tuple(_replica(line) for line in lines)


def _replica(line: str) -> Replica:
    parts = dict(part.split("=", 1) for part in line.split(",") if "=" in part)
    try:
        lag = int(parts["lag"]) if "lag" in parts else None
        return Replica(
            address=Address(parts["ip"], int(parts["port"])),
            online=parts["state"] == "online",
            offset=int(parts["offset"]),
            # A replica that never acknowledged is told as a lag of minus one by some versions.
            lag_seconds=lag if lag is None or lag >= 0 else None,
            waits=parts["state"] == "wait_bgsave",
        )
    except (KeyError, ValueError):
        raise InfoError(f"INFO names a replica as {line!r}, which can't be read") from None


def _links(fields: _Fields) -> tuple[Link, ...]:
    # Multi-master repeats each key once per primary, the further ones with a number behind "master".
    hosts = fields.fields.get("master_host", [])
    if not hosts:
        return ()
    links = [_link(fields, "", hosts[0])]
    number = 1
    while f"master{number}_host" in fields.fields or f"master_{number}_host" in fields.fields:
        stem = f"{number}" if f"master{number}_host" in fields.fields else f"_{number}"
        links.append(_link(fields, stem, fields.required(f"master{stem}_host")))
        number += 1
    return tuple(links)


def _link(fields: _Fields, stem: str, host: str) -> Link:
    heard = fields.number(f"master{stem}_last_io_seconds_ago", -1)
    down = fields.number(f"master{stem}_link_down_since_seconds", -1)
    return Link(
        primary=Address(host, fields.number(f"master{stem}_port", 0)),
        up=fields.first(f"master{stem}_link_status", "down") == "up",
        last_io_seconds=heard if heard >= 0 else None,
        syncing=fields.first(f"master{stem}_sync_in_progress", "0") == "1",
        down_seconds=down if down >= 0 else None,
    )


def _keys(fields: _Fields) -> int:
    total = 0
    for key, values in fields.fields.items():
        if key.startswith("db") and key[2:].isdigit():
            counted = [part[5:] for part in values[0].split(",") if part.startswith("keys=")]
            total += _number(key, counted[-1] if counted else "0")
    return total

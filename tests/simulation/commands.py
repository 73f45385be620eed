"""What each command does to a server of the model, and what it answers; an error is an exception of redis-py.

Commands that the runbooks don't send are unknown here, and a test that sends one fails.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import redis

from keydb_runbooks.runbooks.steps import EPOCH_KEY, LINEAGE_KEY, VERIFY_KEY
from tests.simulation import replication
from tests.simulation.server import SYNCING, UP, Connection, Server

if TYPE_CHECKING:
    from tests.simulation.world import World

HELD = object()
"""The answer of a command that a pause holds back."""

WRITE_BYTES = 100

SETTINGS = {
    "aclfile": "",
    "save": "3600 1",
    "stop-writes-on-bgsave-error": "yes",
    "repl-diskless-sync": "yes",
    "repl-diskless-load": "disabled",
}


def answer(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    """Carry out one command."""
    command = TABLE.get(words[0]) or CONTAINERS[words[0]][words[1]]
    connection.used = world.now
    if command in CHANGING or world.story is not None:
        world.watch.command(server, connection, words, changes=command in CHANGING)
    return command(world, server, connection, words)


def write(world: World, server: Server) -> Any:
    """A client's write: its number, HELD, or an error. What a pause held is looked at anew when that ends."""
    refusal = NO_RIGHTS if server.fenced else _refuse_write(world, server)
    if refusal is not None:
        return refusal
    if server.pause_until:
        return HELD
    return world.append_write(server)


# Clients of the model only look at what they were told; nobody raises these.
NO_RIGHTS = redis.exceptions.NoPermissionError("NOPERM this user has no permissions to run the 'set' command")
READ_ONLY = redis.exceptions.ReadOnlyError("READONLY You can't write against a read only replica.")
NO_REPLICAS = redis.ResponseError("NOREPLICAS Not enough good replicas to write.")


def _refuse_write(world: World, server: Server) -> Exception | None:
    """Why a server takes no write, whoever sends it."""
    if world.now < server.loading_until:
        return _loading(server)
    if server.source is not None:
        return READ_ONLY
    if server.good < server.min_replicas:
        return NO_REPLICAS
    return None


def _loading(server: Server) -> Exception:
    return redis.exceptions.BusyLoadingError(f"LOADING {server.engine} is loading the dataset in memory")


def _set(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    refusal = _refuse_write(world, server)
    if refusal is not None:
        # Whoever gets it raises it, and it keeps where from.
        return copy(refusal)
    if server.pause_until:
        connection.blocked = "set"
        return HELD
    _, key, value = words
    if key == EPOCH_KEY:
        server.append(WRITE_BYTES, world.now, epoch=value)
    elif key == LINEAGE_KEY:
        server.append(WRITE_BYTES, world.now, lineage=value)
    else:
        world.values[world.append_write(server)] = (key, value)
    return "OK"


def _get(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    if world.now < server.loading_until:
        return _loading(server)
    if words[1] == EPOCH_KEY:
        return server.state.epoch
    if words[1] == LINEAGE_KEY:
        return server.state.lineage
    assert words[1] == VERIFY_KEY, words
    for state in reversed(server.stream.states[: server.position + 1]):
        if state.write in world.values:
            return world.values[state.write][1]
    return None


def _pfcount(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    if world.now < server.loading_until:
        return _loading(server)
    if server.pause_until:
        connection.blocked = "pfcount"
        return HELD
    return 0


def _replicaof(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    if world.now < server.loading_until:
        return _loading(server)
    if words[1:] == ("NO", "ONE"):
        if server.source is not None:
            world.watch.promoting(server, connection)
            replication.promote(world, server)
    else:
        server.unguarded = False
        replication.follow(world, server, (words[1], int(words[2])))
        world.watch.followed(server, connection)
    return "OK"


def _pause(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    server.pause_until = max(server.pause_until, world.now + float(words[2]))
    return "OK"


def _unpause(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    world.end_pause(server)
    return "OK"


def _config_set(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    if words[2:] == ("replica-read-only", "yes"):
        # Every server here is so all the time.
        return "OK"
    assert words[2] == "min-replicas-to-write", words
    server.min_replicas = int(words[3])
    return "OK"


def _config_get(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    if len(words) == 2:
        return {words[1]: f"/{words[1]}"}
    if words[2] == "active-replica":
        return [words[2], "no"] if server.engine == "keydb" else []
    return [words[2], SETTINGS[words[2]]]


def _acl_list(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    return user_rows(fenced=server.fenced)


@cache
def user_rows(*, fenced: bool) -> list[str]:
    """The one user that clients have, as ACL LIST and the file tell it."""
    return [f"user application on #hash ~* &* +@all -@dangerous{' -@write -@scripting' if fenced else ''}"]


def _acl_setuser(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    assert words[2] == "application", words
    server.fenced = "-@write" in words
    if not server.fenced:
        world.watch.unfenced(server, connection)
    return "OK"


def _bgsave(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    server.save()
    return "Background saving started"


def _config_rewrite(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    if world.now < server.loading_until and server.engine == "keydb":
        return redis.ResponseError("Only CONFIG GET is allowed during loading")
    server.file_source = server.source
    server.file_min_replicas = server.min_replicas
    server.file_fenced = server.fenced
    return "OK"


def _client_id(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    return connection.number


def _client_setname(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    # A fresh connection of a run that holds the lock already gets the name at once.
    if ":claim:" in connection.name and ":held:" in words[2]:
        world.watch.locked(connection)
    connection.name = words[2]
    return "OK"


def _client_list(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    rows = world.connected_to(server)
    if words == ("CLIENT", "LIST"):
        applications = {client.place for client in (*world.clients, *world.passers)}
        return "\n".join(
            f"id={row.number} fd=9 name={row.name} user={'application' if row.owner in applications else 'operator'}"
            for row in rows
        )
    if len(words) > 2:
        number = int(words[3])
        row = next((one for one in rows if one.number == number), None)
        return "" if row is None else f"id={number} flags={'b' if row.blocked else 'N'} cmd={row.blocked or 'client'}"
    now = world.now
    return [
        {
            "id": str(row.number),
            "name": row.name,
            "age": str(int((now - row.born) / 1000)),
            "idle": str(int((now - row.used) / 1000)),
        }
        for row in rows
        if row.name
    ]


def _client_kill(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    number = int(words[3])
    killed = [row for row in world.connected_to(server) if row.number == number]
    world.drop(killed)
    return len(killed)


def _pubsub(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    """No Sentinel watches."""
    return [words[2], 0]


def _ping(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    return _loading(server) if world.now < server.loading_until and server.engine != "keydb" else "PONG"


class Info:
    """The answer to INFO: a text as soon as somebody wants to read it.

    ``still`` is what hardly changes from one INFO to the next, ``moving`` what each write and each second changes, by
    field as ``read_info`` would read it: ``texts`` remembers what it made of the first one.
    """

    __slots__ = ("moving", "still")

    def __init__(self, still: str, moving: dict[str, list[str]]) -> None:
        self.still = still
        self.moving = moving

    def __str__(self) -> str:
        return "\r\n".join([self.still, *(f"{name}:{value}" for name, (value,) in self.moving.items())])

    def splitlines(self) -> list[str]:
        return str(self).splitlines()


def info(world: World, server: Server) -> Info:
    """INFO, with every field that the runbooks look at and no other."""
    now, up = world.now, server.link == UP
    heard = int(now / 1000) - int(server.heard / 1000) if up else -1
    link = None if server.source is None else (server.source, up, heard, server.link == SYNCING)
    views = [
        (world.servers[name].address, view.online, server.lag(view, now)) for name, view in server.replicas.items()
    ]
    good = server.good if server.min_replicas else None
    still = _still(
        *(server.engine, f"{server.name}-{server.run}", now < server.loading_until),
        *(link, tuple(views), good, server.stream.identity, server.former),
    )
    return Info(still, _moving(world, server))


@lru_cache(16384)
def _still(
    engine: str,
    run: str,
    loading: bool,
    link: tuple[tuple[str, int], bool, int, bool] | None,
    views: tuple[tuple[tuple[str, int], bool, int], ...],
    good: int | None,
    identity: str,
    former: str,
) -> str:
    """What hardly changes from one INFO to the next, as text once for all that are alike."""
    lines = [
        f"redis_version:{'6.3.4' if engine == 'keydb' else '7.0.15'}",
        f"run_id:{run}",
        f"loading:{1 if loading else 0}",
        f"role:{'master' if link is None else 'slave'}",
    ]
    if link is not None:
        source, up, heard, syncing = link
        lines += [
            f"master_host:{source[0]}",
            f"master_port:{source[1]}",
            f"master_link_status:{'up' if up else 'down'}",
            f"master_last_io_seconds_ago:{heard}",
            f"master_sync_in_progress:{1 if syncing else 0}",
            "slave_priority:100",
            "slave_read_only:1",
        ]
    lines.append(f"connected_slaves:{len(views)}")
    if good is not None:
        lines.append(f"min_slaves_good_slaves:{good}")
    for number, ((host, port), online, lag) in enumerate(views):
        state = "online" if online else "wait_bgsave"
        # Who is in a full resync has acknowledged nothing yet.
        lines.append(f"slave{number}:ip={host},port={port},state={state},offset={int(online)},lag={lag}")
    lines += [f"master_replid:{identity}", f"master_replid2:{former}"]
    if engine == "keydb":
        lines.append("mvcc_depth:0")
    lines += ["rdb_bgsave_in_progress:0", "rdb_last_bgsave_status:ok"]
    return "\r\n".join(lines)


def _moving(world: World, server: Server) -> dict[str, list[str]]:
    state, begin = server.state, server.backlog_begin
    fields = {
        "uptime_in_seconds": [str(int((world.now - server.started) / 1000))],
        "master_repl_offset": [str(state.offset)],
        "second_repl_offset": [str(server.second_offset)],
        "repl_backlog_active": ["0" if begin is None else "1"],
        "repl_backlog_first_byte_offset": [str(begin or 0)],
    }
    if server.source is not None:
        never = 0 if server.engine == "keydb" else 1
        fields["slave_repl_offset"] = [str(state.offset if server.link == UP or server.cached else never)]
    if state.keys:
        fields["db0"] = [f"keys={state.keys},expires=0,avg_ttl=0"]
    return fields


def _info(world: World, server: Server, connection: Connection, words: tuple[str, ...]) -> Any:
    return info(world, server)


Command = Callable[["World", Server, Connection, tuple[str, ...]], Any]

TABLE: dict[str, Command] = {
    "ACL LIST": _acl_list,
    "ACL SETUSER": _acl_setuser,
    "BGSAVE": _bgsave,
    "CLIENT ID": _client_id,
    "CLIENT KILL": _client_kill,
    "CLIENT LIST": _client_list,
    "CLIENT PAUSE": _pause,
    "CLIENT SETNAME": _client_setname,
    "CLIENT UNPAUSE": _unpause,
    "CONFIG GET": _config_get,
    "CONFIG REWRITE": _config_rewrite,
    "CONFIG SET": _config_set,
    "GET": _get,
    "INFO": _info,
    "PFCOUNT": _pfcount,
    "PING": _ping,
    "PUBSUB": _pubsub,
    "REPLICAOF": _replicaof,
    "SET": _set,
}

CONTAINERS: dict[str, dict[str, Command]] = {}
"""The same by first and second word, for commands that are sent as two."""

for _name, _command in TABLE.items():
    if " " in _name:
        _first, _second = _name.split()
        CONTAINERS.setdefault(_first, {})[_second] = _command

CHANGING = {_acl_setuser, _pause, _unpause, _config_rewrite, _config_set, _replicaof, _set}

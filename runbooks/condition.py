"""In which condition a server and its machine are: what INFO, CONFIG GET, CLIENT LIST and the machine itself tell.

Holds no judgement: ``checks`` and ``ranking`` have that. None is unknown, never zero, no or fine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keydb_runbooks.runbooks.values import changed

SETTINGS = ("save", "stop-writes-on-bgsave-error", "repl-diskless-sync", "repl-diskless-load")
"""What ``with_settings`` reads, asked for one by one: KeyDB takes one name at a time."""


@dataclass(frozen=True)
class Machine:
    """What a node's own machine says, asked over pyinfra's connection, not over the server's port.

    ``process``: whether a server's process is there. ``disk_free`` and ``disk_size``: bytes of the file system that
    holds the data directory. ``memory_available``: bytes that could be had without swapping. ``descriptor``: what the
    server's file descriptor 0 is, ``open``, ``closed`` or ``socket`` (keydb-facts, "KeyDB closes file descriptor 0").
    """

    process: bool | None = None
    disk_free: int | None = None
    disk_size: int | None = None
    memory_available: int | None = None
    descriptor: str | None = None


@dataclass(frozen=True)
class Condition:
    """How a server is.

    ``dataset_bytes`` is the memory of its data alone, ``save_seconds`` how long its last RDB took, written to disk or
    sent to a replica. ``saved`` and ``logged`` say whether the last RDB, the last rewrite and the last write of the AOF
    succeeded, ``dumped`` whether the last RDB did. ``saves`` is whether it keeps anything on disk, ``stops`` whether it
    refuses writes after a failed save.
    ``server_time`` is its clock, in seconds, and ``clock_seconds`` how far that is ahead of the operator's.
    ``behind_bytes`` is what a replica still lacked, at a second look, of what its primary had at the first.
    ``input_bytes_per_second`` is all that it gets, health checks among it; ``stream_bytes_per_second`` only what a
    replica gets of its primary, which KeyDB doesn't count.
    ``evicts`` is whether it throws keys away when its memory is full, ``uncounted_bytes`` what its limit doesn't count.
    ``client_descriptor`` is whether a client has file descriptor 0. ``uptime_seconds`` is since when it runs, and
    ``began_seconds`` that moment by the operator's clock, in seconds since 1970, exact to a second.
    """

    dataset_bytes: int | None = None
    evicts: bool | None = None
    uncounted_bytes: int | None = None
    saved: bool | None = None
    dumped: bool | None = None
    logged: bool | None = None
    saving: bool | None = None
    save_seconds: int | None = None
    aof: bool | None = None
    clients: int | None = None
    clients_limit: int | None = None
    blocked_clients: int | None = None
    commands_per_second: int | None = None
    input_bytes_per_second: int | None = None
    stream_bytes_per_second: int | None = None
    config_file: str | None = None
    server_time: float | None = None
    clock_seconds: float | None = None
    behind_bytes: int | None = None
    saves: bool | None = None
    stops: bool | None = None
    diskless_sync: bool | None = None
    diskless_load: bool | None = None
    client_descriptor: bool | None = None
    uptime_seconds: int | None = None
    began_seconds: float | None = None


UNKNOWN = Condition()
"""Of a server that told nothing."""


def dataset_bytes(fields: Mapping[str, list[str]]) -> int | None:
    """How much memory the data themselves need, by INFO, None if it doesn't tell.

    KeyDB takes off more than there is where there is little, and prints what is below 0 without its sign.
    """
    size = whole(fields, "used_memory_dataset")
    return 0 if size is not None and size >= 1 << 63 else size


def condition_from_info(fields: Mapping[str, list[str]]) -> Condition:
    """Read what INFO tells, field by field; one that is missing or no number is unknown."""
    saves = [_is(fields, name, "ok") for name in ("rdb_last_bgsave_status", "aof_last_bgrewrite_status")]
    busy = [_is(fields, name, "1") for name in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress")]
    keeps = _is(fields, "maxmemory_policy", "noeviction")
    microseconds = _number(fields, "server_time_usec")
    return Condition(
        uptime_seconds=whole(fields, "uptime_in_seconds"),
        dataset_bytes=dataset_bytes(fields),
        evicts=None if keeps is None else not keeps,
        uncounted_bytes=whole(fields, "mem_not_counted_for_evict"),
        saved=_all(saves),
        dumped=saves[0],
        logged=_is(fields, "aof_last_write_status", "ok"),
        saving=_any(busy),
        save_seconds=whole(fields, "rdb_last_bgsave_time_sec"),
        aof=_is(fields, "aof_enabled", "1"),
        clients=whole(fields, "connected_clients"),
        clients_limit=whole(fields, "maxclients"),
        blocked_clients=whole(fields, "blocked_clients"),
        commands_per_second=whole(fields, "instantaneous_ops_per_sec"),
        input_bytes_per_second=_kilobytes(fields, "instantaneous_input_kbps"),
        stream_bytes_per_second=_kilobytes(fields, "instantaneous_input_repl_kbps"),
        config_file=fields["config_file"][0] if "config_file" in fields else None,
        server_time=None if microseconds is None else microseconds / 1_000_000,
    )


def with_settings(
    condition: Condition, settings: Mapping[str, str], client_descriptor: bool | None = None
) -> Condition:
    """Add what CONFIG GET told of ``SETTINGS`` and CLIENT LIST of file descriptor 0.

    A setting that a server doesn't have is unknown.
    """
    save, stops = settings.get("save"), settings.get("stop-writes-on-bgsave-error")
    sync, load = settings.get("repl-diskless-sync"), settings.get("repl-diskless-load")
    points = None if save is None else bool(save.strip())
    return changed(
        condition,
        saves=_any([points, condition.aof]),
        # Without save points there is no save that could fail by itself.
        stops=_all([points, None if stops is None else stops == "yes"]),
        diskless_sync=None if sync is None else sync == "yes",
        diskless_load=None if load is None else load != "disabled",
        client_descriptor=client_descriptor,
    )


def has_client_descriptor(rows: str) -> bool:
    """Whether CLIENT LIST's rows name a client on file descriptor 0.

    >>> has_client_descriptor("id=3 addr=10.0.0.1:4 fd=0 name=")
    True
    """
    # Hardly ever one has it, and there may be thousands of rows.
    return "fd=0" in rows and any("fd=0" in row.split() for row in rows.splitlines())


def _number(fields: Mapping[str, list[str]], name: str) -> float | None:
    if name not in fields:
        return None
    try:
        value = float(fields[name][0])
    except ValueError:
        return None
    # Minus one is INFO's word for never.
    return value if value >= 0 else None


def whole(fields: Mapping[str, list[str]], name: str) -> int | None:
    """A field as a whole number, None if it is missing, none, or below 0."""
    value = _number(fields, name)
    return None if value is None else int(value)


def _kilobytes(fields: Mapping[str, list[str]], name: str) -> int | None:
    value = _number(fields, name)
    return None if value is None else int(value * 1024)


def _is(fields: Mapping[str, list[str]], name: str, word: str) -> bool | None:
    return fields[name][0] == word if name in fields else None


def _all(answers: list[bool | None]) -> bool | None:
    """Whether all hold: one that doesn't decides, one that is unknown leaves it unknown."""
    if False in answers:
        return False
    return None if None in answers else True


def _any(answers: list[bool | None]) -> bool | None:
    if True in answers:
        return True
    return None if None in answers else False

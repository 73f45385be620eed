"""Taking over a server that somebody else installed: which lines of its file become install's, and what forbids it.

Install manages then what the inventory names and nothing else; everything that the schema only has a default for stays
as it is on the machine. What the inventory says of places has to be true already, since nobody moves data.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from posixpath import basename, normpath

from keydb_runbooks.runbooks.configuration import ConfigurationError, Directive, by_key, meaning, parse, rules

USERS = ("user", "masteruser", "masterauth")
"""Directives of ``keydb_users``, which every inventory names: without its users no verb can log in."""

OF_KEY: Mapping[str, tuple[str, ...]] = {
    "keydb_backlog_size": ("repl-backlog-size",),
    "keydb_bind": ("bind", "replica-announce-ip"),
    "keydb_maxmemory": ("maxmemory",),
    "keydb_min_replicas_max_lag": ("min-replicas-max-lag",),
    "keydb_min_replicas_to_write": ("min-replicas-to-write",),
    "keydb_persistence": ("appendonly", "save"),
    "keydb_server_threads": ("server-threads",),
    "keydb_tls_certificate": ("tls-cert-file", "tls-key-file", "tls-ca-cert-file"),
}
"""Directives that install manages on such a server if the inventory names this key."""

KEYS = (*OF_KEY, "keydb_default_user")
"""The keys that ``managed`` goes by."""

PLACES: Mapping[str, str] = {"dir": "keydb_data_directory", "logfile": "keydb_log_file"}
"""Directives that have to be as the inventory says, if the file has them: what they name is not moved."""

LEASE: Mapping[str, tuple[str, str]] = {
    "min-replicas-to-write": ("keydb_min_replicas_to_write", "0"),
    "min-replicas-max-lag": ("keydb_min_replicas_max_lag", "10"),
}
"""Directives by which verbs reckon, with their key and the server's own default: the same, or named on purpose."""

ELSEWHERE: Mapping[str, str] = {
    "aclfile": "users stand in keydb.conf here: move its lines there, and take this one out",
    "include": "what it names is not read: move its lines there",
}
"""Directives with which a file doesn't tell everything."""

PLAIN = re.compile(r"[A-Za-z0-9_./=:@,+${}-]+")
"""Words of a unit's command that mean the same wherever they are written again."""

DEFAULTS: Mapping[str, str] = {"port": "6379", "tls-port": "0"}
"""What a file that says nothing of these has the server do."""

DEFAULT_USER = "default"


@dataclass(frozen=True)
class Wish:
    """What the inventory says of a server; ``named`` are the keys that it names itself, ``values`` of all.

    ``users`` are the rules of each of its users. ``may_make_them``: whether it tells who may make these.
    """

    config: str
    program: str
    unit: str
    owner: str
    port: int
    tls: bool
    named: frozenset[str]
    values: Mapping[str, object]
    users: Mapping[str, tuple[str, ...]]
    may_make_them: bool


@dataclass(frozen=True)
class Unit:
    """What systemd and the kernel say of a process: 0 is none, ``recorded`` is the one that the pid file names."""

    file: str
    process: int
    recorded: int | None
    owner: str
    command: tuple[str, ...]
    guarded: bool


@dataclass(frozen=True)
class Login:
    """What a server told who logged in; ``users`` are the rules of each, ``before`` whether ours were not there yet.

    ``clients`` and ``replicas`` count the connections of the default user, by what they are.
    """

    before: bool
    users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clients: int = 0
    replicas: int = 0


@dataclass(frozen=True)
class Found:
    """A server as it was found. ``text`` is None if there is no such file; ``login`` says why nobody could log in.

    ``replaceable``: whether the server's user can replace its file, as CONFIG REWRITE does.
    """

    text: str | None
    is_link: bool
    replaceable: bool
    unit: Unit
    login: Login | str


def managed(wanted: str, named: Collection[str], settings: Collection[str]) -> str:
    """What install wants of such a server's file: of all that it would want the lines that the inventory asks for.

    :param named: the keys that the inventory names
    :param settings: the directives of its ``keydb_settings``
    """
    names = {*USERS, *settings, *(name for key in named for name in OF_KEY.get(key, ()))}

    def is_asked(line: Directive) -> bool:
        if line.key == ("user", DEFAULT_USER):
            return "keydb_default_user" in named
        return line.name in names

    head = [line for line in wanted.split("\n") if line.startswith("# ")][:1]
    kept = [line for line in wanted.split("\n") if any(map(is_asked, parse(line)))]
    return "\n".join([*head, *kept, ""])


def complaints(wish: Wish, found: Found) -> Iterator[str]:
    """Everything that keeps a server from being taken over, each with the way out."""
    if found.text is None:
        yield f"there is no {wish.config}: say in keydb_configuration_file which file its server was started with"
        return
    if found.is_link:
        yield f"{wish.config} is a link, which a rewrite would replace: say in keydb_configuration_file where it leads"
    if not found.replaceable:
        told = f"{wish.owner} can't replace {wish.config} in its directory, as CONFIG REWRITE does"
        yield f"{told}; let it write there, or say in keydb_system_user who runs the server"
    yield from _file(wish, found.text)
    yield from _unit(wish, found.unit)
    yield from _login(wish, found)


def _file(wish: Wish, text: str) -> Iterator[str]:
    try:
        lines = by_key(parse(text))
    except ConfigurationError as error:
        yield f"no server starts with {wish.config}: {error}"
        return
    for name, told in ELSEWHERE.items():
        if (name,) in lines:
            yield f"{wish.config} has {name}; {told}"
    for name, key in PLACES.items():
        yield from _otherwise(wish, lines, name, key, str(wish.values[key]))
    yield from _otherwise(
        wish, lines, "tls-port" if wish.tls else "port", "keydb_port and keydb_tls_ca", str(wish.port)
    )
    counted = True
    for name, (key, default) in LEASE.items():
        present = _value(lines, name) or default
        if counted and key not in wish.named and present != str(wish.values[key]):
            told = f"{wish.config} has {name} {present}, and verbs reckon by it"
            yield f"{told}: set {key} to that, or to what it shall be"
        # Who needs no replica counts no lag either.
        counted = (str(wish.values[key]) if key in wish.named else present) != "0"


def _otherwise(
    wish: Wish, lines: Mapping[tuple[str, ...], list[Directive]], name: str, key: str, wanted: str
) -> Iterator[str]:
    present = _value(lines, name) or DEFAULTS.get(name, "")
    if present and meaning(name, [Directive(name, (present,))]) != meaning(name, [Directive(name, (wanted,))]):
        yield f"{wish.config} has {name} {present}, the inventory {wanted}; look at {key}"


def _value(lines: Mapping[tuple[str, ...], list[Directive]], name: str) -> str:
    return " ".join(lines[(name,)][-1].values) if (name,) in lines else ""


def _unit(wish: Wish, unit: Unit) -> Iterator[str]:
    if not unit.file:
        yield f"systemd knows no {wish.unit}: say in keydb_unit which unit starts the server"
        return
    if unit.process != (unit.recorded or 0):
        runs = f"runs process {unit.process}" if unit.process else "runs nothing"
        recorded = f"names {unit.recorded}" if unit.recorded else "names no process that runs"
        told = f"{wish.unit} {runs}, and the pid file {recorded}; look at keydb_unit and keydb_pid_file"
        yield f"{told}, or start the server by its unit"
    if unit.process and unit.owner != wish.owner:
        yield f"{unit.owner} runs the server, not {wish.owner}: say so in keydb_system_user"
    program, *arguments = unit.command or ("",)
    if not all(map(PLAIN.fullmatch, unit.command)):
        yield f"{wish.unit} starts it with quotes, blanks or a shell; let it name the program, its file and plain words"
        return
    if not unit.guarded and normpath(program) != normpath(wish.program):
        yield f"{wish.unit} starts {program or 'nothing'}, not {wish.program}: say in keydb_server what it starts"
    elif wish.config not in map(normpath, arguments):
        yield f"{wish.unit} starts {basename(program)} without {wish.config}: look at keydb_configuration_file"


def _login(wish: Wish, found: Found) -> Iterator[str]:
    login = found.login
    if isinstance(login, str):
        if found.unit.process:
            way_out = "look at keydb_users.admin" if wish.may_make_them else "add keydb_users.admin, who may make users"
            yield f"{login}; {way_out} (docs/adopt.md)"
        return
    for name, wanted in wish.users.items():
        there = login.users.get(name)
        if login.before and there is not None and rules(there) != rules(wanted):
            yield f"it has a user {name} of somebody else's, with other rules or another password: take another name"
    if "keydb_default_user" in wish.named and wish.values["keydb_default_user"] == "off":
        told = "are logged in as the default user, which keydb_default_user would switch off"
        if login.clients:
            yield f"{login.clients} clients {told}; leave that out until they log in as the application's user"
        elif login.replicas:
            yield f"{login.replicas} replicas {told}; install without it, run restart, then this again"

"""One server's configuration three times: as the inventory wants it, as its file says it, as it runs.

Whichever of the three differs from the other two gives a drift its code, so that each directive is told once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keydb_runbooks.runbooks.configuration import (
    LIMITS,
    ROLE_DIRECTIVE,
    SECRET_DIRECTIVES,
    ConfigurationError,
    Directive,
    by_key,
    meaning,
    parse,
    rules,
)
from keydb_runbooks.runbooks.drift_certificate import Certificates, certificate_drift
from keydb_runbooks.runbooks.drift_firewall import Left, Rules, firewall_drift
from keydb_runbooks.runbooks.drift_machine import Exposure, File, Process, exposure_drift, file_drift, process_drift
from keydb_runbooks.runbooks.drift_values import UNSEEN, Drift, Unseen, Value, Verdict, unknown
from keydb_runbooks.runbooks.fencing import KEPT
from keydb_runbooks.runbooks.findings import Severity

USER = "user"
DEFAULT_USER = "user default"
SHOWN_LENGTH = 60

# Values that nobody may read: what the inventory keeps secret, and whatever looks like it.
_SECRET_ENDINGS = ("pass", "auth", "rename-command", "loadmodule")
_PASSWORD_RULES = ("#", ">", "!", "<")

# What is said for each code: with the values, and where they are secret.
_TOLD = {
    "file-differs": (
        "its file says {on_disk}, {others} {wanted}",
        "its file says otherwise than {others}",
    ),
    "running-differs": (
        "runs with {running}, {others} {wanted}",
        "runs otherwise than {others}",
    ),
    "inventory-differs": (
        "its file and the server say {on_disk}, the inventory {wanted}",
        "its file and the server say otherwise than the inventory",
    ),
    "all-differ": (
        "runs with {running}, its file says {on_disk}, the inventory {wanted}",
        "what runs, its file and the inventory are three different things",
    ),
}

Lines = list[Directive] | None | Unseen
Key = tuple[str, ...]


@dataclass(frozen=True)
class RunningServer:
    """What a server says of itself; ``values`` (CONFIG GET) and ``users`` (ACL LIST) are None if it refused to."""

    engine: str
    values: Mapping[str, str] | None
    users: tuple[str, ...] | None
    config_file: str
    process: Process | None = None


@dataclass(frozen=True)
class ServerState:
    """One server of the inventory; ``running`` is None if it didn't answer, ``detail`` says what it refused.

    ``same_directory`` is another name of the wanted ``dir``: a server follows links and says where it arrived.
    ``firewall`` is None where install writes no rules, and where nobody could look; so is ``exposure``.
    """

    name: str
    engine: str
    wanted: str
    file: File
    running: RunningServer | None
    detail: str = ""
    same_directory: str | None = None
    firewall: Rules | Left | None = None
    exposure: Exposure | None = None
    certificates: Certificates | None = None


@dataclass(frozen=True)
class _Setting:
    """What one directive or user is, three times."""

    name: str
    key: str
    wanted: Lines
    on_disk: Lines
    running: Lines


def server_drift(server: ServerState) -> Iterator[Drift]:
    """All in which a server's file, what runs and its machine differ from the inventory and from each other."""
    yield from file_drift(server.name, server.file)
    on_disk, error = _read(server)
    if error is not None:
        sentence = f"no server starts with {server.file.path}: {error}; mend that line"
        yield Drift("file-broken", Verdict.DRIFTED, Severity.CRITICAL, server.name, sentence)
    running = _running_lines(server)
    for setting in _settings(server, on_disk, running):
        yield from _three_way(server.name, setting)
    yield from _extra_users(server, on_disk, running)
    if server.running is not None:
        yield from _itself(server, server.running)
    if server.certificates is not None:
        yield from certificate_drift(server.name, server.certificates)
    if server.exposure is not None:
        yield from exposure_drift(server.name, server.exposure)
    if server.firewall is not None:
        yield from firewall_drift(server.name, server.firewall)


def not_compared(server: ServerState) -> tuple[str, ...]:
    """The directives that the server doesn't tell, of those that the inventory or its file names."""
    if server.running is None or server.running.values is None:
        return ()
    on_disk, _ = _read(server)
    named = {**_lines(server, server.wanted), **(on_disk or {})}
    told = {key[0] for key in _running_lines(server)}
    return tuple(sorted({key[0] for key in named} - told - {USER, ROLE_DIRECTIVE}))


def _itself(server: ServerState, running: RunningServer) -> Iterator[Drift]:
    """What the process is, whatever its configuration."""
    if running.values is None or running.users is None:
        sentence = f"what it runs with is unknown: {server.detail}; give the operator its rules of docs/users.md"
        yield unknown("running-unknown", server.name, sentence)
    if running.engine != server.engine:
        sentence = f"is a {running.engine} server, the inventory says {server.engine}; set keydb_engine"
        yield Drift("other-engine", Verdict.DRIFTED, Severity.WARNING, server.name, sentence)
    if running.config_file != server.file.path:
        found = f"was started with {running.config_file}" if running.config_file else "was started without a file"
        sentence = f"{found}, not with {server.file.path}: no role can be saved there; start it with that"
        yield Drift("other-file", Verdict.DRIFTED, Severity.WARNING, server.name, sentence)
    if running.process is not None:
        yield from process_drift(server.name, running.process)


def _read(server: ServerState) -> tuple[dict[Key, list[Directive]] | None, ConfigurationError | None]:
    """The lines of its file, None if they aren't known; and what is wrong if it is no configuration."""
    if not server.file.text:
        return None, None
    try:
        return _lines(server, server.file.text), None
    except ConfigurationError as error:
        return None, error


def _lines(server: ServerState, text: str) -> dict[Key, list[Directive]]:
    return by_key([_placed(server, line) for line in parse(text)])


def _placed(server: ServerState, line: Directive) -> Directive:
    """The same directory under the inventory's name for it."""
    if (line.name, line.values) != ("dir", (server.same_directory,)):
        return line
    wishes = [wish for wish in parse(server.wanted) if wish.name == "dir"]
    return wishes[-1] if wishes else line


def _running_lines(server: ServerState) -> dict[Key, list[Directive]]:
    """What runs, as lines of a file would say it."""
    running = server.running
    if running is None:
        return {}
    lines = [
        _placed(server, line)
        for name, value in (running.values or {}).items()
        for line in (parse(f"{name} {value}") if name == LIMITS else [Directive(name, (value,))])
    ]
    users = [Directive(USER, tuple(row.split()[1:])) for row in running.users or ()]
    return by_key([*lines, *users])


def _settings(
    server: ServerState, on_disk: Mapping[Key, list[Directive]] | None, running: Mapping[Key, list[Directive]]
) -> Iterator[_Setting]:
    wishes = _lines(server, server.wanted)
    users_told = server.running is not None and server.running.users is not None
    for key in {**wishes, **(on_disk or {})}:
        name = key[0]
        if name == ROLE_DIRECTIVE or (name == USER and key not in wishes):
            continue
        yield _Setting(
            name=name,
            key=" ".join(key),
            wanted=wishes.get(key),
            on_disk=UNSEEN if on_disk is None else on_disk.get(key),
            # What a server doesn't tell is unknown; a user that isn't in its list isn't there.
            running=running.get(key, None if name == USER and users_told else UNSEEN),
        )


def _same(name: str, one: Lines, other: Lines) -> bool:
    """Whether two mean the same; what wasn't seen contradicts nobody."""
    if isinstance(one, Unseen) or isinstance(other, Unseen):
        return True
    if one is None or other is None:
        return one is other
    return meaning(name, one) == meaning(name, other)


def _three_way(where: str, setting: _Setting) -> Iterator[Drift]:
    name = setting.name
    disk_as_wanted = _same(name, setting.on_disk, setting.wanted)
    runs_as_wanted = _same(name, setting.running, setting.wanted)
    runs_as_disk = _same(name, setting.running, setting.on_disk)
    if setting.wanted is None:
        if not runs_as_disk:
            yield _kept(where, setting)
    elif places := _places_where_on(setting):
        yield _default_on(where, setting, places)
    elif not disk_as_wanted and not runs_as_wanted:
        yield _differs("inventory-differs" if runs_as_disk else "all-differ", where, setting, "run install")
    elif not disk_as_wanted:
        yield _differs("file-differs", where, setting, "run install")
    elif not runs_as_wanted:
        yield _differs("running-differs", where, setting, f"{_command(setting)}, or a restart, ends that")


def _differs(code: str, where: str, setting: _Setting, way_out: str) -> Drift:
    plain, secret = _TOLD[code]
    odd, other = (setting.running, setting.on_disk) if code == "running-differs" else (setting.on_disk, setting.running)
    if code == "running-differs":
        others = "the inventory says" if isinstance(other, Unseen) else "its file and the inventory say"
    else:
        others = "the inventory" if isinstance(other, Unseen) else "the server and the inventory"
    if _is_secret(setting.name):
        sentence = secret.format(others=others.removesuffix(" says"))
        sentence += f" ({_rules_told(setting.wanted, odd)})" if setting.name == USER else ""
    else:
        values = {name: _short(_shown(getattr(setting, name), None)) for name in ("wanted", "on_disk", "running")}
        sentence = plain.format(others=others, **values)
    return _drift(code, Severity.WARNING, where, setting, f"{sentence}; {way_out}")


def _kept(where: str, setting: _Setting) -> Drift:
    """A directive that the inventory doesn't name: its file is what it is measured by."""
    if _is_secret(setting.name):
        sentence = "runs otherwise than its file says"
    else:
        running, on_disk = (_short(_shown(lines, None)) for lines in (setting.running, setting.on_disk))
        sentence = f"runs with {running}, its file says {on_disk}, the inventory nothing"
    way_out = "CONFIG REWRITE keeps what runs, a restart takes what the file says"
    return _drift("running-differs", Severity.WARNING, where, setting, f"{sentence}; {way_out}")


def _default_on(where: str, setting: _Setting, places: list[str]) -> Drift:
    sentence = f"the default user is on {' and '.join(places)}: who connects needs no name"
    way_out = "run install" if "in its file" in places else "ACL SETUSER default off, or a restart, ends that"
    return _drift("default-user-on", Severity.CRITICAL, where, setting, f"{sentence}; {way_out}")


def _places_where_on(setting: _Setting) -> list[str]:
    """Where the default user is on though it shouldn't; a file that says nothing of it leaves it on."""
    if setting.key != DEFAULT_USER or not _is_off(setting.wanted):
        return []
    places = {"in its file": setting.on_disk, "in the server": setting.running}
    return [place for place, lines in places.items() if not isinstance(lines, Unseen) and not _is_off(lines)]


def _is_off(lines: Lines) -> bool:
    return isinstance(lines, list) and "off" in lines[-1].values


def _extra_users(
    server: ServerState, on_disk: Mapping[Key, list[Directive]] | None, running: Mapping[Key, list[Directive]]
) -> Iterator[Drift]:
    wishes = _lines(server, server.wanted)
    for key in {**(on_disk or {}), **running}:
        # Of the default user the inventory says nothing where it is kept as it is; a fence keeps rules beside it.
        if key[0] != USER or key in wishes or " ".join(key) == DEFAULT_USER or key[1].startswith(KEPT):
            continue
        places = {"in its file": key in (on_disk or {}), "in the server": key in running}
        found = " and ".join(place for place, there in places.items() if there)
        sentence = f"is no user of the inventory, but stands {found}; if nobody needs it: {_removal(key, places)}"
        users_told = server.running is not None and server.running.users is not None
        setting = _Setting(
            name=USER,
            key=" ".join(key),
            wanted=None,
            on_disk=UNSEEN if on_disk is None else on_disk.get(key),
            running=running.get(key) if users_told else UNSEEN,
        )
        yield _drift("extra-user", Severity.NOTICE, server.name, setting, sentence)


def _removal(key: Key, places: Mapping[str, bool]) -> str:
    _, name = key
    commands = {"in the server": f"ACL DELUSER {name}", "in its file": "CONFIG REWRITE"}
    return " and ".join(command for place, command in commands.items() if places[place])


def _drift(code: str, severity: Severity, where: str, setting: _Setting, sentence: str) -> Drift:
    return Drift(
        code,
        Verdict.DRIFTED,
        severity,
        where,
        sentence,
        setting.key,
        wanted=_value(setting, setting.wanted),
        on_disk=_value(setting, setting.on_disk),
        running=_value(setting, setting.running),
    )


def _is_secret(name: str) -> bool:
    return name in SECRET_DIRECTIVES or name.endswith(_SECRET_ENDINGS)


def _value(setting: _Setting, lines: Lines) -> Value:
    """A value for a report, with whatever is secret in it replaced."""
    if isinstance(lines, Unseen) or lines is None:
        return lines
    if setting.name == USER:
        return _shown(lines, _passwords(setting.wanted))
    if _is_secret(setting.name):
        return "(secret)" if _same(setting.name, lines, setting.wanted) else "(another secret)"
    return _shown(lines, None)


def _shown(lines: Lines, passwords: set[str] | None) -> str:
    """The values of lines as words; with ``passwords``, those that are wanted, an ACL user's are replaced."""
    if isinstance(lines, Unseen) or lines is None:
        return "nothing"
    words = [value for line in lines for value in line.values]
    if passwords is not None:
        words = [_masked(word, passwords) for word in lines[-1].values[1:]]
    return " ".join(words) or "empty"


def _masked(word: str, wanted: set[str]) -> str:
    if not word.startswith(_PASSWORD_RULES):
        return word
    return "#(secret)" if rules((word,)) <= wanted else "#(another secret)"


def _passwords(lines: Lines) -> set[str]:
    return set() if isinstance(lines, Unseen) or lines is None else _split(lines)[0]


def _split(lines: list[Directive]) -> tuple[set[str], set[str]]:
    """An ACL user's passwords, and its other rules."""
    held = rules(lines[-1].values[1:])
    passwords = {rule for rule in held if rule.startswith(_PASSWORD_RULES)}
    return passwords, held - passwords


def _rules_told(wanted: Lines, found: Lines) -> str:
    """In what an ACL user isn't as wanted, in words; without any password."""
    assert isinstance(wanted, list)
    if not isinstance(found, list):
        return "it is missing"
    (passwords, wishes), (other_passwords, held) = _split(wanted), _split(found)
    told = [
        *(["has another password"] if passwords != other_passwords else []),
        *([f"has also {_few(held - wishes)}"] if held - wishes else []),
        *([f"lacks {_few(wishes - held)}"] if wishes - held else []),
    ]
    return "; ".join(told)


def _few(rules_told: set[str], limit: int = 4) -> str:
    words = sorted(rules_told)
    more = f" and {len(words) - limit} more" if len(words) > limit else ""
    return " ".join(words[:limit]) + more


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}..."


def _command(setting: _Setting) -> str:
    """What sets the running value back, without any secret."""
    name, _, user_or_class = setting.key.partition(" ")
    if name == USER:
        return f"ACL SETUSER {user_or_class} with its rules in docs/users.md"
    if _is_secret(name):
        return f"CONFIG SET {name}"
    value = _short(_shown(setting.wanted, None))
    return f'CONFIG SET {name} "{value}"' if " " in value else f"CONFIG SET {name} {value}"

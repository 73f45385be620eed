"""One HAProxy: its file against the inventory's, and what runs against the file.

HAProxy never says which configuration it runs with. What is known of it: when it started, which a file that changed
later contradicts; which files it was started with; and every server's address, weight and state, every limit.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from ipaddress import ip_address

from keydb_runbooks.runbooks.drift_certificate import Certificates, certificate_drift
from keydb_runbooks.runbooks.drift_machine import Exposure, File, Process, exposure_drift, file_drift, process_drift
from keydb_runbooks.runbooks.drift_values import Drift, Value, Verdict, unknown
from keydb_runbooks.runbooks.findings import Severity

HUNKS_SHOWN = 3
LINE_LENGTH = 60

# Lines that may be shown whole, and with a second word; others may hold a password, a token or the check's bytes.
_OPEN_WORDS = {
    "global", "defaults", "frontend", "backend", "listen", "bind", "server", "default-server",
    "maxconn", "balance", "mode", "timeout", "retries", "pidfile", "hard-stop-after",
}  # fmt: skip
_HALF_OPEN_WORDS = {"tcp-check", "option", "stats", "http-request"}

# Bits of srv_admin_state that somebody set by hand, and of srv_check_state (HAProxy's management guide,
# "show servers state").
_MAINTENANCE, _DRAIN = 0x01, 0x08
_CHECK_CONFIGURED, _CHECK_ENABLED = 0x02, 0x04


@dataclass(frozen=True)
class BackendServer:
    """A server line of one backend as it runs; ``admin`` is "" unless somebody holds it: "maint" or "drain"."""

    backend: str
    name: str
    address: str
    admin: str
    checked: bool
    weight: int
    first_weight: int

    @property
    def key(self) -> str:
        return f"{self.backend}/{self.name}"


@dataclass(frozen=True)
class RunningProxy:
    """What an HAProxy says of itself. ``started`` is in seconds, None if this version doesn't tell.

    ``frontends`` are status and connection limit by name.
    """

    started: int | None
    files: tuple[str, ...]
    connections: int
    frontends: Mapping[str, tuple[str, int]]
    servers: tuple[BackendServer, ...]
    process: Process | None = None


@dataclass(frozen=True)
class ProxyState:
    """One proxy of the inventory; ``running`` is None if it didn't answer, ``detail`` says why.

    ``stopped`` is True only if its own machine says that no HAProxy runs.
    """

    name: str
    wanted: str
    file: File
    running: RunningProxy | None
    detail: str = ""
    stopped: bool = False
    exposure: Exposure | None = None
    certificates: Certificates | None = None


@dataclass
class _Outline:
    """What of a configuration file can be seen in what runs."""

    connections: int | None = None
    frontends: dict[str, int | None] = field(default_factory=dict)
    servers: dict[str, str] = field(default_factory=dict)


class AnswerError(ValueError):
    """An answer of the runtime socket is not what HAProxy says."""


def running_proxy(information: str, statistics: str, servers: str, environment: str) -> RunningProxy:
    """Make a ``RunningProxy`` of the answers to show info, show stat, show servers state and show env.

    :raises AnswerError: if a field that every HAProxy tells is missing
    """
    told = dict(line.split(": ", 1) for line in information.splitlines() if ": " in line)
    try:
        rows = list(csv.DictReader(statistics.removeprefix("# ").splitlines()))
        fronts = {row["pxname"]: (row["status"], int(row["slim"])) for row in rows if row["svname"] == "FRONTEND"}
        process = Process(int(told["Pid"]), None, None)
        return RunningProxy(
            started=int(told["Start_time_sec"]) if "Start_time_sec" in told else None,
            files=tuple(filter(None, environment.strip().partition("=")[2].split(";"))),
            connections=int(told["Maxconn"]),
            frontends=fronts,
            servers=tuple(_backend_servers(servers)),
            process=process,
        )
    except (KeyError, ValueError) as error:
        raise AnswerError(f"HAProxy's answer can't be read: {error!r}") from None


def _backend_servers(text: str) -> Iterator[BackendServer]:
    # The first line is the format's version, the second one names the columns.
    _, head, *rows = text.strip().splitlines()
    names = head.removeprefix("# ").split()
    for row in rows:
        values = dict(zip(names, row.split(), strict=True))
        admin, check = int(values["srv_admin_state"]), int(values["srv_check_state"])
        yield BackendServer(
            backend=values["be_name"],
            name=values["srv_name"],
            address=f"{values['srv_addr']}:{values['srv_port']}",
            admin="maint" if admin & _MAINTENANCE else "drain" if admin & _DRAIN else "",
            checked=not check & _CHECK_CONFIGURED or bool(check & _CHECK_ENABLED),
            weight=int(values["srv_uweight"]),
            first_weight=int(values["srv_iweight"]),
        )


def proxy_drift(proxy: ProxyState, primary: str | None) -> Iterator[Drift]:
    """All in which a proxy's file differs from the inventory's, and what runs from the file.

    :param primary: the node that writes should go to: what holds it there is critical
    """
    yield from file_drift(proxy.name, proxy.file)
    if proxy.file.text and proxy.file.text != proxy.wanted:
        yield _lines_differ(proxy, proxy.file.text)
    if proxy.certificates is not None:
        yield from certificate_drift(proxy.name, proxy.certificates)
    if proxy.exposure is not None:
        # Nobody sees from a file's ctime that its mode alone was changed.
        yield from exposure_drift(proxy.name, proxy.exposure, ", and reload HAProxy")
    running = proxy.running
    if running is None:
        return
    yield from _age(proxy, running)
    if running.process is not None:
        yield from process_drift(proxy.name, running.process)
    yield from _by_hand(proxy, running, primary)
    yield from _visible(proxy, running)


def _age(proxy: ProxyState, running: RunningProxy) -> Iterator[Drift]:
    """Whether what runs is what the file says, as far as times tell: both are of the proxy's own machine."""
    absolute = [file for file in running.files if file.startswith("/")]
    if absolute and proxy.file.path not in absolute:
        sentence = f"was started with {' and '.join(absolute)}, not with {proxy.file.path}; start it with that"
        yield Drift("other-file", Verdict.DRIFTED, Severity.WARNING, proxy.name, sentence)
    if running.started is None:
        sentence = "this HAProxy doesn't tell when it started, so it may run with an older file; upgrade it"
        yield unknown("running-unknown", proxy.name, sentence)
    if _is_older(proxy, running):
        sentence = "its file changed after HAProxy started, so it runs with the older one; run install, or reload it"
        yield Drift("not-reloaded", Verdict.DRIFTED, Severity.WARNING, proxy.name, sentence)


def _is_older(proxy: ProxyState, running: RunningProxy) -> bool:
    changed, started = proxy.file.changed, running.started
    return changed is not None and started is not None and started < changed


def _by_hand(proxy: ProxyState, running: RunningProxy, primary: str | None) -> Iterator[Drift]:
    """What somebody set on the runtime socket, to last until somebody sets it back."""
    for server in running.servers:
        worst = server.name == primary and server.backend.endswith("-write")
        severity = Severity.CRITICAL if worst else Severity.WARNING
        if server.admin:
            sentence = f"was set to {server.admin} by hand; `set server {server.key} state ready` ends that"
            yield _differs("server-held", proxy, server.key, sentence, "ready", server.admin, severity)
        if not server.checked:
            sentence = f"is not checked any more, so its state stands still; `enable health {server.key}` ends that"
            yield _differs("check-off", proxy, server.key, sentence, "checked", "not checked", severity)
        if server.weight != server.first_weight:
            sentence = f"has weight {server.weight} by hand; `set weight {server.key} {server.first_weight}` ends that"
            first, weight = str(server.first_weight), str(server.weight)
            yield _differs("proxy-running-differs", proxy, f"{server.key} weight", sentence, first, weight)


def _visible(proxy: ProxyState, running: RunningProxy) -> Iterator[Drift]:
    """What runs against what it should have been started with: its file, unless that is known to be newer."""
    text = None if _is_older(proxy, running) else proxy.file.text
    measure = _outline(text or proxy.wanted)
    for key, wanted, found in _compared(running, measure):
        source = "its file" if text else "the inventory"
        sentence = f"runs with {found or 'nothing'}, {source} says {wanted or 'nothing'}; reload HAProxy"
        yield _differs("proxy-running-differs", proxy, key, sentence, wanted, found)
    for name in measure.frontends:
        status = running.frontends[name][0].lower() if name in running.frontends else "missing"
        if status != "open":
            sentence = f"takes no connections: it is {status}; `enable frontend {name}`, or a reload, ends that"
            severity = Severity.CRITICAL if name.endswith("-write") else Severity.WARNING
            yield _differs("frontend-closed", proxy, name, sentence, "open", status, severity)


def _compared(running: RunningProxy, measure: _Outline) -> Iterator[tuple[str, str | None, str | None]]:
    """Each limit and each address that isn't as it should be: its name, the wanted and the running value."""
    limits = {"maxconn": (measure.connections, running.connections)}
    for name, wanted in measure.frontends.items():
        if name in running.frontends:
            limits[f"{name} maxconn"] = (wanted, running.frontends[name][1])
    for key, (limit, running_limit) in limits.items():
        if limit is not None and limit != running_limit:
            yield key, str(limit), str(running_limit)
    found = {server.key: server.address for server in running.servers}
    for key in {**measure.servers, **found}:
        address, running_address = measure.servers.get(key), found.get(key)
        if not _same_place(address, running_address):
            yield f"{key} address", address, running_address


def _same_place(wanted: str | None, running: str | None) -> bool:
    if wanted is None or running is None:
        return False
    (host, _, port), (running_host, _, running_port) = wanted.rpartition(":"), running.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        # A name was resolved when HAProxy started: to what, only its resolver knows.
        return port == running_port
    return (str(address), port) == (running_host, running_port)


def _differs(
    code: str,
    proxy: ProxyState,
    key: str,
    sentence: str,
    wanted: Value,
    running: Value,
    severity: Severity = Severity.WARNING,
) -> Drift:
    return Drift(code, Verdict.DRIFTED, severity, proxy.name, sentence, key, wanted=wanted, running=running)


def _outline(text: str) -> _Outline:
    """Read as much of a configuration file as can be seen in what runs."""
    outline = _Outline()
    kind = name = ""
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not line[0].isspace():
            kind, name = words[0], " ".join(words[1:2])
            if kind in ("listen", "frontend"):
                outline.frontends[name] = None
        elif words[0] == "maxconn" and len(words) > 1 and words[1].isdecimal():
            if kind == "global":
                outline.connections = int(words[1])
            elif name in outline.frontends:
                outline.frontends[name] = int(words[1])
        elif words[0] == "server" and len(words) > 2:
            outline.servers[f"{name}/{words[1]}"] = words[2]
    return outline


def _lines_differ(proxy: ProxyState, text: str) -> Drift:
    wishes, lines = proxy.wanted.splitlines(), text.splitlines()
    hunks = [hunk for hunk in SequenceMatcher(None, wishes, lines, autojunk=False).get_opcodes() if hunk[0] != "equal"]
    places, told, wanted, found = [], [], [], []
    for _, first, last, begin, end in hunks:
        places.append(str(begin + 1))
        there, missing = _open(lines[begin:end]), _open(wishes[first:last])
        wanted += missing
        found += there
        told.append(_hunk(begin + 1, there, missing))
    more = f"; and {len(hunks) - HUNKS_SHOWN} more" if len(hunks) > HUNKS_SHOWN else ""
    sentence = f"{'; '.join(told[:HUNKS_SHOWN])}{more}; run install"
    return Drift(
        "proxy-file-differs",
        Verdict.DRIFTED,
        Severity.WARNING,
        proxy.name,
        sentence,
        f"line{'s' if len(places) > 1 else ''} {', '.join(places)}",
        wanted="\n".join(wanted) or None,
        on_disk="\n".join(found) or None,
    )


def _hunk(number: int, found: list[str], wanted: list[str]) -> str:
    if not found:
        return f"before line {number} {_listed(wanted)} is missing"
    if not wanted:
        return f"line {number} {_listed(found)} is not wanted"
    return f"line {number} is {_listed(found)}, wanted is {_listed(wanted)}"


def _listed(lines: list[str]) -> str:
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"`{lines[0][:LINE_LENGTH]}`{more}"


def _open(lines: list[str]) -> list[str]:
    """Lines without what may be secret in them."""
    return [_open_line(line.split()) for line in lines]


def _open_line(words: list[str]) -> str:
    if not words:
        return "(blank)"
    if words[0].startswith("#"):
        return "(comment)"
    shown = len(words) if words[0] in _OPEN_WORDS else 2 if words[0] in _HALF_OPEN_WORDS else 1
    return " ".join([*words[:shown], *(["..."] if len(words) > shown else [])])

"""What drifted, as a short list for people, at most 80 columns wide, or as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from functools import partial
from textwrap import wrap
from typing import Any

from pyinfra.api.host import Host
from rich.console import Console
from rich.text import Text

from keydb_runbooks.connectors import ahead
from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import in_parallel
from keydb_runbooks.facts import machine as facts
from keydb_runbooks.facts.observation import observe, questions_of
from keydb_runbooks.facts.running import questions_of_proxy, questions_of_server, read_proxies, read_servers
from keydb_runbooks.operations import (
    asked,
    certificates,
    endings,
    firewall,
    haproxy,
    keydb,
    passwords,
    pods_drift,
    scope,
)
from keydb_runbooks.operations.pod_objects import is_pod
from keydb_runbooks.operations.status import STYLES
from keydb_runbooks.runbooks.drift import drift
from keydb_runbooks.runbooks.drift_machine import Exposure
from keydb_runbooks.runbooks.drift_server import not_compared
from keydb_runbooks.runbooks.drift_values import Drift, Unseen, Verdict, verdict
from keydb_runbooks.runbooks.exit_codes import ExitCode

VERSION = 1
"""Of the JSON document; a new one is a document that a program for the old one may misread."""

WIDTH = 80
UNKNOWN_STYLE = "magenta"

CODES = {
    Verdict.FINE: ExitCode.DONE,
    Verdict.DRIFTED: ExitCode.DRIFTED,
    Verdict.UNKNOWN: ExitCode.UNREACHED,
}
"""What ``keydb-runbooks`` exits with."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found in one group."""

    group: str
    servers: tuple[str, ...]
    proxies: tuple[str, ...]
    drifts: tuple[Drift, ...]
    not_compared: dict[str, tuple[str, ...]]


def report(host: Host) -> None:
    """The body of the drift deploy: print what drifted on standard output, and end the run.

    The exit code is 0 if all is as it should be. Ending it here spares a read-only verb pyinfra's question.
    """
    groups = scope.groups(host)
    shown = asked.one_of(host, "format", "text", "json")
    if not scope.speaks_for_all(host):
        return
    reports = in_parallel(look, groups)
    if shown == "json":
        print(drift_json(reports))
    else:
        print_reports(reports)
    endings.tell(CODES[verdict(found for one in reports for found in one.drifts)])
    raise SystemExit(1 if any(one.drifts for one in reports) else 0)


def look(group: Group) -> Report:
    """Read a whole group and judge it."""
    _ask_ahead(group)
    topology = observe(group)
    servers = [
        dataclasses.replace(server, firewall=filtered, exposure=exposed, certificates=held)
        for server, filtered, exposed, held in zip(
            read_servers(group, topology, keydb.wanted_configuration),
            in_parallel(partial(firewall.found, group), group.nodes),
            in_parallel(_exposure, group.nodes),
            certificates.of_servers(group, topology),
            strict=True,
        )
    ]
    # What somebody else's HAProxy says is measured by nothing of ours.
    ours = dataclasses.replace(group, proxies=tuple(proxy for proxy in group.proxies if not proxy.adopted))
    proxies = [
        dataclasses.replace(proxy, exposure=exposed, certificates=held)
        for proxy, exposed, held in zip(
            read_proxies(ours, topology, lambda entry: haproxy.wanted_configuration(group, entry)),
            in_parallel(_exposure, ours.proxies),
            certificates.of_proxies(ours.proxies),
            strict=True,
        )
    ]
    beside = (*pods_drift.found(group, topology), *certificates.of_authority(group))
    return Report(
        group=group.name,
        servers=tuple(node.name for node in group.nodes),
        proxies=tuple(proxy.name for proxy in group.proxies),
        drifts=drift(topology, tuple(servers), tuple(proxies), beside),
        not_compared={server.name: names for server in servers if (names := not_compared(server))},
    )


def _ask_ahead(group: Group) -> None:
    """Ask each machine by one command for all that is compared."""
    for node in group.nodes:
        beside = (*firewall.questions_of(node), *certificates.questions_of_server(node))
        ahead.ask(node.host, (*questions_of(node), *questions_of_server(node), *_exposure_of(node), *beside))
    for proxy in (proxy for proxy in group.proxies if not proxy.adopted):
        beside = certificates.questions_of_proxy(proxy)
        ahead.ask(proxy.host, (*questions_of_proxy(proxy), *_exposure_of(proxy), *beside))


def _exposure(entry: NodeEntry | ProxyEntry) -> Exposure | None:
    """Who may read an entry's passwords on its machine. In a container there is nobody else."""
    found = [ahead.quiet_answer(entry.host, question) for question in _exposure_of(entry) if entry.host.connected]
    return Exposure(**found[0]) if found else None


def _exposure_of(entry: NodeEntry | ProxyEntry) -> tuple[ahead.Question, ...]:
    if is_pod(entry):
        return ()
    paths = [kept for path in passwords.files(entry) for kept in (path, f"{path}.previous")]
    pid_file = str(entry.data("keydb_pid_file")) if isinstance(entry, NodeEntry) else ""
    return ((facts.Exposure, {"paths": paths, "pid_file": pid_file}),)


def print_reports(reports: Iterable[Report]) -> None:
    """Print a summary for each group, and its drifts."""
    console = Console(width=WIDTH, highlight=False)
    for one in reports:
        console.print(Text("\n").join([_summary(one), *_drifts(one.drifts), *_not_compared(one)]))


def drift_json(reports: Iterable[Report]) -> str:
    """The document that ``schemas/drift.json`` describes."""
    told = list(reports)
    document = {
        "version": VERSION,
        "verdict": verdict(found for one in told for found in one.drifts).value,
        "groups": [_group(one) for one in told],
    }
    return json.dumps(document, indent=2)


def _group(told: Report) -> dict[str, Any]:
    return {
        "group": told.group,
        "verdict": verdict(told.drifts).value,
        "servers": list(told.servers),
        "proxies": list(told.proxies),
        "drifts": [_plain(one) for one in told.drifts],
        "not_compared": {name: list(names) for name, names in told.not_compared.items()},
    }


def _plain(one: Drift) -> dict[str, str | None]:
    """A drift as JSON has it: what wasn't seen or doesn't apply is left out, null says that there is none."""
    fields = {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}
    fields |= {"verdict": one.verdict.value, "severity": one.severity.value}
    return {
        name: value for name, value in fields.items() if not isinstance(value, Unseen) and (name, value) != ("key", "")
    }


def _summary(told: Report) -> Text:
    members = [_count(len(told.servers), "server"), _count(len(told.proxies), "proxy", "proxies")]
    drifted = sum(one.verdict is Verdict.DRIFTED for one in told.drifts)
    unknown = len(told.drifts) - drifted
    counts = f"{drifted} drifted, {unknown} unknown" if told.drifts else "all as it should be"
    return Text(f"{told.group}: {counts} ({' and '.join(members)})", style="bold" if told.drifts else "green")


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"


def _drifts(drifts: tuple[Drift, ...]) -> list[Text]:
    """Each drift in two lines or more; the same one at several places once, where its first stands."""
    told: dict[Drift, list[Drift]] = {}
    for one in drifts:
        told.setdefault(dataclasses.replace(one, where=""), []).append(one)
    return [_drift(same) for same in told.values()]


def _drift(same: list[Drift]) -> Text:
    one = same[0]
    known = one.verdict is Verdict.DRIFTED
    word, style = (one.severity.value, STYLES[one.severity]) if known else (one.verdict.value, UNKNOWN_STYLE)
    where = ", ".join(drift.where for drift in same)
    head = wrap(f"{one.code} {where}{': ' + one.key if one.key else ''}", WIDTH - 9, subsequent_indent=" ")
    body = wrap(one.sentence, WIDTH - 11, break_on_hyphens=False)
    text = Text().append(f"{word:<8} ", style=style).append(f"\n{'':9}".join(head), style="bold")
    return text.append("".join(f"\n{'':11}{line}" for line in body))


def _not_compared(told: Report) -> list[Text]:
    lines = [f"not compared with what runs: {', '.join(names)} of {name}" for name, names in told.not_compared.items()]
    return [Text("\n".join(wrap(line, WIDTH, subsequent_indent="  ")), style="dim") for line in lines]

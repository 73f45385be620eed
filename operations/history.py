"""The history of a group, merged from this machine's and every node's, as a table for people or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api.host import Host
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import in_parallel
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.operations import asked, endings, scope
from keydb_runbooks.operations.record import NODE_SECONDS, operators_file
from keydb_runbooks.runbooks.exit_codes import ExitCode

VERSION = 1
"""Of the JSON document."""

WIDTH = 80
SHOWN = 50
"""How many runs the table has; JSON has all."""

STYLES = {"done": "green", "nothing to do": "dim", "refused": "yellow"}

# $1 the file. One that isn't there yet is an empty history; one that can't be read is a failure. The last line tells
# that all came.
READ = """
for file in "$1.1" "$1"; do [ ! -e "$file" ] || cat "$file" || exit 1; done
echo; echo end
"""


@dataclass(frozen=True)
class History:
    """Runs by time; ``unread`` are places that couldn't be read, ``broken`` counts lines that aren't JSON."""

    group: str
    runs: tuple[dict[str, Any], ...]
    unread: tuple[str, ...]
    broken: int


def report(host: Host) -> None:
    """The body of the history deploy: print it on standard output, and end the run."""
    group = scope.chosen_group(host)
    if not scope.conducts(host, group):
        return
    shown = asked.one_of(host, "format", "text", "json")
    found = read(group)
    if shown == "json":
        document = {"version": VERSION, "group": found.group, "runs": list(found.runs), "unread": list(found.unread)}
        print(json.dumps({**document, "broken_lines": found.broken}, indent=2))
    else:
        print_history(found)
    endings.tell(ExitCode.UNREACHED if found.unread else ExitCode.DONE)
    raise SystemExit(0)


def read(group: Group) -> History:
    """Everything that can be read now."""
    path = operators_file(group)
    lines: dict[str, list[str] | None] = {str(path): _here(path)}
    lines |= dict(zip((node.name for node in group.nodes), in_parallel(_on, group.nodes), strict=True))
    runs, broken = merged(line for found in lines.values() for line in found or ())
    unread = tuple(place for place, found in lines.items() if found is None)
    return History(group.name, tuple(run for run in runs if run["group"] == group.name), unread, broken)


def merged(lines: Iterable[str]) -> tuple[list[dict[str, Any]], int]:
    """The runs that lines tell of, each once, in the order in which they began; and how many lines tell of none."""
    runs: dict[str, dict[str, Any]] = {}
    broken = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            run = json.loads(line)
            runs[str(run["id"])] = {**run, "group": run["group"], "started": str(run["started"])}
        except (ValueError, TypeError, KeyError, RecursionError):
            broken += 1
    return sorted(runs.values(), key=lambda run: run["started"]), broken


def print_history(found: History) -> None:
    """Print the last runs as a table, and what could not be read."""
    table = Table("began (UTC)", "who", "verb", "outcome", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for run in found.runs[-SHOWN:]:
        outcome = str(run.get("outcome"))
        told = Text(outcome, style=STYLES.get(outcome, "red"))
        if run.get("code"):
            told.append(f" {run['code']}")
        who = _part(run, "who")
        verb = f"{run.get('verb')} {_target(run)}".strip()
        began, by = run["started"][:19].replace("T", " "), f"{who.get('user')}@{who.get('machine')}"
        table.add_row(*map(Text, (began, by, verb)), told)
    console = Console(width=WIDTH, highlight=False)
    console.print(table if found.runs else Text(f"{found.group}: no run is remembered", style="dim"))
    if len(found.runs) > SHOWN:
        console.print(Text(f"the last {SHOWN} of {len(found.runs)} runs; format=json has all", style="dim"))
    for place in found.unread:
        console.print(Text(f"could not be read: {place}", style="yellow"))
    if found.broken:
        console.print(Text(f"{found.broken} lines could not be understood", style="yellow"))


def _target(run: dict[str, Any]) -> str:
    plan = _part(run, "plan")
    former, primary = plan.get("former"), plan.get("primary")
    return f"{former} > {primary}" if former and former != primary else str(primary or "")


def _part(run: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a run's document; whatever else a line has in its place is none."""
    part = run.get(name)
    return part if isinstance(part, dict) else {}


def _here(path: Path) -> list[str] | None:
    found: list[str] = []
    for one in (path.with_name(f"{path.name}.1"), path):
        try:
            found += one.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return found


def _on(node: NodeEntry) -> list[str] | None:
    if not node.host.connected:
        return None
    path = node.data("keydb_history_file")
    command = script(READ, path)
    try:
        lines = run_quietly(node.host, command, timeout_seconds=NODE_SECONDS)
    except OSError:  # TimeoutError is one
        return None
    return lines[:-1] if lines and lines[-1] == "end" else None

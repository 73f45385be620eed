"""Groups as trees for people, at most 80 columns wide, or as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from enum import Enum
from typing import Any

from pyinfra.api.host import Host
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from keydb_runbooks.connectors import ahead
from keydb_runbooks.connectors.group import all_groups
from keydb_runbooks.connectors.link import in_parallel
from keydb_runbooks.facts.observation import observe, questions_of
from keydb_runbooks.operations import asked, endings, scope
from keydb_runbooks.operations.invocation import command_of
from keydb_runbooks.runbooks.exit_codes import ExitCode
from keydb_runbooks.runbooks.findings import Finding, Severity, find
from keydb_runbooks.runbooks.incident import next_verb
from keydb_runbooks.runbooks.replication import Node, Unread
from keydb_runbooks.runbooks.topology import Topology

VERSION = 1
"""Of the JSON document; a new one is a document that a program for the old one may misread."""

STYLES = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.NOTICE: "cyan"}


def report(host: Host) -> None:
    """The body of the status deploy: print groups on standard output, as trees or as JSON, and end the run.

    Ending it here, with nothing to execute, spares a read-only verb pyinfra's question whether to go on.
    """
    groups = scope.groups(host)
    shown = asked.one_of(host, "format", "text", "json")
    if not scope.speaks_for_all(host):
        return
    for node in (node for group in groups for node in group.nodes):
        ahead.ask(node.host, questions_of(node))
    topologies = in_parallel(observe, groups)
    if shown == "json":
        print(topologies_json(topologies))
    else:
        print_topologies(topologies, several=len(all_groups(host.inventory)) > 1)
        for group in groups:
            scope.advise(group)
    silent = any(one.unread or one.unread_proxies for one in topologies)
    endings.tell(ExitCode.UNREACHED if silent else ExitCode.DONE)
    raise SystemExit(1 if host.state.failed_hosts else 0)


def print_topologies(topologies: Iterable[Topology], *, several: bool) -> None:
    """Print each group as a tree, with what each proxy believes, what is wrong, and the command that comes next.

    :param several: whether the inventory has more groups than one, so that a command has to name its own
    """
    console = Console()
    for number, topology in enumerate(topologies):
        if number:
            console.print()
        findings = find(topology)
        console.print(Group(_tree(topology), _proxies(topology), _findings(findings)))
        if following := next_verb(findings):
            verb, node = following
            options = {**({"group": topology.group} if several else {}), **({} if node is None else {"node": node})}
            # It is pasted, so it stays on one line.
            console.print(Text(f"next: {command_of(verb, options)}", style="bold"), soft_wrap=True)


def topologies_json(topologies: Iterable[Topology]) -> str:
    """The same as JSON: every field of every node, and the findings."""
    told = [{**_plain(topology), "findings": _plain(find(topology))} for topology in topologies]
    return json.dumps({"version": VERSION, "groups": told}, indent=2)


def _tree(topology: Topology) -> Tree:
    primary = topology.rightful_primary()
    versions = ", ".join(sorted({f"{node.engine} {node.version}" for node in topology.nodes}))
    root = Tree(Text(f"group {topology.group}  {versions}", style="bold"))
    followers = [node for node in topology.nodes if primary is not None and node.follows(primary)]
    if primary is not None:
        branch = root.add(_row(primary, primary))
        for node in followers:
            branch.add(_row(node, primary))
    for node in topology.nodes:
        if node is not primary and node not in followers:
            root.add(_row(node, primary))
    for unread in topology.unread:
        root.add(_unread_row(unread))
    return root


def _row(node: Node, primary: Node | None) -> Text:
    text = Text(f"{node.name:<10} ", style="bold")
    role = "guarded" if node.guarded else node.role.value
    if node.is_primary and node is not primary:
        role = "primary?"
    text.append(f"{role:<8}", style="green" if node is primary else "default")
    text.append(f" {node.address}  offset {node.offset:,}", style="default")
    if node.link is not None and primary is not None and node.follows(primary):
        text.append(f"  lag {max(primary.offset - node.offset, 0):,} B", style="default")
        text.append("  in sync" if node.link.alive else "  no link", style="green" if node.link.alive else "red")
    if node is primary:
        text.append(f"  epoch {'unknown' if node.epoch is None else node.epoch}", style="default")
    for held, word in ((node.paused, "paused"), (node.fenced, "fenced")):
        text.append(f"  {word}" if held else "", style=STYLES[Severity.CRITICAL])
    return text


def _unread_row(unread: Unread) -> Text:
    state = "stopped" if unread.stopped else "unknown"
    text = Text(f"{unread.name:<10} ", style="bold")
    text.append(f"? {state}", style="red")
    text.append(f"  {unread.detail}", style="default")
    return text


def _proxies(topology: Topology) -> Table:
    table = Table("proxy", "writes go to", "reads go to", "sessions", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for proxy in topology.proxies:
        readers = ", ".join(server.node for server in proxy.readers if server.up) or "nobody"
        sessions = sum(server.sessions for server in (*proxy.writers, *proxy.readers))
        table.add_row(proxy.name, ", ".join(proxy.writes_go_to) or "nobody", readers, str(sessions))
    for service in topology.services:
        table.add_row(service.name, ", ".join(service.writes_go_to) or "nobody", "", "")
    for unread in topology.unread_fronts:
        table.add_row(unread.name, "? unknown", "? unknown", "?")
    return table


def _findings(findings: tuple[Finding, ...]) -> Table | Text:
    """One under the other, each wrapped beneath itself."""
    if not findings:
        return Text("healthy: nothing found", style="green")
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(min_width=len(Severity.CRITICAL.value))
    for finding in findings:
        told = Text(f"{finding.code} {finding.where}: {finding.sentence}")
        table.add_row(Text(finding.severity.value, style=STYLES[finding.severity]), told)
    return table


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value

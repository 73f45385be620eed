"""What ``make bench`` prints of its figures, and what the project's goals say of them."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

PLANNED = {
    "status": "nothing moves: status",
    "switchover": "switchover",
    "server": "FAILOVER, told to the proxy at once",
    "server, checks": "FAILOVER, found by its checks",
    "sentinel": "SENTINEL FAILOVER, found by its checks",
}
LOST = {"kill": "killed", "freeze": "frozen", "cut": "cut off"}
FACTOR = 10
ENTER_SECONDS = 1.5
SILENT_SECONDS = 2.0
"""The operator's own part of the evidence, if the old primary is silent: one ``keydb_connect_timeout``."""


def span(values: list[float]) -> str:
    return f"{median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def show(seen: dict[str, Any], console: Console) -> None:
    about, lost = seen["about"], {name: rows for name, rows in seen["failover"].items() if rows}
    rounds, failovers = (min(map(len, kind.values()), default=0) for kind in (seen["planned"], lost))
    console.print(f"{about['engine'].split(' sha')[0]}, {about['cores']} cores, load {about['load']:.1f} at the end")
    console.print(f"4 clients, {about['writes_per_second']:,} writes a second; median (min-max)")
    console.print(f"n = {rounds}, of failovers {failovers}")
    ours = median(move["gap"] for move in seen["planned"]["switchover"])
    table = Table("planned", "gap ms", "times ours", "lost", title="Nobody failed: the role moves on purpose")
    for name, moves in seen["planned"].items():
        gaps = [move["gap"] for move in moves]
        times = f"{median(gaps) / ours:.1f}" if name not in ("status", "switchover") else "-"
        table.add_row(PLANNED[name], span(gaps), times, span([move["lost"] for move in moves]))
    for column in (1, 2, 3):
        table.columns[column].justify = "right"
    console.print(table)
    table = Table("primary", "evidence ms", "Enter to write ms", "gap ms", "lost", title="failover")
    for name, rows in lost.items():
        figures = [span([row[key] for row in rows]) for key in ("evidence", "enter", "gap", "lost")]
        table.add_row(LOST[name], *figures)
    for column in (1, 2, 3, 4):
        table.columns[column].justify = "right"
    console.print(table)
    _judge(seen["planned"], lost, console)


def _judge(planned: dict[str, Any], lost: dict[str, Any], console: Console) -> None:
    """What the goals say of these figures; nothing is asserted, since another machine has others."""
    gap = {name: median(move["gap"] for move in moves) for name, moves in planned.items()}
    times = gap["server"] / gap["switchover"]
    lost_writes = sum(move["lost"] for move in planned["switchover"])
    console.print(
        f"{_met(times >= FACTOR)} gap at least {FACTOR} times shorter than the server's own FAILOVER: {times:.1f}"
    )
    console.print(f"{_met(lost_writes == 0)} no acknowledged write lost by a switchover: {lost_writes}")
    for name, rows in lost.items():
        seconds = median(row["enter"] for row in rows) / 1000
        within = ENTER_SECONDS + (0 if name == "kill" else SILENT_SECONDS)
        told = f"from Enter to a write within {within} s, {LOST[name]}: {seconds:.2f} s"
        console.print(f"{_met(seconds <= within)} {told}")


def _met(good: bool) -> str:
    return "met:    " if good else "not met:"

"""How long writing clients wait, and what they lose, when the primary role moves: ``make bench``.

    RUNS=50 FAILOVERS=10 python -m bench.moves        (docs/bench.md tells how it is measured)

On one group, with the same clients, in one run: this project's switchover, the server's own FAILOVER, Sentinel's
planned failover; then this project's failover of a killed, a frozen and a cut-off primary. The figures are printed,
and kept as JSON in build/bench/moves.json.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.progress import Progress

from bench.group import REPOSITORY, WRITES_PER_SECOND, BenchGroup, Move, eventually, moving
from bench.sentinels import fail_over, watched
from bench.table import LOST, PLANNED, show
from keydb_runbooks.connectors.programs import find_proxy, find_server

ROLE_SECONDS = 0.25
OUTPUT = Path(os.environ.get("BENCH_OUTPUT", REPOSITORY / "build" / "bench" / "moves.json"))


def status(group: BenchGroup) -> Move:
    with moving(group) as writers:
        begin, moments = group.timed("status")
        writers.write_on()
        return writers.seen(begin, moments)


def switchover(group: BenchGroup) -> Move:
    with moving(group) as writers:
        begin, moments = group.timed("switchover", to=group.next_of(group.primary))
        writers.write_on()
        return writers.seen(begin, moments)


def server(group: BenchGroup, *, told: bool) -> Move:
    """The server's own command; its siblings stay with the old primary, so the group is mended behind it."""
    old = group.primary
    new = group.next_of(old)
    with (
        moving(group) as writers,
        closing(group.client(new, "bench", timeout=ROLE_SECONDS)) as client,
        closing(group.client(old, "bench")) as asked,
    ):
        client.ping()
        begin = time.monotonic()
        asked.execute_command("FAILOVER", "TO", group.known_address_of(new), group.port_of(new), "TIMEOUT", 10000)
        while not _is_primary(client):
            time.sleep(0.0005)
        if told:
            group.route(new)
        writers.write_on()
        seen = writers.seen(begin)
    group.mend()
    return seen


def _is_primary(client: redis.Redis) -> bool:
    """While it fails over a KeyDB may answer nobody for seconds."""
    with suppress(redis.TimeoutError, redis.ConnectionError):
        return bool(client.execute_command("ROLE")[0] == "master")
    return False


def sentinel(group: BenchGroup) -> Move:
    with watched(group) as asked, moving(group) as writers:
        begin = fail_over(group, asked)
        writers.write_on()
        seen = writers.seen(begin)
    group.mend()
    return seen


def lost(group: BenchGroup, kind: str) -> tuple[Move, float, float]:
    """Lose the primary, wait until the evidence rule is satisfied, press Enter.

    :returns: what clients saw; milliseconds from the fault until the evidence was there; and from Enter to the first
        write that was acknowledged
    """
    old = group.primary
    acts: dict[str, Callable[[str], None]] = {"kill": group.kill, "freeze": group.freeze, "cut": group.network.cut}
    with moving(group) as writers:
        fault = time.monotonic()
        acts[kind](old)
        eventually(lambda: group.is_gone(old), f"nobody hears {old}, and no route leads there", 15)
        evidence = time.monotonic()
        enter, moments = group.timed("failover")
        writers.write_on()
        first = writers.first_answer_behind(enter)
        if kind == "freeze":
            group.thaw(old)
        if kind == "cut":
            group.network.heal()
        eventually(lambda: group.pid(old) is None or group.answers(old), f"{old} answers or is gone")
        seen = writers.seen(fault, moments)
    group.mend()
    return seen, (evidence - fault) * 1000, (first - enter) * 1000


PLANNED_WAYS: dict[str, Callable[[BenchGroup], Move]] = {
    "status": status,
    "switchover": switchover,
    "server": lambda group: server(group, told=True),
    "server, checks": lambda group: server(group, told=False),
    "sentinel": sentinel,
}


def measure(runs: int, failovers: int, seen: dict[str, Any], console: Console) -> None:
    """Measure each way once a round, so that whatever else this machine does meets all of them alike.

    :param failovers: in how many of the rounds primaries are lost too, which takes most of a round's time
    :param seen: what was measured so far, filled as it comes
    """
    with Progress(console=console, transient=True) as progress, ExitStack() as groups:
        task = progress.add_task("moves", total=runs * len(PLANNED_WAYS) + failovers * len(LOST))
        engine, _ = find_server(os.environ.get("KEYDB_SANDBOX_ENGINE"))
        near, relayed = (groups.enter_context(_founded(engine, relays=relays)) for relays in (False, True))
        for number in range(runs):
            for name, way in PLANNED_WAYS.items():
                seen["planned"][name].append(asdict(way(near)))
                progress.advance(task)
            for kind in LOST if number < failovers else ():
                seen["failover"][kind].append(_row(lost(relayed if kind == "cut" else near, kind)))
                progress.advance(task)
            _save(seen)


@contextmanager
def _founded(engine: str, *, relays: bool) -> Iterator[BenchGroup]:
    group = BenchGroup(engine, relays=relays)
    try:
        group.found()
        yield group
    finally:
        group.remove()


def _save(seen: dict[str, Any]) -> None:
    seen["about"]["load"] = os.getloadavg()[0]
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(seen, indent=1) + "\n")


def _row(seen: tuple[Move, float, float]) -> dict[str, Any]:
    move, evidence, enter = seen
    return {**asdict(move), "evidence": evidence, "enter": enter}


def _about(engine: str) -> dict[str, Any]:
    def version(*words: str) -> str:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[0]  # noqa: S603

    return {
        "engine": version(find_server(engine)[1], "--version"),
        "proxy": version(find_proxy(), "-v"),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "writes_per_second": WRITES_PER_SECOND,
        "milliseconds": "gap, evidence, enter, moments",
    }


def main() -> int:
    runs = int(os.environ.get("RUNS", "3"))
    failovers = min(runs, int(os.environ.get("FAILOVERS") or runs))
    engine, _ = find_server(os.environ.get("KEYDB_SANDBOX_ENGINE"))
    seen: dict[str, Any] = {
        "about": _about(engine),
        "planned": {name: [] for name in PLANNED},
        "failover": {name: [] for name in LOST},
    }
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    interrupted = False
    try:
        measure(runs, failovers, seen, Console(stderr=True))
    except KeyboardInterrupt:
        interrupted = True
    if not all(seen["planned"].values()):
        print("interrupted before the first round was done: nothing was measured")
        return 130
    _save(seen)
    show(seen, Console(width=80, highlight=False))
    print(f"every figure: {OUTPUT.relative_to(Path.cwd()) if OUTPUT.is_relative_to(Path.cwd()) else OUTPUT}")
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())

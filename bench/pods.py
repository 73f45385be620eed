"""How long clients in a pod wait when the primary role moves on pods: ``make bench-kubernetes RUNS=50``.

    python -m tests.kubernetes.lab python -m bench.pods 50        (docs/bench.md tells how it is measured)

Two groups that install made, one behind a Service that is moved, one behind proxies. In each round the role moves in
each way once: by ``service``, by ``haproxy``, and by the label that charts and operators move, as kindly as can be.
Beside them nothing moves: a ``status`` runs, or every client's connection is ended once. The figures are printed, and
kept as JSON in build/bench/pods.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import redis
from redis.connection import ConnectionPool
from rich.console import Console
from rich.table import Table

from bench.cuts import Moments, cuts, read_clock
from keydb_runbooks.connectors.link import LinkConnection
from keydb_runbooks.connectors.pods import STDOUT, Pod
from tests.kubernetes.group import _plain, eventually
from tests.kubernetes.images import ENGINE, PROXY_IMAGE
from tests.kubernetes.installed import Installed, InstalledRuns
from tests.kubernetes.runs import INVENTORY, REPOSITORY, Writer, longest_gap
from tests.sandbox.printed import Result

OUTPUT = Path(os.environ.get("BENCH_OUTPUT", REPOSITORY / "build" / "bench" / "pods.json"))
WAYS = {
    "status": "nothing moves: status",
    "ended": "nothing moves: every connection is ended once",
    "service": "switchover, keydb_routing = service",
    "haproxy": "switchover, keydb_routing = haproxy",
    "label": "a label is moved, as charts and operators do",
}
GOALS = {"service": (80, 200), "haproxy": (25, 60)}
"""Milliseconds: of the median, and of the longest."""

LABEL = "bench/role"
TAIL = 12_000
"""Lines of a journal that are more than what is written during one move."""

KILLING_SECONDS = 2.5
"""The second patch's rules come a second behind the first one's."""


class Behind(Installed):
    """A group that install makes, with one kind of routing."""

    def __init__(self, folder: Path, routing: str) -> None:
        super().__init__(folder)
        self.routing = routing

    def environment(self) -> dict[str, str]:
        proxies = {"KEYDB_KUBERNETES_ROUTING": self.routing, "KEYDB_KUBERNETES_PROXY_IMAGE": PROXY_IMAGE}
        return {**super().environment(), **proxies}

    def writer(self, name: str, clients: int, per_second: int, patience_seconds: int) -> dict[str, Any]:
        made = super().writer(name, clients, per_second, patience_seconds)
        if name.startswith("label"):
            made["spec"]["containers"][0]["args"][0] = "keydb-label"
        return made


class Timed(InstalledRuns):
    """Runs of which each step's begin and end are written down."""

    group: Behind

    @property
    def clock(self) -> Path:
        return self.group.folder / "clock.txt"

    def well(self) -> str:
        """Wait until nothing is found; who is the primary then."""
        seen: dict[str, Any] = {}

        def is_well() -> bool:
            seen.update(self.status())
            return seen["findings"] == []

        eventually(is_well, "the group is well", 60)
        (name,) = [str(node["name"]) for node in seen["nodes"] if node["role"] == "primary"]
        return name

    def timed(self, verb: str, **data: str) -> Result:
        given = [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
        clocked = [sys.executable, "bench/clocked.py", str(self.clock)]
        return self._ended([*clocked, INVENTORY, f"deploys/{verb}.py", *given, "-y"], {})


class Clients(Writer):
    """Clients of which a move's part of the journal is read."""

    def journal(self) -> list[list[str]]:
        printed: list[bytes] = []
        pod = Pod(self.runs.admin, self.runs.group.namespace, self.name, "writer")
        words = ["tail", "-n", str(TAIL), "/tmp/journal"]  # noqa: S108 - the pod's
        pod.run(words, seen=lambda at, text: printed.append(text) if at == STDOUT else None)
        rows = [line.split() for line in b"".join(printed).decode().splitlines()[1:]]
        return [row for row in rows if len(row) == 4]

    def whole(self) -> Writer:
        return Writer(self.runs, self.name)

    def wait(self, since: float) -> list[list[str]]:
        """The journal, once every client wrote again long enough for whoever is left behind to be seen."""
        time.sleep(1)
        seen: list[list[str]] = []

        def all_write() -> bool:
            nonlocal seen
            seen = self.journal()
            newest = max(float(row[0]) for row in seen)
            written = {row[1] for row in seen if row[3] == "ok" and float(row[0]) > newest - 0.3}
            return newest > since + 1 and len(written) == 4

        eventually(all_write, f"every client of {self.name} writes", 60)
        return seen


def other_than(primary: str) -> str:
    return "keydb-1" if primary == "keydb-0" else "keydb-0"


@dataclass(frozen=True)
class Act:
    """What was done: its moments, and for how many milliseconds behind it clients were led to the old primary."""

    moments: Moments | None = None
    astray: float | None = None


def look(runs: Timed, _: str) -> Act:
    runs.run("status").ok()
    return Act()


def end_connections(runs: Timed, primary: str) -> Act:
    """What any move does to clients, and nothing else."""
    with operator(runs, primary) as node:
        assert node.execute_command("CLIENT", "KILL", "USER", "application") >= 4
        ended = time.monotonic()
    return Act(Moments(ended, ended))


def switchover(runs: Timed, primary: str) -> Act:
    runs.clock.unlink(missing_ok=True)
    runs.timed("switchover", to=other_than(primary)).ok()
    return Act(read_clock(runs.clock, "MoveService" if runs.group.routing == "service" else "Route"))


def move_label(runs: Timed, old: str) -> Act:
    """What switchover does, but for the routing: two labels, and whoever is connected to the old one is ended until
    both patches have come everywhere."""
    new, third = other_than(old), "keydb-2"
    with ExitStack() as links:
        nodes = {pod: links.enter_context(operator(runs, pod)) for pod in (old, new, third)}
        nodes[old].execute_command("CLIENT", "PAUSE", "10000", "WRITE")
        offset = int(nodes[old].info("replication")["master_repl_offset"])
        while int(nodes[new].info("replication")["slave_repl_offset"]) < offset:
            time.sleep(0.001)
        nodes[new].config_set("min-replicas-to-write", 0)
        nodes[new].execute_command("REPLICAOF", "NO", "ONE")
        promoted = last = time.monotonic()
        label(runs, new, "primary")
        label(runs, old, "replica")
        told = time.monotonic()
        for pod in (third, old):
            nodes[pod].execute_command("REPLICAOF", f"{new}.keydb.{runs.group.namespace}.svc.cluster.local", "6379")
        nodes[old].execute_command("CLIENT", "UNPAUSE")
        end = time.monotonic() + KILLING_SECONDS
        while time.monotonic() < end:
            for row in str(nodes[old].execute_command("CLIENT LIST")).splitlines():
                fields = dict(part.partition("=")[::2] for part in row.split())
                if fields.get("user") == "application":
                    nodes[old].execute_command("CLIENT", "KILL", "ID", fields["id"])
                    last = time.monotonic()
            time.sleep(0.01)
        nodes[new].config_set("min-replicas-to-write", 1)
    return Act(Moments(promoted, told), 1000 * (last - promoted))


@contextmanager
def operator(runs: Timed, pod: str) -> Iterator[redis.Redis]:
    """A link as the operator."""
    there = Pod(runs.admin, runs.group.namespace, pod, "server")
    pool = ConnectionPool(
        connection_class=LinkConnection,
        dial=lambda timeout: there.connect(6379, timeout),
        tls_ca=None,
        username="operator",
        password=runs.group.passwords["operator"],
        protocol=2,
        decode_responses=True,
        driver_info=None,
    )
    client = redis.Redis(connection_pool=pool)
    client.set_response_callback("CLIENT LIST", lambda text, **_: text)
    try:
        yield client
    finally:
        client.close()


def label(runs: Timed, pod: str, role: str) -> None:
    runs.group.core.patch_namespaced_pod(pod, runs.group.namespace, {"metadata": {"labels": {LABEL: role}}})


def installed(folder: Path, routing: str) -> Timed:
    (folder / routing).mkdir()
    group = Behind(folder / routing, routing)
    group.make()
    runs = Timed(group)
    runs.run("install", keydb_cpu="150m", haproxy_processors="150m").ok()
    group.wait()
    return runs


@contextmanager
def clients(runs: Timed, name: str) -> Iterator[Clients]:
    runs.group.create(runs.group.writer(name, 4, 400, 5))
    writing = Clients(runs, name)
    eventually(lambda: _begun(writing), f"{name} writes", 60)
    try:
        yield writing
    finally:
        runs.group.core.delete_namespaced_pod(name, runs.group.namespace, grace_period_seconds=0)


def _begun(writing: Clients) -> bool:
    try:
        return len({row[1] for row in writing.journal() if row[3] == "ok"}) == 4
    except Exception:  # the pod is not there yet
        return False


def measure(rounds: int, folder: Path, seen: dict[str, Any], console: Console) -> None:
    """Measure each way once a round.

    :param seen: what was measured so far, filled as it comes
    """
    groups = {"service": installed(folder, "service"), "haproxy": installed(folder, "haproxy")}
    groups["label"] = groups["service"]
    groups["status"] = groups["ended"] = groups["haproxy"]
    spec = {"selector": {LABEL: "primary"}, "ports": [{"port": 6379}], "publishNotReadyAddresses": True}
    groups["label"].group.create({**_plain("Service", "keydb-label"), "spec": spec})
    acts = {
        "status": look,
        "ended": end_connections,
        "service": switchover,
        "haproxy": switchover,
        "label": move_label,
    }
    for number in range(rounds):
        for way, act in acts.items():
            runs = groups[way]
            primary = runs.well()
            if way == "label":
                for pod in ("keydb-0", "keydb-1"):
                    label(runs, pod, "primary" if pod == primary else "replica")
            with clients(runs, f"{way}-{number}") as writing:
                time.sleep(1)
                since = max(float(row[0]) for row in writing.journal())
                done = act(runs, primary)
                note(seen[way], done, writing.wait(since), since - 0.5)
                now = primary if act in (look, end_connections) else other_than(primary)
                seen[way]["lost"] += lost(runs, writing, now, folder)
                seen[way]["acknowledged"] += writing.whole().acknowledged()
            if way == "label":
                # The Service and the epoch know nothing of that move.
                runs.run("rejoin")
            console.print(f"round {number + 1} of {rounds}, {way}: {seen[way]['gaps'][-1]:.0f} ms")
    for runs in (groups["service"], groups["haproxy"]):
        runs.group.end()


def note(figures: dict[str, Any], done: Act, journal: list[list[str]], since: float) -> None:
    """Add what clients saw: the longest time in which one was cut off, between two acknowledged writes of it.

    A move ends every client's connection, so each of them has a write that failed. Where nobody was cut off it is the
    longest time at all: what this machine makes of a client that waits for nobody.
    """
    found = cuts(journal, since)
    if done.moments is None or not found:
        figures["gaps"].append(longest_gap(journal, since))
        return
    figures["gaps"].append(found[0].milliseconds)
    figures["cuts"].append([{**asdict(cut), **cut.parts(done.moments)} for cut in found])
    figures["astray"] += [] if done.astray is None else [done.astray]


def lost(runs: Timed, writing: Clients, primary: str, folder: Path) -> int:
    """As ``Writer.lost``, at whoever is the primary by now."""
    runs.service_leads_to = lambda: primary  # type: ignore[method-assign]
    return writing.whole().lost(folder)


def show(seen: dict[str, Any], console: Console) -> None:
    table = Table("way", "gap ms: median", "nine of ten", "min-max", "times haproxy", "lost of")
    ours = median(seen["haproxy"]["gaps"])
    for way, figures in seen.items():
        gaps = figures["gaps"]
        most = quantiles(gaps, n=10)[-1] if len(gaps) > 1 else gaps[0]
        table.add_row(
            WAYS[way],
            f"{median(gaps):,.0f}",
            f"{most:,.0f}",
            f"{min(gaps):,.0f}-{max(gaps):,.0f}",
            f"{median(gaps) / ours:.1f}",
            f"{figures['lost']:,} of {figures['acknowledged']:,}",
        )
    console.print(table)
    show_parts(seen, console)
    astray = seen["label"]["astray"]
    told = f"{median(astray):,.0f} ({min(astray):,.0f}-{max(astray):,.0f})"
    console.print(f"label: new connections were led to the old primary for {told} ms behind the promotion")
    for way, (middle, longest) in GOALS.items():
        gaps = seen[way]["gaps"]
        good = median(gaps) <= middle and max(gaps) <= longest
        goal = f"{way}: median {middle} ms at most, longest {longest} ms"
        console.print(f"{'met:    ' if good else 'not met:'} {goal}: {median(gaps):,.0f} and {max(gaps):,.0f}")


def show_parts(seen: dict[str, Any], console: Console) -> None:
    """What the client that waited longest waited for."""
    table = Table(
        "way", "until the promotion", "until who leads is told", "until its write is taken", "writes that failed"
    )
    for way in (*GOALS, "label"):
        longest = [found[0] for found in seen[way]["cuts"]]
        told = [[cut[part] for cut in longest] for part in ("promotion", "route", "return", "failures")]
        table.add_row(WAYS[way], *(f"{median(each):,.0f} ({min(each):,.0f}-{max(each):,.0f})" for each in told))
    console.print(table)


def main() -> int:
    rounds, console = int(sys.argv[1]), Console(width=100)
    seen: dict[str, Any] = {way: {"gaps": [], "cuts": [], "lost": 0, "acknowledged": 0, "astray": []} for way in WAYS}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    interrupted = False
    with tempfile.TemporaryDirectory() as folder:
        try:
            measure(rounds, Path(folder), seen, console)
        except KeyboardInterrupt:
            interrupted = True
            # The lab passes its own on, perhaps behind the first.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The last way of a round.
    done = len(seen["label"]["gaps"])
    if not done:
        console.print("interrupted before the first round was done: nothing was measured")
        return 130
    about = {"engine": ENGINE, "cores": os.cpu_count(), "load": os.getloadavg()[0], "rounds": done}
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps({"about": about, **seen}, indent=2) + "\n")
    console.print(f"{ENGINE}, {about['cores']} cores, load {about['load']:.1f} at the end, n = {done}")
    show(seen, console)
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())

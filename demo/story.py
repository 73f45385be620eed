"""``make demo``: a group on this machine, its primary moved and lost under a writing client.

Everything is done by plain pyinfra commands, printed as they run. At the end a table tells what the
client saw. Whatever happens, no process is left behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo.measure import Event, find_lost, last_answer, outcome, read_journal
from keydb_runbooks.connectors.ports import is_free
from keydb_runbooks.connectors.programs import find_proxy, find_server
from keydb_runbooks.connectors.sandbox import Processes

INVENTORY = "inventories/sandbox.py"
FIRST_PORT = 17000
PORTS_USED = (0, 1, 2, 11, 12, 13)
WRITE_ON_SECONDS = 0.2
NOISE = re.compile(
    r"Connected$|Ready: |Skipped$|^--> (Loading|Connecting|Preparing|Skipping|Disconn|Begin)|^\s*Loading: "
)
COLOR = re.compile(r"\x1b\[[0-9;]*m")

console = Console(highlight=False)


class StoryFailed(Exception):
    """A command of the story failed; its output was printed."""


@dataclass
class Story:
    """A run of the demo: its sandbox, its writer and what happened when."""

    directory: Path
    port: int
    writer: subprocess.Popen[bytes] | None = None
    child: subprocess.Popen[str] | None = None
    begun: list[tuple[str, float]] = field(default_factory=list)
    predicted: dict[str, str] = field(default_factory=dict)

    @property
    def journal(self) -> Path:
        return self.directory / "journal.txt"

    def pyinfra(self, deploy: str, *arguments: str) -> str:
        """Run one deploy, print the command and what it says, and return its output.

        :raises StoryFailed: if it fails
        """
        command = ["pyinfra", INVENTORY, f"deploys/{deploy}.py", *arguments]
        console.print(f"\n[bold cyan]$ {' '.join(command)}[/]")
        executable = str(Path(sys.executable).parent / "pyinfra")
        environment = {**os.environ, "PYINFRA_PROGRESS": "off"}
        self.child = subprocess.Popen(
            [executable, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        assert self.child.stdout is not None
        lines = []
        for line in self.child.stdout:
            lines.append(line)
            if line.strip() and not NOISE.search(COLOR.sub("", line).rstrip()):
                print(f"  {line}", end="", flush=True)
        if self.child.wait() != 0:
            raise StoryFailed(f"{' '.join(command)} failed with exit code {self.child.returncode}")
        return COLOR.sub("", "".join(lines))

    def tell(self, sentence: str) -> None:
        console.print(f"\n[bold]{sentence}[/]")

    @contextmanager
    def event(self, name: str) -> Iterator[None]:
        """Something happens while the client writes; it counts until the next event begins."""
        self.begun.append((name, time.monotonic()))
        yield
        self.write_on(WRITE_ON_SECONDS)

    def start_writer(self) -> None:
        self.writer = subprocess.Popen([sys.executable, "demo/writer.py", str(self.port), str(self.journal)])
        self.write_on(WRITE_ON_SECONDS)

    def write_on(self, seconds: float) -> None:
        """Wait until the client has written for a while after now; ten seconds without a write is a failure."""
        wanted, deadline = time.monotonic() + seconds, time.monotonic() + 10
        while (last_answer(self.journal) or 0) < wanted:
            if time.monotonic() > deadline:
                raise StoryFailed("the client could not write for ten seconds")
            time.sleep(0.05)

    def stop_writer(self) -> None:
        if self.writer is not None and self.writer.poll() is None:
            self.writer.terminate()
            self.writer.wait(10)

    def end(self) -> None:
        """Leave no process behind, however the story ended."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for process in (self.child, self.writer):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        Processes(self.directory).stop_all()


def play(story: Story) -> None:
    """The story itself."""
    story.tell("1. Three servers and a proxy, out of nothing.")
    story.pyinfra("install", "-y")

    story.tell("2. A client begins to write, 1,000 times a second, each value once. What is there?")
    story.start_writer()
    with story.event("status only"):
        story.pyinfra("status")

    story.tell("3. Maintenance: the primary role moves to keydb-2, on purpose.")
    with story.event("switchover"):
        said = story.pyinfra("switchover", "--data", "to=keydb-2", "-y")
    story.predicted["switchover"] = predicted(said)

    story.tell("4. An accident: keydb-2 is killed.")
    with story.event("kill -9, failover"):
        pid_file = story.directory / "keydb-2" / "server.pid"
        console.print(f"\n[bold cyan]$ kill -9 {pid_file.read_text().strip()}[/]")
        Processes(story.directory).send(pid_file, signal.SIGKILL)
        said = story.pyinfra("failover", "-y")
    story.predicted["kill -9, failover"] = predicted(said)

    story.tell("5. The dead server starts again. It is guarded: read-only, and nobody's primary.")
    with story.event("return, rejoin"):
        story.pyinfra("start", "-y")
        said = story.pyinfra("rejoin", "-y")
    story.predicted["return, rejoin"] = predicted(said)

    story.tell("6. Install again: nothing to change, and no role moves back.")
    with story.event("install again"):
        said = story.pyinfra("install", "-y")
        if not re.search(r"Grand total\s+(\d+)\s+-\s+-\s+\1\s", said):
            raise StoryFailed("install changed something")
        story.pyinfra("status")
    story.stop_writer()


def predicted(said: str) -> str:
    """What the printed plan said that would be lost, in short: a number of bytes, or why it is unknown."""
    match = re.search(r"predicted loss  (.*?)\n\s*one writer", said, re.DOTALL)
    text = " ".join(match[1].split()) if match else "-"
    if text.startswith("0 bytes"):
        return "0"
    return re.sub(r"^unknown \((.*?), .*", r"unknown: \1", text)


def closing_table(story: Story) -> tuple[Table, int]:
    """What the client saw of each event, and how many writes a switchover lost."""
    writes = read_journal(story.journal)
    password = json.loads((story.directory / "passwords.json").read_text())["application"]
    reader = redis.Redis(port=story.port, username="application", password=password, protocol=2)
    lost = find_lost(writes, reader)
    table = Table("event", "gap ms", "acknowledged", "lost: predicted", "found", title="What the client saw")
    for column in (1, 2, 4):
        table.columns[column].justify = "right"
    ends = [begin for _, begin in story.begun[1:]] + [writes[-1].seconds + 1]
    planned = 0
    for (name, begin), end in zip(story.begun, ends, strict=True):
        seen = outcome(Event(name, begin, end), writes, lost)
        told = story.predicted.get(name, "0")
        table.add_row(name, f"{seen.gap_milliseconds:,.0f}", f"{seen.acknowledged:,}", told, str(seen.lost))
        planned += 0 if name.startswith("kill") else seen.lost
    return table, planned


def free_ports() -> int:
    """The first port of a range that is free, the usual one if it can be.

    :raises StoryFailed: if KEYDB_SANDBOX_PORT asks for a range that is taken
    """
    asked = os.environ.get("KEYDB_SANDBOX_PORT")
    for first in [int(asked)] if asked else range(FIRST_PORT, FIRST_PORT + 2000, 20):
        taken = [first + offset for offset in PORTS_USED if not is_free("127.0.0.1", first + offset)]
        if not taken:
            return first
    raise StoryFailed(f"port {taken[0]} is taken; set KEYDB_SANDBOX_PORT to the first of 14 free ports")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    os.chdir(Path(__file__).resolve().parent.parent)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    began = time.monotonic()
    directory = Path(os.environ.get("KEYDB_SANDBOX_DIRECTORY", ".sandbox")).resolve()
    try:
        engine, server = find_server(os.environ.get("KEYDB_SANDBOX_ENGINE") or None)
        port = free_ports()
        proxy = find_proxy()
    except (LookupError, StoryFailed) as error:
        console.print(f"[red]{error}[/]")
        return 1
    if directory.exists() and Processes(directory).all():
        console.print(f"[red]a sandbox runs in {directory} already; end it with: make stop[/]")
        return 1
    story = Story(directory, port)
    try:
        prepare(story, engine)
        console.print(f"engine {engine}: {server}\nproxy: {proxy}\neverything is kept in {directory}")
        play(story)
        table, lost = closing_table(story)
        console.print("\n", table)
        console.print(f'{time.monotonic() - began:.1f} s. Play on: README.md, "Verbs". Nothing of this runs any more.')
        return 1 if lost else 0
    except StoryFailed as error:
        console.print(f"[red]{error}[/]")
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted; everything that was started is ended")
        return 130
    finally:
        story.end()


def prepare(story: Story, engine: str) -> None:
    """An empty sandbox, and the environment that the printed commands need."""
    shutil.rmtree(story.directory, ignore_errors=True)
    os.environ.update(KEYDB_SANDBOX_ENGINE=engine, KEYDB_SANDBOX_DIRECTORY=str(story.directory))
    if story.port != FIRST_PORT:
        os.environ["KEYDB_SANDBOX_PORT"] = str(story.port)
        console.print(f"[bold cyan]$ export KEYDB_SANDBOX_PORT={story.port}[/]  (port {FIRST_PORT} is taken)")


if __name__ == "__main__":
    sys.exit(main())

"""``pyinfra`` itself, with every command that it sends counted, and something that happens at one of them.

``prefork.py`` imports this into a run before that begins; what is asked for stands in the environment:

DYING_LIST=FILE       every command is appended to this file as it is sent, one a line
DYING_AT=COMMAND      the command at which it happens, as the list has it: place, words, and how often they came by then;
                      "sh ... END" is the first one of the shell that ends so
DYING_WHEN=before|sent|answered   straight before it is sent, straight after, or straight after its last reply
DYING_BY=kill|stop|RUN            SIGKILL or SIGSTOP to the whole process itself, or a command of the shell, whose
                                  line in the list is "happened"
DYING_NAMES=JSON      other names for places: {"keydb-1": "primary"}

Commands go to servers and proxies (RESP), to HAProxy's runtime socket and to the shell of a host. What is sent in one
segment is one command here, since nothing can come between its parts. Nothing in the project knows of this file.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gevent.local import local
from pyinfra.connectors import util

from keydb_runbooks.connectors import runtime
from keydb_runbooks.connectors.link import LinkConnection
from keydb_runbooks.connectors.runtime import PROMPT
from keydb_runbooks.connectors.sandbox import SandboxConnector

PORT = int(os.environ["KEYDB_SANDBOX_PORT"])
DIRECTORY = os.environ["KEYDB_SANDBOX_DIRECTORY"]
PLACES = {PORT: "proxy-1", PORT + 11: "keydb-1", PORT + 12: "keydb-2", PORT + 13: "keydb-3", PORT + 14: "keydb-4"}
SECOND = "second-server"
"""A restore's second server, whose port is another one each time."""

NAMES: dict[str, str] = json.loads(os.environ.get("DYING_NAMES", "{}"))
AT, WHEN, BY = (os.environ.get(f"DYING_{key}", "") for key in ("AT", "WHEN", "BY"))
LIST = os.environ.get("DYING_LIST")
SCRIPT_SHOWN = 100
PROGRAM = re.compile(r"/\S*/(?:(?:keydb|redis|valkey)-(server)|(haproxy))(?= )")
"""It lies elsewhere on each machine, and behind an upgrade."""

COMPARING = (
    "TIME", "SCAN", "TYPE", "PTTL", "EXISTS", "GET", "STRLEN", "GETRANGE", "LLEN", "LRANGE", "HLEN", "HGETALL", "HSCAN",
    "HMGET", "SCARD", "SMEMBERS", "SSCAN", "SMISMEMBER", "ZCARD", "ZRANGE", "XLEN", "XRANGE",
)  # fmt: skip

RUN = local()
"""Which host's shell command a greenlet is about to start."""

seen: Counter[str] = Counter()
happened = False


def count(place: str, words: str) -> str:
    """Count a command and give it its name."""
    text = re.sub(r"\b(?:keydb|proxy)-\d\b", lambda found: NAMES.get(found[0], found[0]), f"{place}: {words}")
    seen[text] += 1
    name = f"{text} #{seen[text]}"
    note(name)
    happens(name, "before")
    return name


def happens(name: str, when: str) -> None:
    """What was asked for, if this is the moment; once."""
    global happened
    if happened or when != WHEN or not is_asked_for(name):
        return
    happened = True
    if BY in ("kill", "stop"):
        os.kill(os.getpid(), signal.SIGKILL if BY == "kill" else signal.SIGSTOP)
    elif status := os.system(BY):
        raise SystemExit(f"{BY!r} ended with {status}")
    note("happened")


def is_asked_for(name: str) -> bool:
    place, dots, end = AT.partition("sh ... ")
    return name.startswith(f"{place}sh ") and name.endswith(end) if dots else name == AT


def note(line: str) -> None:
    if LIST:
        with Path(LIST).open("a") as file:
            file.write(f"{line}\n")


# Servers


def commands_of(packed: bytes) -> list[list[str]]:
    """The commands in a segment of the RESP protocol."""
    found = []
    while packed:
        head, _, packed = packed.partition(b"\r\n")
        words = []
        for _ in range(int(head[1:])):
            size, _, packed = packed.partition(b"\r\n")
            length = int(size[1:])
            words.append(packed[:length].decode(errors="replace"))
            packed = packed[length + 2 :]
        found.append(words)
    return found


def told(words: list[str]) -> str:
    """A command without what is secret, random or another one in each run."""
    name = " ".join(words[:2]).upper()
    if name.startswith(("AUTH", "ACL SETUSER", "HELLO")):
        return " ".join(words[:1])
    if name == "CONFIG SET" and words[2] == "masterauth":
        return " ".join(words[:3])
    if name == "CLIENT SETNAME":
        return f"{name} {words[2].partition(':')[2].partition(':')[2].partition(':')[0]}".rstrip()
    if name.startswith("SET RUNBOOK:"):
        return " ".join(words[:2])
    if name in ("CLIENT LIST", "CLIENT KILL"):
        return name
    if words[0].upper() == "REPLICAOF" and words[-1] in map(str, PLACES):
        return f"REPLICAOF {PLACES[int(words[-1])]}"
    if words[0].upper() == "REPLICAOF" and words[1].startswith("127."):
        return f"REPLICAOF {SECOND}"
    return " ".join(words)


def segment(commands: list[list[str]]) -> str:
    """All commands of a segment; of keys that are compared nobody knows how many there are."""
    if all(words[0].upper() in COMPARING and not words[-1].startswith("runbook:") for words in commands):
        return "compare"
    return " + ".join(map(told, commands))


def watch_servers() -> None:
    send, read = LinkConnection.send_packed_command, LinkConnection.read_response

    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        if not self._sock:
            # Connecting logs in first, which is a command of its own.
            self.connect()
        packed = b"".join([command] if isinstance(command, bytes) else command)
        commands = commands_of(packed)
        name = count(PLACES.get(self.port, SECOND), segment(commands))
        send(self, command, check_health)
        self.__dict__.setdefault("awaited", deque()).extend([(name, len(commands))])
        happens(name, "sent")

    def read_response(self: Any, *arguments: Any, **given: Any) -> Any:
        try:
            return read(self, *arguments, **given)
        finally:
            awaited = self.__dict__.get("awaited")
            if awaited:
                name, left = awaited.popleft()
                if left > 1:
                    awaited.appendleft((name, left - 1))
                else:
                    happens(name, "answered")

    LinkConnection.send_packed_command = send_packed_command  # type: ignore[method-assign]
    LinkConnection.read_response = read_response  # type: ignore[method-assign]


# HAProxy's runtime socket


class Watched:
    """A runtime socket whose lines are counted."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.name = ""
        self.left = 0
        self.answers = b""

    def sendall(self, data: bytes) -> None:
        lines = data.decode().splitlines()
        self.name, self.left, self.answers = count("proxy-1", f"runtime {' + '.join(lines)}"), len(lines), b"\n"
        self.stream.sendall(data)
        happens(self.name, "sent")

    def recv(self, size: int) -> bytes:
        received: bytes = self.stream.recv(size)
        self.answers += received
        if self.left and self.answers.count(PROMPT) >= self.left:
            self.left = 0
            happens(self.name, "answered")
        return received

    def close(self) -> None:
        self.stream.close()


def watch_proxies() -> None:
    dial: Callable[[str, float], Any] = runtime._unix
    runtime._unix = lambda path, timeout: Watched(dial(path, timeout))  # type: ignore[assignment]


# Shells


def watch_shells() -> None:
    """A command of the shell has begun when its process exists; a killed ``pyinfra`` doesn't end it."""
    honest, start = SandboxConnector.run_shell_command, util.Popen

    def run_shell_command(self: Any, command: Any, *arguments: Any, **given: Any) -> Any:
        RUN.name = name = count(self.host.name, f"sh {script(str(command))}")
        try:
            return honest(self, command, *arguments, **given)
        finally:
            happens(name, "answered")

    def popen(*arguments: Any, **given: Any) -> Any:
        process = start(*arguments, **given)
        happens(RUN.name, "sent")
        return process

    SandboxConnector.run_shell_command = run_shell_command  # type: ignore[method-assign]
    util.Popen = popen


def script(command: str) -> str:
    """A command of the shell in one line, without what is another one in each run."""
    text = re.sub(r"\.new\.[0-9a-f]+", ".new", command.replace(f"{DIRECTORY}/", "").replace(DIRECTORY, "."))
    text = re.sub(r"[0-9a-f]{64}", "<checksum>", text)
    text = PROGRAM.sub(lambda found: found[1] or found[2], text)
    text = re.sub(r"-\d{8}T\d{6}Z(-[0-9a-f]+-\d+)?", "-<when>", text)
    # What it works on stands at its end.
    return " ".join(text.split())[-SCRIPT_SHOWN:]


def begin() -> None:
    """Watch everything that this process sends."""
    watch_servers()
    watch_proxies()
    watch_shells()

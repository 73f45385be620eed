"""The record of every run: a line of JSON on the operator's machine, and on every node that the run reached.

It is for people; no verb reads it to decide. That it can't be written is told, and stops nothing. It is written when
everything else is done, so that nobody waits for it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api.output import format_text

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import in_parallel
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.connectors.shell import script

ENVIRONMENT = "KEYDB_RUNBOOKS_HISTORY"

LIMIT_BYTES = 4 * 1024 * 1024
"""A file that is larger becomes FILE.1, and the FILE.1 before it goes."""

NODE_SECONDS = 10

WAIT_SECONDS = 5.0
"""How long somebody else may hold the folder's lock."""

# $1 the file, $2 its limit in bytes; the line is on standard input. The lock is the folder's, so that it outlives a
# file that is put aside. A line that a death cut short is ended first. Nobody's link leads root to another file.
APPEND = """
umask 077
[ ! -L "$1" ] || exit 1
folder=${1%/*}/
{ [ -d "$folder" ] || mkdir -p "$folder"; } && exec 9<"$folder" && flock -w 5 9 || exit 1
if [ -e "$1" ] && [ "$(wc -c <"$1")" -gt "$2" ]; then mv "$1" "$1.1" || exit 1; fi
[ ! -s "$1" ] || [ -z "$(tail -c1 "$1")" ] || echo >>"$1" || exit 1
cat >>"$1"
"""


def operators_file(group: Group) -> Path:
    """Where the history of this machine is: by the environment, the inventory, or XDG's place for such things."""
    if named := os.environ.get(ENVIRONMENT) or group.nodes[0].data("keydb_operator_history_file"):
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "keydb-runbooks" / "history.jsonl"


def record(document: dict[str, Any], group: Group, reached: Iterable[str] = ()) -> None:
    """Append a run's report to the history, here and on the nodes that it reached."""
    line = json.dumps(document, separators=(",", ":")) + "\n"
    path = operators_file(group)
    try:
        append(path, line)
    except OSError as error:
        _tell(f"this run could not be recorded in {path}: {error.strerror}")
    nodes = [group.node(name) for name in reached]
    for node, done in zip(nodes, in_parallel(lambda node: _append_on(node, line), nodes), strict=True):
        if not done:
            _tell(f"this run could not be recorded on {node.name} in {node.data('keydb_history_file')}")


def append(path: Path, line: str) -> None:
    """Append one line to a file of mode 0600, in one piece, whoever else appends at the same time.

    :raises OSError: if it can't be written
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    with closing(_Descriptor(folder)):
        _wait_for(folder)
        if path.exists() and path.stat().st_size > LIMIT_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with closing(_Descriptor(descriptor)):
            size = os.fstat(descriptor).st_size
            cut_short = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (("\n" if cut_short else "") + line).encode())


def _wait_for(folder: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EAGAIN, "another program keeps its folder locked") from None
            time.sleep(0.02)


class _Descriptor:
    def __init__(self, number: int) -> None:
        self._number = number

    def close(self) -> None:
        os.close(self._number)


def _append_on(node: NodeEntry, line: str) -> bool:
    command = script(APPEND, node.data("keydb_history_file"), str(LIMIT_BYTES))
    try:
        return run_quietly(node.host, command, stdin=line, timeout_seconds=NODE_SECONDS) is not None
    except Exception as error:  # a connector may raise anything, and the run is over
        logger.debug(f"{node.name}: {error}")
        return False


def _tell(sentence: str) -> None:
    logger.warning(f"    {format_text(sentence, 'yellow')}")

"""What a machine says of a file, and of who answers on its ports; the same for servers and proxies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keydb_runbooks.runbooks.drift_values import Drift, Verdict, unknown
from keydb_runbooks.runbooks.findings import Severity


@dataclass(frozen=True)
class File:
    """A configuration file. ``text`` is "" if there is none, None if that is unknown; ``changed`` is in seconds.

    ``changed`` counts each change of the file, of its owner and of its name (its ctime), which no tool can set back.
    """

    path: str
    text: str | None
    changed: int | None = None


@dataclass(frozen=True)
class Exposure:
    """The modes of files with passwords in them, by their paths.

    ``umask`` is that of the process which rewrites one of them, None if that is unknown or nobody does.
    """

    modes: Mapping[str, int]
    umask: int | None = None


OTHERS = 0o077
"""The bits of a mode by which others than a file's owner may do anything with it."""

REWRITTEN = 0o644
"""The mode of a file that a server rewrites, less its umask (CONFIG REWRITE)."""


@dataclass(frozen=True)
class Listener:
    """A process that listens on a TCP port."""

    pid: int
    parent: int
    address: str
    port: int


@dataclass(frozen=True)
class Process:
    """The process that answered, and what its machine says of it: ``None`` is unknown, ``recorded`` 0 none.

    ``recorded`` is the running process that the pid file names.
    """

    answering: int
    recorded: int | None
    listeners: tuple[Listener, ...] | None


def file_drift(where: str, file: File) -> Iterator[Drift]:
    """Whether there is a file that can be compared at all."""
    if file.text is None:
        sentence = f"{file.path} can't be read; let pyinfra's user read it (_sudo in the inventory)"
        yield unknown("file-unknown", where, sentence)
    elif not file.text:
        sentence = f"there is no {file.path}; run install"
        yield Drift("no-file", Verdict.DRIFTED, Severity.WARNING, where, sentence)


def exposure_drift(where: str, exposure: Exposure, then: str = "") -> Iterator[Drift]:
    """Whether files with passwords in them are closed to others, and stay so when a role is saved.

    :param then: what is to be done behind a change of a mode
    """
    loose = exposure.umask is not None and REWRITTEN & ~exposure.umask & OTHERS
    first = "run restart first, since its server opens what it rewrites; then " if loose else ""
    opened = {path: mode for path, mode in exposure.modes.items() if mode & OTHERS}
    for path, mode in opened.items():
        told = f"{path} has mode {mode:o}, and passwords in it that are nobody else's to read"
        yield Drift(
            "file-open", Verdict.DRIFTED, Severity.WARNING, where, f"{told}; {first}chmod 600 {path}{then}", path
        )
    if loose and not opened:
        told = f"runs with umask {exposure.umask:04o}, so others may read its file when its role has been saved again"
        yield Drift("umask-open", Verdict.DRIFTED, Severity.NOTICE, where, f"{told}; run restart")


def process_drift(where: str, process: Process) -> Iterator[Drift]:
    """Whether the process that answers is the recorded one, and the only one on its ports."""
    pid, listeners = process.answering, process.listeners or ()
    own = [listener for listener in listeners if listener.pid == pid]
    if process.recorded is None or not own:
        sentence = "it is unknown which processes listen; let pyinfra's user see them (_sudo in the inventory)"
        yield unknown("process-unknown", where, sentence)
    # A master that watches over its workers is the one whose id is recorded.
    if process.recorded is not None and process.recorded not in (pid, *(one.parent for one in own)):
        found = f"names {process.recorded}" if process.recorded else "names no process that runs"
        sentence = f"process {pid} answers, but its pid file {found}; end the wrong one, or write {pid} into the file"
        yield Drift("other-process", Verdict.DRIFTED, Severity.WARNING, where, sentence)
    places = {(one.address, one.port) for one in own}
    rivals = sorted({one.pid for one in listeners if (one.address, one.port) in places} - {pid})
    if rivals:
        others = " and ".join(map(str, rivals))
        sentence = f"process {others} listens on the same ports as {pid} and takes a part of the connections; end it"
        yield Drift("several-processes", Verdict.DRIFTED, Severity.CRITICAL, where, sentence)

"""The lab's API server, killed and started again as it was: what a node does without it, and what a run does."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.kubernetes.lab.cluster import HOME, ask
from tests.kubernetes.lab.processes import Processes

NAME = "kube-apiserver"


class ApiServer:
    """It runs as long as the lab does; ``start`` has to follow each ``stop``."""

    def __init__(self) -> None:
        self.processes = Processes(HOME)
        self.words: list[str] = []

    def stop(self) -> None:
        """Kill it: every stream through it ends, and nobody is told why."""
        ((process, self.words),) = _running().items()
        os.kill(process, signal.SIGKILL)
        while _running():
            time.sleep(0.01)

    def start(self) -> None:
        """Start it with the same words, and wait until it answers. It ends with the lab's namespaces."""
        if ended := self.processes.running.pop(NAME, None):
            ended.wait()
        self.processes.run(NAME, *self.words)
        self.processes.wait(lambda: ask("/readyz") == "ok", "the API server is ready again", 90)


def _running() -> dict[int, list[str]]:
    """Its process in this namespace, and the words that it was started with; one that has ended has none."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = [word.decode() for word in file.read_bytes().split(b"\0")[:-1]]
        except OSError:
            continue
        if words and Path(words[0]).name == NAME:
            found[int(file.parent.name)] = words
    return found

"""Programs that are started, waited for and ended, each by its process id, with a log each."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.kubernetes.lab import needs


class Processes:
    """Programs by name. Whoever makes some ends them.

    :param home: where their logs are
    :param before: words before each command, that lead it into another network for instance
    """

    def __init__(self, home: Path, before: tuple[str, ...] = ()) -> None:
        self.home, self.before = home, before
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, *words: object) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*self.before, *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                # Ctrl-C is for whoever started all this; they end the programs.
                start_new_session=True,
            )

    def wait(self, true: Callable[[], bool], what: str, seconds: float) -> None:
        """
        :raises RuntimeError: if it takes longer, or a program ended; with the end of the log
        """
        deadline = time.monotonic() + seconds
        while not true():
            for name, process in self.running.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.log(name)}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.running)
                raise RuntimeError(f"{what}: not within {seconds} s\n{logs}")
            time.sleep(0.05)

    def log(self, name: str, lines: int = 15) -> str:
        text = (self.home / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def end(self, *names: str) -> None:
        """End some, or all of them."""
        ending = [self.running.pop(name) for name in (names or reversed(tuple(self.running)))]
        for process in ending:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 3
        for process in ending:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def load(self, archive: Path, socket: Path) -> None:
        """Let a containerd have an image.

        :raises RuntimeError: if it doesn't take it within 20 s
        """
        words = ["ctr", "--address", str(socket), "-n", "k8s.io", "images", "import", str(archive)]
        deadline = time.monotonic() + 20
        while True:
            done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{archive.name}: {done.stderr}\n{self.log('containerd')}")
            time.sleep(0.1)


def environment() -> dict[str, str]:
    """Without proxies: the cluster is nobody's but ours."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "PATH": needs.SBIN}

"""Several nodes on this machine: ``@sandbox/NAME``.

A sandbox node is a directory with ordinary user processes in it. For pyinfra it is a host like any other; commands run
as ``@local`` runs them. What a sandbox has beyond that, starting, stopping, killing and freezing its processes, is in
``operations/service.py`` (for deploys) and ``Processes`` (for people who play with faults).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.base import ConnectorData, DataMeta
from pyinfra.connectors.local import LocalConnector
from typing_extensions import Unpack, override

if TYPE_CHECKING:
    from pyinfra.api.arguments import ConnectorArguments
    from pyinfra.api.command import StringCommand
    from pyinfra.connectors.util import CommandOutput

DEFAULT_DIRECTORY = ".sandbox"

SERVER_PID, PROXY_PID = "server.pid", "haproxy.pid"
"""In the directory of a node, and of a proxy."""

MARK = "KEYDB_RUNBOOKS_SANDBOX"
"""Environment variable that every process of a sandbox carries, with the sandbox's directory.

Servers are started with ``set-proc-title no``, since a changed title overwrites the environment."""


SIGNALS = {
    "stop": signal.SIGTERM,
    "kill": signal.SIGKILL,
    "freeze": signal.SIGSTOP,
    "thaw": signal.SIGCONT,
}
"""What can be done to one server."""


class SandboxData(ConnectorData, total=False):
    """Connector data."""

    sandbox_directory: str


class SandboxConnector(LocalConnector):
    """The ``@sandbox`` connector: one of several nodes on this machine.

    .. code:: python

        keydb = ["@sandbox/keydb-1", "@sandbox/keydb-2"]  # the hosts are called keydb-1 and keydb-2
    """

    data_cls = SandboxData
    data_meta = {  # noqa: RUF012 - pyinfra's own shape
        "sandbox_directory": DataMeta("Directory of the whole sandbox", None),
    }

    @override
    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        if not name:
            raise InventoryError("@sandbox needs a name: @sandbox/NAME")
        yield name, {}, ["@sandbox"]

    @override
    def run_shell_command(
        self,
        command: StringCommand,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Unpack[ConnectorArguments],
    ) -> tuple[bool, CommandOutput]:
        """As ``@local``; whatever is started carries the sandbox's mark, so that it can be found and stopped."""
        arguments["_env"] = {**(arguments.get("_env") or {}), MARK: str(self.directory)}
        return super().run_shell_command(command, print_output, print_input, **arguments)

    @property
    def directory(self) -> Path:
        """The directory of the whole sandbox."""
        return Path(self.data["sandbox_directory"] or DEFAULT_DIRECTORY).resolve()


class Processes:
    """The processes of one sandbox, found by the mark that they carry.

    :param directory: the sandbox's directory
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()

    def all(self) -> list[int]:
        """Process ids of everything that runs in this sandbox."""
        return [pid for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._has(pid := int(entry.name))]

    def _has(self, pid: int) -> bool:
        return pid != os.getpid() and f"{MARK}={self.directory}".encode() in _environment(pid)

    def of(self, pid_file: Path) -> int | None:
        """The process id in a file, None if there is no such process in this sandbox."""
        try:
            pid = int(pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if self._has(pid) else None

    def send(self, pid_file: Path, number: signal.Signals) -> None:
        """Send a signal to a node's process: SIGTERM stops, SIGKILL kills, SIGSTOP freezes, SIGCONT thaws.

        :raises ProcessLookupError: if it doesn't run
        """
        pid = self.of(pid_file)
        if pid is None:
            raise ProcessLookupError(f"no process of {self.directory} is named by {pid_file}")
        os.kill(pid, number)
        if number in (signal.SIGTERM, signal.SIGKILL):
            self.wait([pid])

    def stop_all(self, patience_seconds: float = 5.0) -> int:
        """End everything in this sandbox, politely first, then for good; return how many processes there were."""
        ended: set[int] = set()
        # Again and again: a script that was about to start something may have done so meanwhile.
        while pids := self.all():
            ended.update(pids)
            self._send_all(signal.SIGCONT, pids)
            self._send_all(signal.SIGTERM, pids)
            if not self.wait(pids, patience_seconds):
                self._send_all(signal.SIGKILL, pids)
                self.wait(pids, patience_seconds)
        return len(ended)

    def wait(self, pids: list[int], patience_seconds: float = 10.0) -> bool:
        """Wait until these processes are gone; False if they are not by then."""
        deadline = time.monotonic() + patience_seconds
        while any(_alive(pid) for pid in pids):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _send_all(self, number: signal.Signals, pids: list[int]) -> None:
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def main() -> int:
    """``python -m keydb_runbooks.connectors.sandbox``: play with the processes of a sandbox."""
    parser = argparse.ArgumentParser(prog="sandbox", description="Faults for the sandbox, and its end.")
    parser.add_argument("act", choices=[*SIGNALS, "boot"], help="boot starts a server as a reboot does, guarded")
    parser.add_argument("node", nargs="*", help="keydb-1 or proxy-1, for instance; stop without a node ends everything")
    wanted = parser.parse_args()
    processes = Processes(Path(os.environ.get("KEYDB_SANDBOX_DIRECTORY", DEFAULT_DIRECTORY)))
    if wanted.act == "stop" and not wanted.node:
        print(f"{processes.stop_all()} processes of {processes.directory} ended")
        return 0
    if not wanted.node:
        parser.error(f"{wanted.act} needs a node")
    failed = [node for node in wanted.node if not _done(processes, wanted.act, node)]
    return 1 if failed else 0


def _done(processes: Processes, act: str, node: str) -> bool:
    from keydb_runbooks.connectors.booting import LOG, BootError, boot
    from keydb_runbooks.connectors.programs import find_server

    home = processes.directory / node
    try:
        if act == "boot":
            boot(processes, node, find_server(os.environ.get("KEYDB_SANDBOX_ENGINE"))[1])
            print(f"{node} starts; what it decides: {home / LOG}")
        else:
            is_proxy = (home / PROXY_PID).exists()
            processes.send(home / (PROXY_PID if is_proxy else SERVER_PID), SIGNALS[act])
    except (ProcessLookupError, BootError) as error:
        print(error, file=sys.stderr)
        return False
    return True


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


if __name__ == "__main__":
    sys.exit(main())

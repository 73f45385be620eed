"""A sandbox server that starts as one does while nobody looks: through the boot guard (docs/boot-guard.md)."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from keydb_runbooks.connectors.sandbox import MARK, Processes

LOG = "boot-guard.log"


class BootError(Exception):
    """It can't be started this way; the text says why and what to do."""


def settings_of(home: Path) -> dict[str, str]:
    """The boot guard's settings that ``install`` wrote for a node.

    :raises BootError: if there are none
    """
    path = home / "boot-guard.env"
    try:
        words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    except OSError:
        raise BootError(f"{path} can't be read; run install") from None
    return dict(word.split("=", 1) for word in words)


def boot(processes: Processes, node: str, program: str) -> None:
    """Start a server guarded and let its guard decide behind it, as a unit would; its log is beside its files.

    :param program: path of the server's program
    :raises BootError: if it runs, or could not be started
    """
    home = processes.directory / node
    if processes.of(home / "server.pid") is not None:
        raise BootError(f"{node} runs")
    environment = {**os.environ, **settings_of(home), MARK: str(processes.directory)}
    guard, log = home / "boot-guard", home / LOG
    (home / "server.pid").unlink(missing_ok=True)
    with log.open("a", encoding="utf-8") as told:
        started = subprocess.run(  # noqa: S603 - what install wrote
            [guard, "pre", program, home / "keydb.conf", "--set-proc-title", "no"],
            env=environment,
            cwd="/",
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            check=False,
        )
        if started.returncode:
            raise BootError(f"{node} was not started; see {log} and {home / 'server.log'}")
        subprocess.Popen(  # noqa: S603 - what install wrote
            [guard, "post"],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )

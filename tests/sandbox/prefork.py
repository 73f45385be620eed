"""The real ``pyinfra`` command without the time that its imports take: they are done once, and each run is a fork of that.

Half a second of every run are imports, and the tests make many hundred runs. What is imported here is what the command
imports by itself; nothing is connected, read or started before the fork. Shells are started by ``spawning.py``.

    python prefork.py    one JSON request a line on standard input: directory, environment, arguments, pipes
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from typing import Any

IMPORTED = ("pyinfra_cli.main", "keydb_runbooks.operations.runbook", "keydb_runbooks.operations.drift")


class Run:
    """One run of ``pyinfra``, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, pid: int, output: int, outcome: int) -> None:
        self.pid = pid
        self.stdout = os.fdopen(output, encoding="utf-8", errors="replace")
        self.returncode: int | None = None
        self._outcome = os.fdopen(outcome)
        self._text = b""

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("pyinfra", timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """As a pipe ends with the last process that holds it, so does this; what came before a time-out isn't lost."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not _readable(self.stdout.fileno(), left):
                raise subprocess.TimeoutExpired("pyinfra", timeout or 0)
            part = os.read(self.stdout.fileno(), 1 << 16)
            if not part:
                break
            self._text += part
        self.stdout.close()
        self.wait(None if deadline is None else max(deadline - time.monotonic(), 1))
        return self._text.decode(errors="replace"), None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and _readable(self._outcome.fileno(), timeout):
            self.returncode = int(self._outcome.read())
            self._outcome.close()
        return self.returncode


class Prefork:
    """The process that has imported everything; it ends with this one."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kr-prefork-", dir="/tmp"))
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(self._folder)],
            stdin=subprocess.PIPE,
            # Nobody's terminal: what is imported may ask.
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self._runs = 0

    def start(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        errors: Path | None = None,
        module: str | None = None,
    ) -> Run:
        """Start a run.

        :param errors: the file for what it tells on standard error, None for where the rest goes
        :param module: a module beside this one; its ``begin`` is called in the run before everything else
        """
        self._runs += 1
        pipes = [self._folder / f"{self._runs}.{name}" for name in ("output", "outcome")]
        for pipe in pipes:
            os.mkfifo(pipe, 0o600)
        request = {
            "arguments": [*arguments],
            "directory": str(directory),
            "environment": dict(environment),
            "pipes": [*map(str, pipes)],
            "errors": None if errors is None else str(errors),
            "module": module,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        output, outcome = (os.open(pipe, os.O_RDONLY) for pipe in pipes)
        for pipe in pipes:
            pipe.unlink()
        return Run(int(_line(outcome)), output, outcome)


def _readable(descriptor: int, timeout: float | None) -> bool:
    return bool(select.select([descriptor], [], [], timeout)[0])


def _line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(descriptor, 1)
        assert part, "the process behind tests/sandbox/prefork.py died"
        line += part
    return line


def serve(folder: str) -> None:
    """Fork a run for each line of standard input, until that ends."""
    for name in IMPORTED:
        import_module(name)
    import_module("pyinfra.connectors.util").Popen = import_module("spawning").Spawned
    # Which connectors are installed, and in which files modules are, each run would find out anew.
    connectors = import_module("pyinfra.api.connectors")
    connectors.entry_points = cache(connectors.entry_points)
    connectors.get_all_connectors()
    inspect.getmodule(sys._getframe())
    # pyinfra has patched the module for gevent; these don't wake it before the fork.
    from gevent.monkey import get_original

    fork, waitpid = get_original("os", "fork"), get_original("os", "waitpid")
    # Each fork would look through all that is loaded here, and copy the memory that it is in.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pending = b""
    while part := os.read(0, 1 << 16):
        *lines, pending = (pending + part).split(b"\n")
        for line in lines:
            if fork() == 0:
                _supervise(json.loads(line), fork, waitpid)
    rmtree(folder, ignore_errors=True)


def _supervise(request: dict[str, Any], fork: Any, waitpid: Any) -> None:
    """Start one run, tell its process id, then how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output, outcome = (os.open(pipe, os.O_WRONLY) for pipe in request["pipes"])
    pid = fork()
    if pid == 0:
        os.close(outcome)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _become(request, output)
    os.close(output)
    os.write(outcome, b"%d\n" % pid)
    _, status = waitpid(pid, 0)
    with suppress(BrokenPipeError):
        os.write(outcome, b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(request: dict[str, Any], output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    errors = request["errors"] and os.open(request["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((nothing, 0), (output, 1), (errors or output, 2)):
        os.dup2(source, target)
    for opened in filter(None, (nothing, output, errors)):
        os.close(opened)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["pyinfra", *request["arguments"]]
    if request["module"]:
        import_module(request["module"]).begin()
    sys.path[0] = str(Path(sys.executable).parent)
    from pyinfra_cli.main import main

    code = 1
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        # As an ordinary end does it, but nothing that was set up before the fork is torn down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])

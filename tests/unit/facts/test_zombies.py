"""A process that was killed and that nobody has waited for yet is none that runs."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from keydb_runbooks.facts.haproxy import HaproxyProcess
from keydb_runbooks.facts.keydb import KeydbProcess


def as_the_shell_tells(fact, pid_file: Path) -> int:
    words = ["sh", "-c", fact.command(pid_file=str(pid_file)).get_raw_value()]
    return fact.process(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines())


@pytest.mark.parametrize(("fact", "name"), [(HaproxyProcess(), "haproxy"), (KeydbProcess(), "keydb-server")])
def test_a_killed_process_that_nobody_waited_for_does_not_run(fact, name: str, tmp_path: Path) -> None:
    script = f"printf {name} >/proc/$$/comm; read -r _"
    process = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE)
    try:
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        comm, status = (Path(f"/proc/{process.pid}/{file}") for file in ("comm", "status"))
        while comm.read_text().strip() != name:
            time.sleep(0.01)
        assert as_the_shell_tells(fact, tmp_path / "pid") == process.pid
        os.kill(process.pid, 9)
        while "State:\tZ" not in status.read_text():
            time.sleep(0.01)
        assert as_the_shell_tells(fact, tmp_path / "pid") == 0
    finally:
        process.kill()
        process.communicate()

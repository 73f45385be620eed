"""A server's program of another version: the real one, in which nothing but the name of its version is another."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def version_of(program: str | Path) -> str:
    """What a program says that its version is."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r" v=([0-9.]+) ", told)
    assert found, told
    return found[1]


def renamed(program: str | Path, to: Path) -> str:
    """Write a copy of a program that calls itself one version newer; return that version."""
    version = version_of(program)
    last = version[-1]
    newer = version[:-1] + (str(int(last) + 1) if last != "9" else "8")
    code = Path(program).read_bytes()
    assert version.encode() in code
    to.write_bytes(code.replace(version.encode() + b"\0", newer.encode() + b"\0"))
    to.chmod(0o755)
    assert version_of(to) == newer
    return newer

"""A server's program of another version: the real one, in which nothing but the name of its version is another; and
programs that only say so."""

from __future__ import annotations

import re
import subprocess
import sys
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


IMPOSTOR = """#!{python}
import socket, sys, time
if "--version" in sys.argv:
    print("{engine} server v=99.9.9 sha=00000000:0 malloc=libc bits=64 build=0")
elif {format}:
    open("dump.rdb", "w").write("REDIS%04d" % {format})
    socket.socket(socket.AF_UNIX).bind("s")
    time.sleep(60)
"""


def impostor(to: Path, engine: str, format: int = 0) -> str:
    """Write a program that calls itself a server, and writes an RDB file of this format when it ends; return its path."""
    to.write_text(IMPOSTOR.format(python=sys.executable, engine=engine, format=format))
    to.chmod(0o755)
    return str(to)

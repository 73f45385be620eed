"""Images made of what this machine has: no registry is asked.

An image is a program with the libraries that it is linked to and a shell with the few commands that the tests use.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

COMMANDS = ("sh", "cat", "head", "wc", "sleep", "ls", "mkdir", "rm", "mv", "cp", "chmod", "id", "env", "date", "touch")
MORE = (
    "sed",
    "grep",
    "dirname",
    "readlink",
    "stat",
    "df",
    "tail",
    "timeout",
    "tr",
    "kill",
    "ps",
    "cut",
    "sort",
    "mktemp",
    "flock",
    "sync",
    "ln",
    "find",
    "sha256sum",
    "base64",
    "dd",
    "bash",
    "mkfifo",
    "od",
    "setsid",
    "openssl",
)
"""What the facts, the boot guard and the tests call, beside the server."""


def archive(target: Path, tag: str, files: dict[str, Path], entrypoint: list[str]) -> Path:
    """Write a docker archive with one layer: these files by their path in the image, and the libraries they need."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        made: set[str] = set()
        for place in ("tmp", "data", "etc", "run", "var/lib/keydb", "proc", "sys", "dev"):
            _directory(tar, place, made, mode=0o1777 if place in ("tmp", "data", "run", "var/lib/keydb") else 0o755)
        _text(tar, "etc/passwd", "root:x:0:0::/:/bin/sh\nkeydb:x:999:999::/data:/bin/sh\n", made)
        _text(tar, "etc/group", "root:x:0:\nkeydb:x:999:\n", made)
        for path, source in files.items():
            _file(tar, path, source, made)
        for library in sorted({one for source in files.values() for one in libraries(source)}):
            _file(tar, library, Path(library), made)
    content = layer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "tests/kubernetes/lab"}],
    }
    body = json.dumps(config).encode()
    name = hashlib.sha256(body).hexdigest()
    manifest = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(target, mode="w") as tar:
        _bytes(tar, f"{name}.json", body)
        _bytes(tar, f"{digest}/layer.tar", content)
        _bytes(tar, "manifest.json", json.dumps(manifest).encode())
    return target


def libraries(program: Path) -> list[str]:
    """What a program is linked to, by paths; none if it is static or a script."""
    with program.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return []
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", told, re.MULTILINE)


def commands() -> dict[str, Path]:
    """The shell's commands, from this machine."""
    found = {name: shutil.which(name) for name in (*COMMANDS, *MORE)}
    return {f"bin/{name}": Path(path) for name, path in found.items() if path}


def _directory(tar: tarfile.TarFile, path: str, made: set[str], mode: int = 0o755) -> None:
    parts = path.strip("/").split("/")
    for count in range(1, len(parts) + 1):
        whole = "/".join(parts[:count])
        if whole in made:
            continue
        made.add(whole)
        info = tarfile.TarInfo(whole)
        info.type, info.mode = tarfile.DIRTYPE, mode if count == len(parts) else 0o755
        tar.addfile(info)


def _file(tar: tarfile.TarFile, path: str, source: Path, made: set[str]) -> None:
    path = path.strip("/")
    if path in made:
        return
    if "/" in path:
        _directory(tar, path.rpartition("/")[0], made)
    made.add(path)
    _bytes(tar, path, source.resolve().read_bytes(), 0o755)


def _text(tar: tarfile.TarFile, path: str, text: str, made: set[str]) -> None:
    made.add(path)
    _bytes(tar, path, text.encode())


def _bytes(tar: tarfile.TarFile, path: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))

"""The images of the tests' pods, made of what this machine has: ``python -m tests.kubernetes.images FOLDER``.

A cluster of KUBECONFIG needs them loaded beforehand (``kind load image-archive``, ``k3s ctr images import``); their
names can be changed by KEYDB_LAB_SERVER_IMAGE, KEYDB_LAB_PROXY_IMAGE and KEYDB_LAB_WRITER_IMAGE.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from keydb_runbooks.connectors.programs import find_proxy, find_server
from tests.kubernetes.lab import images

ENGINE, PROGRAM = find_server(os.environ.get("KEYDB_SANDBOX_ENGINE"))
SERVER_IMAGE = os.environ.get("KEYDB_LAB_SERVER_IMAGE", f"docker.io/local/{ENGINE}:lab")
NEXT_IMAGE = f"{SERVER_IMAGE}-next"
"""What a server is upgraded to; the tests bring it themselves."""

PROXY_IMAGE = os.environ.get("KEYDB_LAB_PROXY_IMAGE", "docker.io/local/haproxy:lab")
WRITER_IMAGE = os.environ.get("KEYDB_LAB_WRITER_IMAGE", "docker.io/local/writer:lab")


def all_images(folder: Path) -> list[Path]:
    """Write all archives and return their paths."""
    return [server(folder / "server.tar"), proxy(folder / "proxy.tar"), writer(folder / "writer.tar")]


def server(target: Path, tag: str = SERVER_IMAGE, engine: str = ENGINE, program: str = PROGRAM) -> Path:
    """A server under its engine's name, and the commands of a shell."""
    files = {**images.commands(), f"usr/local/bin/{engine}-server": Path(program)}
    if tag != SERVER_IMAGE:
        # Or it would be the same image under another name.
        (note := target.with_suffix(".note")).write_text(tag)
        files["etc/image"] = note
    return images.archive(target, tag, files, ["/bin/sh"])


def proxy(target: Path) -> Path:
    program = Path(find_proxy())
    # It may look for libraries beside itself.
    beside = {f"usr/local/bin/lib/{one.name}": one for one in (program.parent / "lib").glob("*.so*")}
    # Loaded at its end, by name.
    beside |= {f"usr/lib/{one.name}": one for one in Path("/lib").glob("*-linux-gnu/libgcc_s.so.1")}
    files = {**images.commands(), **beside, "usr/local/bin/haproxy": program}
    return images.archive(target, PROXY_IMAGE, files, ["/bin/sh"])


def writer(target: Path) -> Path:
    program = target.with_suffix(".program")
    source = Path(__file__).parent / "lab" / "writer.c"
    subprocess.run(["gcc", "-O2", "-o", program, source, "-lpthread"], check=True)
    files = {**images.commands(), "bin/writer": program}
    # What carries its bytes where servers speak TLS.
    files |= {"bin/socat": Path(found)} if (found := shutil.which("socat")) else {}
    made = images.archive(target, WRITER_IMAGE, files, ["/bin/writer"])
    program.unlink()
    return made


if __name__ == "__main__":
    for path in all_images(Path(sys.argv[1])):
        print(path)

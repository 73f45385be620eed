"""An image with this machine's Python and pip, as ``cluster/Containerfile`` begins with one: no registry is asked."""

from __future__ import annotations

import os
import sys
import sysconfig
from importlib.metadata import files as files_of
from pathlib import Path

from tests.kubernetes.lab import images

WHEELS = "/wheels"
"""Where pip looks in it, and nowhere else."""

LEFT_OUT = {
    "__pycache__",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "tkinter",
}

PIP_CONF = f"[global]\nno-index = true\nfind-links = {WHEELS}\nno-cache-dir = true\ndisable-pip-version-check = true\n"

PIP = "#!/usr/local/bin/python3\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"


def archive(target: Path, tag: str) -> Path:
    """Write it: Python where this machine has it, and an environment of it in /usr/local, whose programs are on PATH."""
    program = Path(os.path.realpath(sys.executable))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    texts = {
        "usr/local/bin/pip": PIP,
        "usr/local/pyvenv.cfg": f"home = {program.parent}\ninclude-system-site-packages = false\n",
        "etc/pip.conf": PIP_CONF,
    }
    files = {
        **images.commands(),
        **_written(target, texts),
        **_tree(Path(sysconfig.get_path("stdlib"))),
        **{f"usr/local/lib/{version}/site-packages/{name}": file for name, file in _pip().items()},
        # What wheels may expect of a machine.
        **{str(one): one for one in Path("/usr/lib").glob("*-linux-gnu/lib*.so.*") if _is_expected(one.name)},
        str(program): program,
        **dict.fromkeys(("usr/local/bin/python", "usr/local/bin/python3"), program),
    }
    return images.archive(target, tag, files, ["/usr/local/bin/python3"])


def _pip() -> dict[str, Path]:
    every = {str(one): Path(str(one.locate())) for one in files_of("pip") or ()}
    return {name: file for name, file in every.items() if name.startswith("pip") and not name.endswith(".pyc")}


def _is_expected(library: str) -> bool:
    return library.split(".so")[0] in ("libdl", "libgcc_s", "libm", "libpthread", "librt", "libstdc++", "libutil")


def _written(target: Path, texts: dict[str, str]) -> dict[str, Path]:
    folder = target.with_suffix(".files")
    folder.mkdir()
    found = {}
    for path, text in texts.items():
        found[path] = folder / path.replace("/", "-")
        found[path].write_text(text)
    return found


def _tree(root: Path) -> dict[str, Path]:
    """All files below a folder but those that nobody needs, by their own paths."""
    found: dict[str, Path] = {}
    for folder, inner, names in os.walk(root):
        inner[:] = [one for one in inner if one not in LEFT_OUT and not one.startswith("config-")]
        found.update({f"{folder}/{name}": Path(folder, name) for name in names})
    return found

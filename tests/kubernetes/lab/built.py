"""The image that ``cluster/Containerfile`` makes, built by buildah as a person would, on a Python of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.kubernetes.lab import python_image, wheels
from tests.kubernetes.lab.processes import environment

IMAGE = "docker.io/local/keydb-runbooks:lab"
BASE = "docker.io/local/python:lab"


def missing() -> str:
    """Why it can't be built here, "" if it can."""
    if shutil.which("buildah") is None:
        return "there is no buildah: apt-get install buildah"
    if not (wheels.home() / "complete").exists():
        return "pip could not bring the wheels for it: see above what it said"
    return ""


def build(folder: Path) -> Path:
    """Build it, and return an archive of it.

    :raises RuntimeError: with what buildah said
    """
    target, base = folder / "image.tar", python_image.archive(folder / "python.tar", BASE)
    try:
        _buildah(folder, "pull", f"docker-archive:{base}")
        _buildah(
            folder, "build", "--isolation", "chroot", "--pull-never", "--build-arg", f"BASE={BASE}",
            "--volume", f"{wheels.home()}:{python_image.WHEELS}:ro", "--file", "cluster/Containerfile", "--tag", IMAGE,
            ".",
        )  # fmt: skip
        _buildah(folder, "push", IMAGE, f"docker-archive:{target}:{IMAGE}")
    finally:
        shutil.rmtree(folder / "storage", ignore_errors=True)
    return target


def _buildah(folder: Path, *words: str) -> None:
    kept = ("--storage-driver", "vfs", "--root", folder / "storage" / "root", "--runroot", folder / "storage" / "run")
    done = subprocess.run(
        ["buildah", *map(str, kept), *words],
        cwd=wheels.REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"buildah {words[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}")

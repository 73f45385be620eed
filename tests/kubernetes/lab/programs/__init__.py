"""The programs of a cluster that no package has, built once and kept.

They are kept in ``$XDG_CACHE_HOME/keydb-runbooks/kubernetes`` (``~/.cache`` without it), where ``make clean`` leaves
them: building takes nine minutes of two cores. The folder's name is a sum of everything they are built from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

SOURCES = Path(__file__).parent
VERSION = "1.34.4"
"""Of Kubernetes, as in kubernetes/go.mod. From 1.36 on the kubelet wants containerd 2, which Debian 12 doesn't have."""

NAMES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
"""What the one program of Kubernetes can be called."""

STAMP = "-X k8s.io/component-base/version."
FLAGS = f"-s -w {STAMP}gitVersion=v{VERSION} {STAMP}gitMajor=1 {STAMP}gitMinor={VERSION.split('.')[1]}"


def home() -> Path:
    """Where they are kept."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    read = hashlib.sha256()
    for path in sorted(path for path in SOURCES.rglob("*") if path.suffix in (".go", ".mod", ".sum", ".c")):
        read.update(path.read_bytes())
    return caches / "keydb-runbooks" / "kubernetes" / read.hexdigest()[:12]


def go() -> str | None:
    """Go's program: on PATH, or where its own archive is unpacked as a rule."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def built() -> bool:
    return (home() / "complete").exists()


def build() -> Path:
    """Build what isn't there yet, and say so.

    :raises subprocess.CalledProcessError: if that fails; what the compiler says is on the screen then
    """
    if built():
        return home()
    kept = home()
    kept.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    print(f"building Kubernetes {VERSION} and what belongs to it: once, about nine minutes of two cores", flush=True)
    _go("kubernetes", kept / "kubernetes", FLAGS)
    _go("coredns", kept / "coredns", "-s -w")
    _go("policies", kept / "policies", "-s -w")
    subprocess.run(["gcc", "-static", "-Os", "-s", "-o", kept / "pause", SOURCES / "pause.c"], check=True)
    for name in NAMES:
        (kept / name).unlink(missing_ok=True)
        (kept / name).symlink_to("kubernetes")
    (kept / "complete").touch()
    # What other sources made is of no use any more.
    for other in kept.parent.iterdir():
        if other.is_dir() and other != kept:
            shutil.rmtree(other)
    print(f"built in {time.monotonic() - begun:.0f} s, kept in {kept}", flush=True)
    return kept


def _go(source: str, target: Path, flags: str) -> None:
    words = [str(go()), "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", str(target), "."]
    subprocess.run(words, cwd=SOURCES / source, env={**os.environ, "CGO_ENABLED": "0"}, check=True)

"""What pip installs into the image of ``cluster/Containerfile``: brought once, where there is a network, and kept.

A cluster has none but its own. They are kept in ``$XDG_CACHE_HOME/keydb-runbooks/wheels`` (``~/.cache`` without it), in
a folder whose name is a sum of what is asked for.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

from tests.kubernetes.lab import programs

REPOSITORY = Path(__file__).parents[3]
LOCK = REPOSITORY / "locks" / "dev.lock"
EXTRA = 'extra == "kubernetes"'


def wanted() -> list[str]:
    """What this project says that it needs on pods, and what builds it."""
    every = requires("keydb-runbooks") or []
    ours = (one.split(";")[0].strip() for one in every if "extra ==" not in one or EXTRA in one)
    return [*sorted(ours), "setuptools"]


def home() -> Path:
    """Where they are kept."""
    asked = f"{sys.version_info[:2]} {wanted()} {LOCK.read_text()}"
    return programs.home().parents[1] / "wheels" / hashlib.sha256(asked.encode()).hexdigest()[:12]


def bring() -> None:
    """Have them all; what can't be had is told, and a test that needs them says so again."""
    kept = home()
    if (kept / "complete").exists():
        return
    kept.mkdir(parents=True, exist_ok=True)
    words = ["download", "--quiet", "--disable-pip-version-check", "--constraint", str(LOCK), "--dest", str(kept)]
    done = subprocess.run([sys.executable, "-m", "pip", *words, *wanted()], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"no wheels for the image of cluster/Containerfile: {done.stderr.strip()}", file=sys.stderr, flush=True)
        return
    (kept / "complete").touch()
    for other in kept.parent.iterdir():
        if other != kept:
            shutil.rmtree(other)

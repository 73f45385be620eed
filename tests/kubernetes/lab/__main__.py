"""``python -m tests.kubernetes.lab``: a cluster to play with, or its tests.

python -m tests.kubernetes.lab                a shell beside a cluster, which ends with it
python -m tests.kubernetes.lab COMMAND ...    the same with a command instead of a shell
python -m tests.kubernetes.lab --test ...     the tests, with arguments for pytest

With KUBECONFIG that cluster is used. Without, one is made in namespaces of its own, and ends with them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.kubernetes.lab import needs, programs, wheels

INSIDE = "KEYDB_RUNBOOKS_LAB"
"""Set where a cluster may be made: in namespaces of its own."""

WELCOME = """
A Kubernetes of one node runs, reached from this shell only (KUBECONFIG is set).

    python -m tests.kubernetes.group                    three pods, and the Services keydb-write and keydb-read
    pyinfra inventories/kubernetes.py deploys/status.py

`exit` ends all of it, and nothing is left.
"""


def main() -> int:
    words = _wanted(sys.argv[1:])
    if INSIDE in os.environ:
        return _inside(words)
    if told := needs.missing():
        print("\n".join(f"no Kubernetes on this machine: {sentence}" for sentence in told), file=sys.stderr)
        return 1
    if os.environ.get("KUBECONFIG"):
        return subprocess.run(words, env=_path(os.environ)).returncode
    # Two clusters would remove each other's control groups.
    programs.home().parent.mkdir(parents=True, exist_ok=True)
    with (programs.home().parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another cluster runs on this machine; this one waits until it ends", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Here the network is still this machine's.
        programs.build()
        wheels.bring()
        return _outside()


def _wanted(arguments: list[str]) -> list[str]:
    if arguments[:1] != ["--test"]:
        return arguments or [os.environ.get("SHELL", "/bin/sh")]
    given = arguments[1:]
    paths = [] if any(word.startswith("tests/") for word in given) else ["tests/kubernetes"]
    quick = [] if "-m" in given else ["-m", "not slow"]
    return [sys.executable, "-m", "pytest", *paths, *quick, *given]


def _outside() -> int:
    """Start the namespaces, wait for them, and remove the control groups: those alone outlive their processes."""
    from tests.kubernetes.lab.nodes import groups_left

    words = [*needs.SPACES, sys.executable, "-m", "tests.kubernetes.lab", *sys.argv[1:]]
    spaces = subprocess.Popen(words, env={**os.environ, INSIDE: "yes"})
    # unshare ignores it while its child runs, so it is passed on to that one, the first process of the namespaces.
    signal.signal(signal.SIGTERM, lambda *_: _pass_on(spaces.pid))
    while True:
        try:
            code = spaces.wait()
            break
        except KeyboardInterrupt:
            # A terminal sends it to everybody, who are ending by now.
            continue
    for folder in groups_left():
        _remove(folder)
    return code


def _pass_on(parent: int) -> None:
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        os.kill(int(child), signal.SIGTERM)


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    for inner in [path for path in folder.iterdir() if path.is_dir()]:
        _remove(inner)
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)


def _inside(words: list[str]) -> int:
    from tests.kubernetes.lab.cluster import HOME, Cluster, pause_image
    from tests.kubernetes.lab.nodes import NODES
    from tests.kubernetes.lab.processes import environment
    from tests.kubernetes.lab.volumes import Volumes

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _hide()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/run") as made:
        from tests.kubernetes.images import all_images

        archives = [pause_image(programs.build(), Path(made) / "pause.tar"), *all_images(Path(made))]
        cluster = Cluster(archives)
    volumes = Volumes(cluster.kubeconfig, HOME / "volumes", [node.name for node in NODES])
    try:
        print(f"the cluster is ready after {time.monotonic() - begun:.1f} s", flush=True)
        if words == [os.environ.get("SHELL", "/bin/sh")]:
            print(WELCOME, flush=True)
        # Whoever starts the tests from this shell has a cluster, and makes no second one.
        del os.environ[INSIDE]
        return _run(words, {**_path(environment()), "KUBECONFIG": str(cluster.kubeconfig)})
    except KeyboardInterrupt:
        return 130
    finally:
        volumes.end()
        cluster.end()


def _run(words: list[str], environment: dict[str, str]) -> int:
    """The command in the foreground; it gets as long to end as it wants when somebody presses Ctrl-C."""
    process = subprocess.Popen(words, env=environment)
    try:
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def _hide() -> None:
    """Whatever is written below /run and /var is this namespace's, and gone with it."""
    for words in (
        "mount -t tmpfs -o mode=755 tmpfs /run",
        "mkdir -p /run/over/var /run/over/work",
        "mount -t overlay -o lowerdir=/var,upperdir=/run/over/var,workdir=/run/over/work overlay /var",
    ):
        subprocess.run(words.split(), check=True)


def _path(environment: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    return {**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.fleet``: a fleet to play with, or its tests; both in namespaces that end with them.

python -m tests.fleet                a shell beside five machines, which end with it
python -m tests.fleet COMMAND ...    the same with a command instead of a shell
python -m tests.fleet --test ...     the tests, with arguments for pytest; without -m those that are not slow
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.fleet import base, needs
from tests.fleet.fleet import INVENTORY, NODES, PROXIES, Fleet

INSIDE = "KEYDB_RUNBOOKS_FLEET"
"""Set where a fleet may be made: in namespaces of its own."""

WELCOME = f"""
Five Debian machines run, reached by SSH from this shell only: {", ".join([*NODES, *PROXIES])}.

    pyinfra {INVENTORY} deploys/install.py       then any verb; README.md has them

`exit` ends all of them, and nothing is left.
"""


def main() -> int:
    arguments = sys.argv[1:]
    if INSIDE not in os.environ:
        if told := needs.missing():
            print("\n".join(f"no fleet on this machine: {sentence}" for sentence in told), file=sys.stderr)
            return 1
        # Here the network is still this machine's.
        if (
            not base.ready()
            and subprocess.run([*needs.OWN_MOUNTS, sys.executable, "-m", "tests.fleet.base"]).returncode
        ):
            return 1
        words = [sys.executable, "-m", "tests.fleet", *arguments]
        if arguments[:1] == ["--test"]:
            given = arguments[1:]
            paths = [] if any(word.startswith("tests/") for word in given) else ["tests/fleet"]
            chosen = [] if "-m" in given else ["-m", "not slow"]
            words = [sys.executable, "-m", "pytest", *paths, *chosen, *given]
        os.execvpe(needs.SPACES[0], [*needs.SPACES, *words], {**os.environ, INSIDE: "yes"})
    # The first process of its namespace has no signal that ends it by itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    fleet = Fleet(os.environ.get("KEYDB_SANDBOX_ENGINE"))
    try:
        if not arguments:
            print(WELCOME, flush=True)
        return subprocess.run(arguments or [os.environ.get("SHELL", "/bin/sh")], env=fleet.environment).returncode
    finally:
        fleet.end()


if __name__ == "__main__":
    sys.exit(main())

"""``pyinfra``, which kills itself before a step: ``python tests/kubernetes/dying.py STEP ARGUMENTS...``."""

from __future__ import annotations

import os
import signal
import sys

# First, since it makes the standard library cooperative.
from pyinfra_cli.main import main

from keydb_runbooks.operations.run import Run

wanted = sys.argv.pop(1)
do = Run._do


def die(self, step, *others):
    if step.code == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    return do(self, step, *others)


Run._do = die
sys.exit(main())

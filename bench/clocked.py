"""``pyinfra``, which writes down when each step began and ended: ``python bench/clocked.py FILE ARGUMENTS...``.

Each line is a step: BEGUN ENDED STEP WHERE, seconds of the machine's monotonic clock, which clients in pods share.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# First, since it makes the standard library cooperative.
from pyinfra_cli.main import main

from keydb_runbooks.operations.run import Run

path = Path(sys.argv.pop(1))
do = Run._do


def clock(self, step, *others):
    begun = time.monotonic()
    try:
        return do(self, step, *others)
    finally:
        with path.open("a") as file:
            file.write(f"{begun:.6f} {time.monotonic():.6f} {step.code} {step.where}\n")


Run._do = clock
sys.exit(main())

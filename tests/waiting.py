"""``pyinfra``, which waits in front of a step until it is told to go on: ``waiting.py STEP FOLDER ARGUMENTS...``.

It makes the file ``there`` in the folder when it stands, and goes on as soon as there is one ``go``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# First, since it makes the standard library cooperative.
from pyinfra_cli.main import main

from keydb_runbooks.operations.run import Run

wanted, folder = sys.argv.pop(1), Path(sys.argv.pop(1))
do = Run._do


def wait(self, step, *others):
    if step.code == wanted and not (folder / "there").exists():
        (folder / "there").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
    return do(self, step, *others)


Run._do = wait
sys.exit(main())

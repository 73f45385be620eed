"""pyinfra sorts operations by the lines that call them, and reads each caller's source for that, whenever it asks.

Without the sources it gets the same lines, and sooner: an install of 48 nodes has some 450 operations.
"""

from __future__ import annotations

import inspect
from functools import partial

from pyinfra.api import util


def read_no_sources() -> None:
    """Let pyinfra find its callers without their sources, if it still finds them as it did."""
    for name in ("stack", "getframeinfo"):
        found = getattr(inspect, name)
        if name in vars(util) and vars(util)[name] is found:
            setattr(util, name, partial(found, context=0))

"""Performing the step that waits until a replica's link is up, by a full resync perhaps."""

from __future__ import annotations

from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.resync import Joining
from keydb_runbooks.runbooks.steps import InSync


@perform.register
def _in_sync(step: InSync, links: Links) -> str:
    Joining(step, links).wait()
    return f"is in sync with {step.primary}"

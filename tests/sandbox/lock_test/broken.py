"""A deploy that is wrong on purpose: a switchover that neither pauses the old primary nor waits for the new one.

It leads the clients over while the old primary still writes, and the new one takes their writes before it has a replica:
waiting for that takes longer than a lease, and so would hide the locks that are still held.

    pyinfra inventories/sandbox.py tests/sandbox/lock_test/broken.py --data to=keydb-2 -y

Behind the promotion it dawdles, as a slow network would. The lock test must find what comes of it.
"""

import time
from dataclasses import replace

from pyinfra import host

from keydb_runbooks.operations import runbook
from keydb_runbooks.runbooks import switchover
from keydb_runbooks.runbooks.plan import Plan
from keydb_runbooks.runbooks.steps import CatchUp, Pause, Promote, Route

DAWDLE_SECONDS = 1.2
"""Longer than a lease, so that the new primary knows of no lock any more that is held when clients come to it."""


def plan(topology, request, _):
    answer = switchover.plan(topology, request, min_replicas=0)
    if not isinstance(answer, Plan):
        return answer
    hasty = [step for step in answer.steps if not isinstance(step, Pause | CatchUp | Route)]
    behind = next(number for number, step in enumerate(hasty, 1) if isinstance(step, Promote))
    hasty[behind:behind] = [step for step in answer.steps if isinstance(step, Route)]
    return replace(answer, steps=tuple(hasty))


def _dawdle():
    honest = runbook.perform_step

    def perform_step(step, links):
        told = honest(step, links)
        if isinstance(step, Promote):
            time.sleep(DAWDLE_SECONDS)
        return told

    perform_step.faulty = True
    runbook.perform_step = perform_step


# The file runs once for every host.
if not hasattr(runbook.perform_step, "faulty"):
    _dawdle()

runbook.carry_out(host, "Switchover", plan)

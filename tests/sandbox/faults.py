"""A deploy with a fault in it: a role verb whose run dies or stalls directly behind one of its steps.

    pyinfra inventories/sandbox.py tests/sandbox/faults.py --data verb=switchover --data die_after=Pause:2 -y

--data verb=NAME         which of runbooks/ is carried out
--data die_after=STEP:N  the process kills itself behind the N-th step of this kind
--data cut_before=STEP:N the operator is cut off from the step's node directly before the N-th step of this kind
--data hit_before=STEP:N directly before the N-th step of this kind
--data hit_after=STEP:N  directly behind the N-th step of this kind
--data hit_with=COMMAND  this command of the shell is run; $PPID is the run
--data freeze=NODE       this node is frozen directly before the group is looked at
--data stall=NODE        behind the first CatchUp this replica stops applying its stream, and the tool sleeps for longer
                         than the short pause, while clients go on writing
"""

import os
import signal
import subprocess
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

from pyinfra import host

from keydb_runbooks.connectors.network import OPERATOR, Network, sandbox_place
from keydb_runbooks.operations import runbook

STALL_SECONDS = 1.8


def _inject(data):
    honest, seen = runbook.perform_step, Counter()
    stalled = data.get("stall")

    def perform_step(step, links):
        seen[step.code] += 1
        place = f"{step.code}:{seen[step.code]}"
        if place == data.get("cut_before"):
            Network(*sandbox_place()).cut(OPERATOR, step.where)
        if place == data.get("hit_before"):
            subprocess.run(data.hit_with, shell=True, check=True)
        told = honest(step, links)
        if place == data.get("hit_after"):
            subprocess.run(data.hit_with, shell=True, check=True)
        if place == data.get("die_after"):
            os.kill(os.getpid(), signal.SIGKILL)
        if stalled and place == "CatchUp:1":
            links.node(stalled).execute_command("CLIENT", "PAUSE", 10**12, "WRITE")
            time.sleep(STALL_SECONDS)
        return told

    if data.get("freeze"):
        os.kill(int((Path(data.sandbox_directory) / data.freeze / "server.pid").read_text()), signal.SIGSTOP)
    perform_step.faulty = True
    runbook.perform_step = perform_step


# The file runs once for every host.
if not hasattr(runbook.perform_step, "faulty"):
    _inject(host.data)

decide = import_module(f"keydb_runbooks.runbooks.{host.data.verb}").plan
runbook.carry_out(host, host.data.verb.capitalize(), decide, named_by="node" if host.data.get("node") else "to")

"""Abort: the way back from a run that died before its promotion; ends a pause that was left behind.

    pyinfra inventories/sandbox.py deploys/abort.py

--data allow_unread=NAME  a silent node that the run that died did not promote (several: NAME,NAME)
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import runbook
from keydb_runbooks.runbooks import abort

runbook.carry_out(host, "Abort", abort.plan)

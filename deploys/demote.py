"""Demote: a primary stops being one, without a successor: it follows the rightful one, or is guarded.

    pyinfra inventories/sandbox.py deploys/demote.py --data node=keydb-1

--data node=NAME          the primary that shall be none
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import runbook
from keydb_runbooks.runbooks import demote

runbook.carry_out(host, "Demote", demote.plan, named_by="node")

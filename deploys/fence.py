"""Fence: no client of a node can write there until unfence says so, not even after a restart; no role moves.

    pyinfra inventories/sandbox.py deploys/fence.py --data node=keydb-1

--data node=NAME          the node that takes no more writes
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import runbook
from keydb_runbooks.runbooks import fence

runbook.carry_out(host, "Fence", fence.plan, named_by="node")

"""Unfence: clients of a node have their rights again, unless that makes a second writer.

    pyinfra inventories/sandbox.py deploys/unfence.py --data node=keydb-1

--data node=NAME          the node that is fenced
--data allow_unread=NAME  a silent node that is no primary (several: NAME,NAME)
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import runbook
from keydb_runbooks.runbooks import unfence

runbook.carry_out(host, "Unfence", unfence.plan, named_by="node")

"""Promote: one node becomes the primary of a group that has none; nobody is attached, and no route is told.

    pyinfra inventories/sandbox.py deploys/promote.py --data to=keydb-2

--data to=NAME            the node that shall be the primary
--data accept_split=yes   go on although it isn't proved that the old primary takes no more writes
--data accept_loss=NAME   a node whose own writes may be thrown away later (several: NAME,NAME)
--data allow_unread=NAME  a proxy that need not answer
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import runbook
from keydb_runbooks.runbooks import promote

runbook.carry_out(host, "Promote", promote.plan)

"""Switchover: the primary role moves to another node, and no acknowledged write is lost.

    pyinfra inventories/sandbox.py deploys/switchover.py --data to=keydb-2

--data to=NAME            the node that shall be the primary; without it the best replica
--data allow_unread=NAME  a node or proxy that need not answer (several: NAME,NAME)
--data accept_loss=NAME   a node that holds writes of its own is left out, for rejoin
--data accept_minority_lock=yes  go on though less than half of the nodes answer
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import runbook
from keydb_runbooks.runbooks import switchover

runbook.carry_out(host, "Switchover", switchover.plan)

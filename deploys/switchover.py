"""Switchover: the primary role moves to another node, and no acknowledged write is lost.

    pyinfra inventories/sandbox.py deploys/switchover.py --data to=keydb-2

--data to=NAME            the node that shall be the primary; without it the best replica
--data allow_unread=NAME  a node or proxy that need not answer (several: NAME,NAME)
--data accept_loss=NAME   a node that holds writes of its own is left out, for rejoin
--data allow_lag=SIZE      what the new primary may lack when it begins (64k); it gets all of it anyway
--data accept=CODE         a pre-check that may fail (several: CODE,CODE); docs/checks.md lists them
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data catch_up_timeout=SECONDS  how long it waits for a node that is behind; 30 without it
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import runbook
from keydb_runbooks.runbooks import switchover

runbook.carry_out(host, "Switchover", switchover.plan)

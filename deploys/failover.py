"""Failover: the primary is gone, and the best of the rest takes its role.

    pyinfra inventories/sandbox.py deploys/failover.py

--data to=NAME            the node that shall be the primary; without it the one with the most data
--data accept_split=yes   go on although it isn't proved that the old primary takes no more writes
--data accept_loss=NAME   a node that holds writes of its own is left out, for rejoin (several: NAME,NAME)
--data allow_unread=NAME  a proxy that need not answer
--data accept=CODE        a pre-check that may fail (several: CODE,CODE); docs/checks.md lists them
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import runbook
from keydb_runbooks.runbooks import failover

runbook.carry_out(host, "Failover", failover.plan)

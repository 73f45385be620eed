"""Restart: every node gets a new process, replicas first, the primary last; no write waits for it, and none is lost.

    pyinfra inventories/sandbox.py deploys/restart.py

--data since=MOMENT       only nodes that were started before it, in UTC: 2026-01-02T03:04:05Z; without it all of them
--data to=NAME            the node that shall be the next primary; without it the best replica
--data allow_unread=NAME  a node or proxy that need not answer (several: NAME,NAME)
--data accept=CODE        a pre-check that may fail (several: CODE,CODE)
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data catch_up_timeout=SECONDS  how long its switchover waits for a node that is behind; 30 without it
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

A run that was stopped prints the command that goes on with it: the same with since=, so nobody is restarted twice.
On pods each one is deleted in its turn, and comes back as it was installed last (docs/kubernetes.md).
With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import rolling, runbook, scope
from keydb_runbooks.runbooks import restart

scope.refuse_mixture(host, "restart")
group = scope.chosen_group(host)
if scope.conducts(host, group):
    runbook.carry_out(host, "Restart", rolling.startable(group, rolling.staying(restart.plan)))

"""Rejoin: every node that doesn't follow the primary becomes its replica; no role moves.

    pyinfra inventories/sandbox.py deploys/rejoin.py

--data allow_unread=NAME  a silent node that a switchover that died may have promoted
--data accept_loss=NAME   a node whose own writes may be thrown away, once they are saved (several: NAME,NAME)
--data save=node          where they are saved: node, fetch (save_to=DIRECTORY of this machine) or no
--data compare=yes        list the keys that differ (listed=N of them by name), or no
--data to=PRIMARY         its data are the right ones, though others have a history that it lacks
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import runbook, save, scope
from keydb_runbooks.runbooks import rejoin

runbook.carry_out(host, "Rejoin", save.informed(scope.chosen_group(host), rejoin.plan))

"""Upgrade: every node runs the program that is on its disk, replicas first, the primary last; no write is lost.

    pyinfra inventories/sandbox.py deploys/upgrade.py

--data keydb_server=PATH  the new program, if it doesn't lie where the old one did; then it belongs into the inventory
--data to=NAME            the node that shall be the next primary; without it the best replica
--data allow_unread=NAME  a node or proxy that need not answer (several: NAME,NAME)
--data accept=CODE        a pre-check that may fail (several: CODE,CODE)
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data catch_up_timeout=SECONDS  how long its switchover waits for a node that is behind; 30 without it
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

A node that runs that version already is left alone; so running it again goes on with what was stopped.
On pods install a new image first, or what else they are made of; upgrade replaces the pods that run as they were
installed before (docs/kubernetes.md).
With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import rolling, runbook, scope, upgrade

scope.refuse_mixture(host, "upgrade")
group = scope.chosen_group(host)
if scope.conducts(host, group):
    runbook.carry_out(host, "Upgrade", rolling.startable(group, rolling.staying(upgrade.asked(group))))

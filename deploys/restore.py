"""Restore: the data of a backup take the place of the group's, on one node first; what is replaced is saved before.

    pyinfra inventories/sandbox.py deploys/restore.py --data backup=backups/NAME.rdb

--data backup=FILE        the backup, by the path of its file; the description lies beside it
--data accept_replace=yes replace the keys that the group holds
--data to=NAME            the node that loads it and becomes the primary; without it a replica that is in sync
--data accept_again=yes   restore the same backup once more, and give up what was written since
--data allow_unread=NAME  a silent node or proxy that may be left out (several: NAME,NAME)
--data accept_split=yes   go on although a silent node, or a pod no longer listed, may take writes
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is changed; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import restoring, runbook, scope

runbook.carry_out(host, "Restore", restoring.informed(host, scope.chosen_group(host)))

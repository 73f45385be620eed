"""Backup: the data of a replica as a checked file on this machine; no server is changed, and no role moves.

    pyinfra inventories/sandbox.py deploys/backup.py

--data node=NAME          whose data; without it those of the replica that is in sync and has most
--data save_to=DIRECTORY  where to, on this machine; backups without it
--data keep=N             remove older backups of the group but the N newest
--data keep_days=N        remove those that are older than N days (with keep: only what neither keeps)
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

With --dry the plan is shown and nothing is done; without -y pyinfra asks before it acts.
"""

from pyinfra import host

from keydb_runbooks.operations import backups, runbook, scope

runbook.carry_out(host, "Backup", backups.informed(host, scope.chosen_group(host)), named_by="node")

"""Status: each group as a tree, what each proxy believes, and what is wrong. It changes nothing.

    pyinfra inventories/sandbox.py deploys/status.py

--data format=json  the same as JSON
--data group=NAME   only this group; without it every group of the inventory
"""

from pyinfra import host

from keydb_runbooks.operations import status

status.report(host)

"""Status: the group as a tree, what each proxy believes, and what is wrong. It changes nothing.

    pyinfra inventories/sandbox.py deploys/status.py

--data format=json  the same as JSON
--data group=NAME   which group, if the inventory has several
"""

from pyinfra import host

from keydb_runbooks.operations import status

status.report(host)

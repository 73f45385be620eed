"""History: every run that this machine or a node remembers, oldest first. It changes nothing, and no verb reads it.

    pyinfra inventories/sandbox.py deploys/history.py

--data format=json  one JSON document on standard output; each run is as in schemas/report.json
--data group=NAME   which group, if the inventory has several
"""

from pyinfra import host

from keydb_runbooks.operations import history

history.report(host)

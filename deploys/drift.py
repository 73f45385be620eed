"""Drift: is every group as it should be: roles, lineage, configuration, routes? It changes nothing.

    pyinfra inventories/sandbox.py deploys/drift.py

The exit code is 0 if all is as it should be, and 1 if something drifted or could not be looked at.

--data format=json  one JSON document (schemas/drift.json) on standard output
--data group=NAME   only this group; without it every group of the inventory
"""

from pyinfra import host

from keydb_runbooks.operations import drift

drift.report(host)

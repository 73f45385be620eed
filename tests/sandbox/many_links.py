"""A deploy that opens 48 links at once, one of them to keydb-3 and the others to its peers, and tells how that ended."""

import json
import time
from dataclasses import replace

from pyinfra import host

from keydb_runbooks.connectors.link import LinkError, in_parallel, link
from keydb_runbooks.operations import scope

LINKS = 48


def _open(entry):
    try:
        return link(entry)
    except LinkError as error:
        return error.code


group = scope.chosen_group(host)
if scope.conducts(host, group):
    first, second, third = group.nodes
    entries = [third, *([first, second] * LINKS)][:LINKS]
    before = time.monotonic()
    opened = in_parallel(_open, [replace(entry) for entry in entries])
    seconds = time.monotonic() - before
    failed = [one for one in opened if isinstance(one, str)]
    timeout = third.data("keydb_connect_timeout")
    print(json.dumps({"opened": len(opened) - len(failed), "failed": failed, "seconds": seconds, "timeout": timeout}))
    for one in opened:
        if not isinstance(one, str):
            one.close()

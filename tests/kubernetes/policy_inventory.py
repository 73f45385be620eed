"""``inventories/kubernetes.py``, and who may connect: clients only through the proxies, from namespaces that are named."""

import os
import runpy

_found = runpy.run_path("inventories/kubernetes.py")
_more = {
    "keydb_clients_only_through_proxies": True,
    "keydb_client_namespaces": os.environ.get("KEYDB_CLIENT_NAMESPACES", "").split(),
}

keydb = [(name, {**data, **_more}) for name, data in _found["keydb"]]
haproxy = (_found["haproxy"][0], {**_found["haproxy"][1], **_more})

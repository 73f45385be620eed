"""Two groups behind proxies, in one namespace, each made as the example's one is; what proxies are made of is said once."""

import os
import runpy
from pathlib import Path

_EXAMPLE = Path(__file__).parents[2] / "inventories" / "kubernetes.py"
_NAMED = "KEYDB_KUBERNETES_STATEFULSET"


def _made(name):
    os.environ[_NAMED] = name
    found = runpy.run_path(str(_EXAMPLE))
    del os.environ[_NAMED]
    return found


def _own(name):
    ((deployment,), data) = _made(name)["haproxy"]
    return deployment, {"keydb_group": name, "haproxy_address": data["haproxy_address"]}


keydb = [(pod, {**data, "keydb_group": name}) for name in ("keydb", "other") for pod, data in _made(name)["keydb"]]

haproxy = ([_own("keydb"), _own("other")], _made("keydb")["haproxy"][1])

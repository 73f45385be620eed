"""Pods that a chart made: their names and where peers find them come from the environment, and nothing is installed."""

import json
import os

from keydb_runbooks.connectors.secrets import Secret

_namespace = os.environ["KEYDB_KUBERNETES_NAMESPACE"]

_data = {
    "kubernetes_container": "server",
    "keydb_connect_timeout": 5,
    "keydb_command_timeout": 5,
    "keydb_engine": os.environ["KEYDB_KUBERNETES_ENGINE"],
    "keydb_users": {
        role: {"name": role, "password": Secret(os.environ[f"KEYDB_{role.upper()}_PASSWORD"])}
        for role in ("application", "replication", "operator", "monitoring", "check")
    },
    **json.loads(os.environ["KEYDB_CHART_DATA"]),
}

keydb = [
    (f"@kubernetes/{_namespace}/{pod}", {**_data, "keydb_address": f"{pod}.{service}.{_namespace}.svc.cluster.local"})
    for pod, service in json.loads(os.environ["KEYDB_CHART_PODS"])
]

"""An example: the three pods of a StatefulSet, and the Service that leads to the one that takes the writes.

    pyinfra inventories/kubernetes.py deploys/install.py --dry
    pyinfra inventories/kubernetes.py deploys/install.py
    pyinfra inventories/kubernetes.py deploys/status.py

KUBECONFIG                    the cluster and who you are in it; KEYDB_KUBERNETES_CONTEXT another context of it
KEYDB_KUBERNETES_NAMESPACE    default keydb
KEYDB_KUBERNETES_STATEFULSET  default keydb, as its headless Service
KEYDB_KUBERNETES_ENGINE       keydb, valkey or redis; default keydb
KEYDB_KUBERNETES_PODS         how many, default 3
KEYDB_KUBERNETES_IMAGE        the server's image, which only install needs
KEYDB_KUBERNETES_ROUTING      service or haproxy: what leads clients to the primary; default service
KEYDB_KUBERNETES_PROXY_IMAGE  HAProxy's image, which only install needs, and only for haproxy
KEYDB_KUBERNETES_TLS          a folder with ca.crt, tls.crt and tls.key: everything is encrypted then (docs/tls.md)
KEYDB_KUBERNETES_TLS_SECRET   a Secret that has the three, cert-manager's for instance; of the folder ca.crt alone then
KEYDB_OPERATOR_PASSWORD, ...  the passwords of the five users of docs/users.md
KEYDB_OPERATOR_PREVIOUS, ...  those before, while they are rotated: docs/rotate.md

Pods that somebody else made are taken as they are, without install: docs/kubernetes.md says what they must have.
`@kubernetes/NAMESPACE/statefulset/NAME` names all of a StatefulSet's pods at once.
"""

import os

from keydb_runbooks.connectors.secrets import Secret

_namespace = os.environ.get("KEYDB_KUBERNETES_NAMESPACE", "keydb")
_name = os.environ.get("KEYDB_KUBERNETES_STATEFULSET", "keydb")
_image = os.environ.get("KEYDB_KUBERNETES_IMAGE")
_routing = os.environ.get("KEYDB_KUBERNETES_ROUTING", "service")
_proxy_image = os.environ.get("KEYDB_KUBERNETES_PROXY_IMAGE")

_tls = os.environ.get("KEYDB_KUBERNETES_TLS")
_tls_secret = os.environ.get("KEYDB_KUBERNETES_TLS_SECRET")

_ca = {"keydb_tls_ca": f"{_tls}/ca.crt"} if _tls else {}
_files = {"keydb_tls_certificate": f"{_tls}/tls.crt", "keydb_tls_key": f"{_tls}/tls.key"} if _tls else {}
_certificate = {**_ca, "keydb_tls_secret": _tls_secret} if _tls_secret else {**_ca, **_files}

_users = {
    role: {
        "name": role,
        "password": Secret(os.environ.get(f"KEYDB_{role.upper()}_PASSWORD", "")),
        "previous": Secret(os.environ.get(f"KEYDB_{role.upper()}_PREVIOUS", "")),
    }
    for role in ("application", "replication", "operator", "monitoring", "check")
}


def _pod(number):
    pod = f"{_name}-{number}"
    return f"@kubernetes/{_namespace}/{pod}", {
        "kubernetes_container": "server",
        # The name by which its peers follow it: it stays when the pod comes back with another address.
        "keydb_address": f"{pod}.{_name}.{_namespace}.svc.cluster.local",
        # What is said to a server goes through the API server and the kubelet.
        "keydb_connect_timeout": 5,
        "keydb_command_timeout": 5,
        # A port-forward comes out on the pod's own loopback address.
        "keydb_bind": ["0.0.0.0"],  # noqa: S104 - the pod's network, not this machine's
        "keydb_engine": os.environ.get("KEYDB_KUBERNETES_ENGINE", "keydb"),
        # What switchover and failover move: the write Service, whose selector names the primary's pod, or proxies.
        "keydb_routing": _routing,
        "keydb_write_service": f"{_name}-write",
        # What install makes the pods of.
        **({"keydb_image": _image} if _image else {}),
        "keydb_read_service": f"{_name}-read",
        "keydb_volume_size": "1Gi",
        "keydb_cpu": "100m",
        # On the volume, so that the `replicaof` line outlives the pod.
        "keydb_config_directory": "/data",
        "keydb_data_directory": "/data",
        "keydb_log_file": "/data/server.log",
        "keydb_pid_file": "/data/server.pid",
        "keydb_history_file": "/data/runbook-history.jsonl",
        "keydb_maxmemory": "64mb",
        "keydb_users": _users,
        **_certificate,
    }


keydb = [_pod(number) for number in range(int(os.environ.get("KEYDB_KUBERNETES_PODS", "3")))]

# The proxies that are there now; install makes them of these data.
haproxy = (
    [f"@kubernetes/{_namespace}/deployment/{_name}-proxy"] if _routing == "haproxy" else [],
    {
        "kubernetes_container": "proxy",
        "haproxy_address": f"{_name}-write.{_namespace}.svc.cluster.local",
        **({"haproxy_image": _proxy_image} if _proxy_image else {}),
        # In the pod's memory.
        "haproxy_config_directory": "/run/haproxy",
        "haproxy_pid_file": "/run/haproxy/haproxy.pid",
        "keydb_connect_timeout": 5,
        "keydb_command_timeout": 5,
        "keydb_users": _users,
        **_ca,
    },
)

"""The nodes of a cluster: what each of them runs, and a second one in a network of its own.

The first node is the network in which the cluster lives. The second one is a network behind a cable to the first one's
bridge, with a kubelet, a containerd and rules of its own; only the file system is the same, so volumes are like those of
a storage that every node reaches (``second.py``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kubernetes.lab import needs

if TYPE_CHECKING:
    from tests.kubernetes.lab.processes import Processes

ALL_PODS, SERVICES = "10.244.0.0/16", "10.96.0.0/24"
DNS = "10.250.0.1"


@dataclass(frozen=True)
class Node:
    """One of them, and where its own things are."""

    name: str
    address: str
    pods: str
    home: Path
    control_group: str

    @property
    def socket(self) -> Path:
        return self.home / "containerd.sock"


FIRST = Node("node1", "10.250.0.1", "10.244.0.0/24", Path("/run/lab"), "keydb-lab")
SECOND = Node("node2", "10.250.0.2", "10.244.1.0/24", Path("/run/lab2"), "keydb-lab-2")
NODES = (FIRST, SECOND)


def prepare(node: Node) -> None:
    """Write what its programs read, and make its control groups."""
    node.home.mkdir(parents=True, exist_ok=True)
    (node.home / "resolv.conf").write_text(f"nameserver {DNS}\n")
    (node.home / "kubelet.json").write_text(json.dumps(_kubelet(node)))
    (node.home / "containerd.toml").write_text(_containerd(node))
    (node.home / "networks").mkdir()
    (node.home / "networks" / "10-lab.conflist").write_text(json.dumps(_network(node)))
    for hierarchy in hierarchies():
        folder = hierarchy / node.control_group
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / setting).exists():
                (folder / setting).write_text((hierarchy / setting).read_text())


def start_containerd(node: Node, processes: Processes) -> None:
    processes.run("containerd", "containerd", "--config", node.home / "containerd.toml")


def start(node: Node, processes: Processes, built: Path) -> None:
    """Begin its rules for Services, and its kubelet. The API server is there."""
    kubeconfigs = FIRST.home
    processes.run(
        "kube-proxy", built / "kube-proxy", f"--kubeconfig={kubeconfigs / 'admin.kubeconfig'}",
        "--proxy-mode=iptables", "--conntrack-max-per-core=0", f"--hostname-override={node.name}",
        f"--cluster-cidr={ALL_PODS}",
    )  # fmt: skip
    start_kubelet(node, processes, built)


def start_kubelet(node: Node, processes: Processes, built: Path) -> None:
    processes.run(
        "kubelet", built / "kubelet", f"--config={node.home / 'kubelet.json'}",
        f"--kubeconfig={FIRST.home / f'{node.name}.kubeconfig'}", f"--hostname-override={node.name}",
        f"--node-ip={node.address}", f"--root-dir={node.home / 'kubelet'}",
        f"--cert-dir={node.home / 'kubelet-certificates'}",
    )  # fmt: skip


def start_policies(node: Node, processes: Processes, built: Path) -> None:
    """Begin its rules for NetworkPolicies; they look the node up when they start."""
    processes.run(
        "policies", built / "policies", f"--kubeconfig={FIRST.home / 'admin.kubeconfig'}",
        f"--hostname-override={node.name}", f"--service-cluster-ip-range={SERVICES}", "--enable-ipv6=false",
    )  # fmt: skip


def is_ready(answer: str) -> bool:
    """Whether a node is, by what the API server says of it."""
    conditions = json.loads(answer)["status"].get("conditions", []) if answer else []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def hierarchies() -> list[Path]:
    """Where control groups are made: each hierarchy of version 1, or the only one of version 2."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and (path / "tasks").exists()]


def groups_left() -> list[Path]:
    """The control groups of a cluster that ended, wherever the container runtime made some."""
    root = Path("/sys/fs/cgroup")
    places = (root, *(folder for folder in root.iterdir() if folder.is_dir()))
    return [path for place in places for node in NODES if (path := place / node.control_group).is_dir()]


def _kubelet(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "cgroupDriver": "cgroupfs",
        # Without one of its own each kubelet would clean up the other's pods.
        "cgroupRoot": f"/{node.control_group}",
        "failCgroupV1": False,
        "failSwapOn": False,
        # Nobody but this machine's root is in this network.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(node.home / "resolv.conf"),
        "podLogsDir": str(node.home / "logs"),
        "volumePluginDir": str(node.home / "plugins"),
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "enforceNodeAllocatable": ["none"],
    }


def _network(node: Node) -> dict[str, object]:
    """Every pod at the end of a cable of its own, so that all its packets pass the rules of kube-proxy."""
    addresses = {"type": "host-local", "dataDir": str(node.home / "addresses"), "ranges": [[{"subnet": node.pods}]]}
    plugin = {"type": "ptp", "ipam": {**addresses, "routes": [{"dst": "0.0.0.0/0"}]}}
    return {"cniVersion": "0.4.0", "name": "lab", "plugins": [plugin]}


def _containerd(node: Node) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{node.home}/containerd"
state = "{node.home}/containerd-state"
[grpc]
  address = "{node.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{node.home}/opt"
[{cri}]
  sandbox_image = "docker.io/local/pause:1"
  # Else runc fails: can't get final child's PID from pipe.
  restrict_oom_score_adj = true
[{cri}.cni]
  bin_dir = "{needs.CNI}"
  conf_dir = "{node.home}/networks"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""

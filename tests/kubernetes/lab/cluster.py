"""A cluster in the namespaces of this process: started, waited for, ended.

Everything it writes lies in tmpfs that only this process and its children see; see ``__main__.py``.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from tests.kubernetes.lab import images, keys, nodes, programs
from tests.kubernetes.lab.nodes import FIRST, NODES, SERVICES
from tests.kubernetes.lab.processes import Processes, environment

HOME = FIRST.home
SERVER = f"https://{FIRST.address}:6443"
TOKENS = {
    "admin": ("admin", "system:masters"),
    **{node.name: (f"system:node:{node.name}", "system:nodes") for node in NODES},
}


class Cluster:
    """The programs of a cluster with one node. Whoever makes one ends it."""

    def __init__(self, archives: list[Path]) -> None:
        self.built = programs.build()
        HOME.mkdir(parents=True)
        self.processes = Processes(HOME)
        _isolate()
        _write()
        nodes.prepare(FIRST)
        try:
            self._start(archives)
        except BaseException:
            self.end()
            raise

    @property
    def kubeconfig(self) -> Path:
        return HOME / "admin.kubeconfig"

    def end(self) -> None:
        """End its programs; containers end with the namespace of their processes."""
        self.processes.end()

    def _start(self, archives: list[Path]) -> None:
        run, wait, urls = self.processes.run, self.processes.wait, "http://127.0.0.1:2379"
        peers = "http://127.0.0.1:2380"
        run(
            "etcd", "etcd", "--data-dir", HOME / "etcd", "--listen-client-urls", urls, "--advertise-client-urls", urls,
            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}",
        )  # fmt: skip
        nodes.start_containerd(FIRST, self.processes)
        run(
            "kube-apiserver", self.built / "kube-apiserver",
            f"--etcd-servers={urls}", f"--bind-address={FIRST.address}", f"--advertise-address={FIRST.address}",
            f"--cert-dir={HOME / 'certificates'}", f"--token-auth-file={HOME / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC", f"--service-cluster-ip-range={SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={HOME / 'accounts.pub'}",
            f"--service-account-signing-key-file={HOME / 'accounts.key'}",
            # Without it exec looks the node's name up.
            "--kubelet-preferred-address-types=InternalIP",
        )  # fmt: skip
        wait(lambda: ask("/readyz") == "ok", "the API server is ready", 60)
        run(
            "kube-controller-manager", self.built / "kube-controller-manager", f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={HOME / 'accounts.key'}",
            f"--root-ca-file={HOME / 'certificates' / 'apiserver.crt'}", "--leader-elect=false",
            "--node-monitor-grace-period=20s", f"--cert-dir={HOME / 'controllers'}",
        )  # fmt: skip
        run("kube-scheduler", self.built / "kube-scheduler", f"--kubeconfig={self.kubeconfig}", "--leader-elect=false")
        nodes.start(FIRST, self.processes, self.built)
        run("coredns", self.built / "coredns", "-conf", HOME / "Corefile")
        for archive in archives:
            self.processes.load(archive, FIRST.socket)
        wait(lambda: nodes.is_ready(ask(f"/api/v1/nodes/{FIRST.name}")), "the node is ready", 60)
        nodes.start_policies(FIRST, self.processes, self.built)
        wait(lambda: "default" in ask("/api/v1/namespaces/default/serviceaccounts/default"), "accounts", 60)


def ask(path: str) -> str:
    """What the API server answers; "" if it doesn't."""
    return tell("GET", path)


def tell(method: str, path: str) -> str:
    """The same for a request that may change something."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(f"{SERVER}{path}", headers={"Authorization": "Bearer admin-token"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=2) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def pause_image(built: Path, target: Path) -> Path:
    return images.archive(target, "docker.io/local/pause:1", {"pause": built / "pause"}, ["/pause"])


def _isolate() -> None:
    for words in (
        "ip link set lo up",
        "ip link add node0 type bridge",
        f"ip addr add {FIRST.address}/24 dev node0",
        "ip link set node0 up",
        "ip route add default via 10.250.0.254 dev node0",
    ):
        subprocess.run(words.split(), check=True, env=environment())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _write() -> None:
    for name, (user, group) in TOKENS.items():
        with (HOME / "tokens.csv").open("a") as file:
            file.write(f'{name}-token,{user},{name},"{group}"\n')
        (HOME / f"{name}.kubeconfig").write_text(json.dumps(_kubeconfig(name)))
    keys.write(HOME / "accounts.key", HOME / "accounts.pub")
    (HOME / "Corefile").write_text(
        f".:53 {{\n errors\n ready\n cache 5\n kubernetes cluster.local {{\n"
        f"  kubeconfig {HOME / 'admin.kubeconfig'} lab\n }}\n}}\n"
    )


def _kubeconfig(name: str) -> dict[str, object]:
    authority = str(HOME / "certificates" / "apiserver.crt")
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": SERVER, "certificate-authority": authority}}],
        "users": [{"name": name, "user": {"token": f"{name}-token"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
        "current-context": "lab",
    }

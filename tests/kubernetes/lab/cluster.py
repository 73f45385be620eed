"""A cluster of one node in the namespaces of this process: started, waited for, ended.

Everything it writes lies in tmpfs that only this process and its children see; see ``__main__.py``.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.kubernetes.lab import images, keys, needs, programs

HOME = Path("/run/lab")
NODE, ADDRESS = "node1", "10.250.0.1"
PODS, SERVICES = "10.244.0.0/24", "10.96.0.0/24"
SERVER = f"https://{ADDRESS}:6443"
CGROUP = "keydb-lab"
TOKENS = {"admin": ("admin", "system:masters"), "node": (f"system:node:{NODE}", "system:nodes")}


class Cluster:
    """Programs of a cluster, by name. Whoever makes one ends it."""

    def __init__(self, archives: list[Path]) -> None:
        self.home, self.built = HOME, programs.build()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.home.mkdir(parents=True)
        self._isolate()
        self._write()
        try:
            self._start(archives)
        except BaseException:
            self.end()
            raise

    @property
    def kubeconfig(self) -> Path:
        return self.home / "admin.kubeconfig"

    def _start(self, archives: list[Path]) -> None:
        here, urls = self.home, "http://127.0.0.1:2379"
        peers = "http://127.0.0.1:2380"
        self._run(
            "etcd", "etcd", "--data-dir", here / "etcd", "--listen-client-urls", urls, "--advertise-client-urls", urls,
            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}",
        )  # fmt: skip
        self._run("containerd", "containerd", "--config", here / "containerd.toml")
        self._run(
            "kube-apiserver", self.built / "kube-apiserver",
            f"--etcd-servers={urls}", f"--bind-address={ADDRESS}", f"--advertise-address={ADDRESS}",
            f"--cert-dir={here / 'certificates'}", f"--token-auth-file={here / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC", f"--service-cluster-ip-range={SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={here / 'accounts.pub'}",
            f"--service-account-signing-key-file={here / 'accounts.key'}",
            # Without it exec looks the node's name up.
            "--kubelet-preferred-address-types=InternalIP",
        )  # fmt: skip
        self.wait(lambda: self.ask("/readyz") == "ok", "the API server is ready", 60)
        self._run(
            "kube-controller-manager", self.built / "kube-controller-manager", f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={here / 'accounts.key'}",
            f"--root-ca-file={here / 'certificates' / 'apiserver.crt'}", "--leader-elect=false",
            "--node-monitor-grace-period=20s", f"--cert-dir={here / 'controllers'}",
        )  # fmt: skip
        self._run(
            "kube-scheduler", self.built / "kube-scheduler", f"--kubeconfig={self.kubeconfig}", "--leader-elect=false"
        )
        self._run(
            "kube-proxy", self.built / "kube-proxy", f"--kubeconfig={self.kubeconfig}", "--proxy-mode=iptables",
            "--conntrack-max-per-core=0", f"--hostname-override={NODE}", f"--cluster-cidr={PODS}",
        )  # fmt: skip
        self._run(
            "kubelet", self.built / "kubelet", f"--config={here / 'kubelet.json'}",
            f"--kubeconfig={here / 'node.kubeconfig'}", f"--hostname-override={NODE}", f"--node-ip={ADDRESS}",
            f"--root-dir={here / 'kubelet'}", f"--cert-dir={here / 'kubelet-certificates'}",
        )  # fmt: skip
        self._run("coredns", self.built / "coredns", "-conf", here / "Corefile")
        for archive in archives:
            self._import(archive)
        self.wait(self._is_ready, "the node is ready", 60)
        # It looks its node up when it starts.
        self._run(
            "policies", self.built / "policies", f"--kubeconfig={self.kubeconfig}", f"--hostname-override={NODE}",
            f"--service-cluster-ip-range={SERVICES}", "--enable-ipv6=false",
        )  # fmt: skip
        self.wait(lambda: "default" in self.ask("/api/v1/namespaces/default/serviceaccounts/default"), "accounts", 60)

    def ask(self, path: str) -> str:
        """What the API server answers; "" if it doesn't."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = urllib.request.Request(f"{SERVER}{path}", headers={"Authorization": "Bearer admin-token"})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=2) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""

    def wait(self, true: Callable[[], bool], what: str, seconds: float) -> None:
        """
        :raises RuntimeError: if it takes longer, or a program ended; with the end of the log
        """
        deadline = time.monotonic() + seconds
        while not true():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.log(name)}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.processes)
                raise RuntimeError(f"{what}: not within {seconds} s\n{logs}")
            time.sleep(0.05)

    def log(self, name: str, lines: int = 15) -> str:
        text = (self.home / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def end(self) -> None:
        """End the programs, each by its process id; containers end with the namespace of their processes."""
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 3
        for process in self.processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _is_ready(self) -> bool:
        text = self.ask(f"/api/v1/nodes/{NODE}")
        conditions = json.loads(text)["status"].get("conditions", []) if text else []
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _run(self, name: str, *words: object) -> None:
        with (self.home / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                # Ctrl-C is for whoever started all this; they end the programs.
                start_new_session=True,
            )

    def _import(self, archive: Path) -> None:
        words = [
            "ctr",
            "--address",
            str(self.home / "containerd.sock"),
            "-n",
            "k8s.io",
            "images",
            "import",
            str(archive),
        ]
        deadline = time.monotonic() + 20
        while True:
            done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{archive.name}: {done.stderr}\n{self.log('containerd')}")
            time.sleep(0.1)

    def _isolate(self) -> None:
        for words in (
            "ip link set lo up",
            "ip link add node0 type bridge",
            f"ip addr add {ADDRESS}/24 dev node0",
            "ip link set node0 up",
            "ip route add default via 10.250.0.254 dev node0",
        ):
            subprocess.run(words.split(), check=True, env=environment())
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for hierarchy in hierarchies():
            folder = hierarchy / CGROUP
            folder.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if (hierarchy / setting).exists():
                    (folder / setting).write_text((hierarchy / setting).read_text())

    def _write(self) -> None:
        for name, (user, group) in TOKENS.items():
            with (self.home / "tokens.csv").open("a") as file:
                file.write(f'{name}-token,{user},{name},"{group}"\n')
            (self.home / f"{name}.kubeconfig").write_text(json.dumps(_kubeconfig(self.home, name)))
        keys.write(self.home / "accounts.key", self.home / "accounts.pub")
        (self.home / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        (self.home / "kubelet.json").write_text(json.dumps(_kubelet(self.home)))
        (self.home / "containerd.toml").write_text(_containerd(self.home))
        (self.home / "Corefile").write_text(
            f".:53 {{\n errors\n ready\n cache 5\n kubernetes cluster.local {{\n"
            f"  kubeconfig {self.home / 'admin.kubeconfig'} lab\n }}\n}}\n"
        )
        networks = self.home / "networks"
        networks.mkdir()
        (networks / "10-lab.conflist").write_text(json.dumps(_network(self.home)))


def hierarchies() -> list[Path]:
    """Where control groups are made: each hierarchy of version 1, or the only one of version 2."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and (path / "tasks").exists()]


def groups_left() -> list[Path]:
    """The control groups of a cluster that ended, wherever the container runtime made some."""
    root = Path("/sys/fs/cgroup")
    return [path for path in (root / CGROUP, *(folder / CGROUP for folder in root.iterdir())) if path.is_dir()]


def environment() -> dict[str, str]:
    """Without proxies: the cluster is nobody's but ours."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "PATH": needs.SBIN}


def pause_image(built: Path, target: Path) -> Path:
    return images.archive(target, "docker.io/local/pause:1", {"pause": built / "pause"}, ["/pause"])


def _kubeconfig(home: Path, name: str) -> dict[str, object]:
    authority = str(home / "certificates" / "apiserver.crt")
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": SERVER, "certificate-authority": authority}}],
        "users": [{"name": name, "user": {"token": f"{name}-token"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
        "current-context": "lab",
    }


def _kubelet(home: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{home / 'containerd.sock'}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        # Nobody but this machine's root is in this network.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(home / "resolv.conf"),
        "podLogsDir": str(home / "logs"),
        "volumePluginDir": str(home / "plugins"),
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "enforceNodeAllocatable": ["none"],
    }


def _network(home: Path) -> dict[str, object]:
    """Every pod at the end of a cable of its own, so that all its packets pass the rules of kube-proxy."""
    addresses = {"type": "host-local", "dataDir": str(home / "addresses"), "ranges": [[{"subnet": PODS}]]}
    plugin = {"type": "ptp", "ipam": {**addresses, "routes": [{"dst": "0.0.0.0/0"}]}}
    return {"cniVersion": "0.4.0", "name": "lab", "plugins": [plugin]}


def _containerd(home: Path) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{home}/containerd"
state = "{home}/containerd-state"
[grpc]
  address = "{home}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
[{cri}]
  sandbox_image = "docker.io/local/pause:1"
  # Else runc fails: can't get final child's PID from pipe.
  restrict_oom_score_adj = true
[{cri}.cni]
  bin_dir = "{needs.CNI}"
  conf_dir = "{home}/networks"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""

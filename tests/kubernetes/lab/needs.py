"""What a cluster needs of this machine, looked at before anything is made: ``python -m tests.kubernetes.lab.needs``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.kubernetes.lab import programs

PROGRAMS = {
    "unshare": "util-linux",
    "ip": "iproute2",
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "socat": "socat",
    "openssl": "openssl",
    "gcc": "gcc libc6-dev",
}
"""Each program with Debian's package that brings it."""

CNI = Path("/usr/lib/cni")
PLUGINS = ("bridge", "host-local", "loopback", "portmap")
"""Of Debian's containernetworking-plugins."""

GO = (1, 26)
"""The oldest Go that CoreDNS can be built with."""

SPACES = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc")
"""What a whole cluster lives in: the kernel ends and unmounts everything in it when its first process ends."""

SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing() -> list[str]:
    """Why no cluster can be made here, a sentence each; none if one can, or if KUBECONFIG names one."""
    if os.environ.get("KUBECONFIG"):
        return (
            [] if Path(os.environ["KUBECONFIG"]).exists() else [f"there is no {os.environ['KUBECONFIG']} (KUBECONFIG)"]
        )
    if sys.platform != "linux":
        return [f"this is {sys.platform}: set KUBECONFIG to a cluster that you have (kind, k3s, any)"]
    if os.geteuid() != 0:
        return ["this user is not root, who alone may make namespaces; or set KUBECONFIG to a cluster that you have"]
    told = [
        f"there is no {program}: apt-get install {package}"
        for program, package in PROGRAMS.items()
        if shutil.which(program, path=SBIN) is None
    ]
    told += [
        f"there is no {CNI / plugin}: apt-get install containernetworking-plugins"
        for plugin in PLUGINS
        if not (CNI / plugin).exists()
    ]
    return [*told, *_no_go()] or _forbidden()


def _no_go() -> list[str]:
    if programs.built():
        return []
    wanted = ".".join(map(str, GO))
    go = programs.go()
    if go is None:
        return [f"there is no go, and Kubernetes has to be built once: install Go {wanted} or newer (go.dev/dl)"]
    told = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", told)
    if found is None or (int(found[1]), int(found[2])) < GO:
        return [f"go is {told.strip() or 'broken'}, and CoreDNS needs {wanted} or newer (go.dev/dl)"]
    return []


def _forbidden() -> list[str]:
    tried = subprocess.run([*SPACES, "true"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return []
    return [f"root may not make namespaces here (a container without privileges?): {tried.stderr.strip()}"]


def main() -> int:
    told = missing()
    for sentence in told:
        print(f"no Kubernetes on this machine: {sentence}", file=sys.stderr)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())

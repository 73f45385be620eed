"""What a fleet needs of this machine, looked at before anything is made: ``python -m tests.fleet.needs``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ssh-keygen": "openssh-client",
    "dpkg-deb": "dpkg",
    "gpg": "gnupg",
}
"""Each program with Debian's package that brings it."""

OWN_MOUNTS = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""What the base image is made in, so that the kernel ends and unmounts everything when its first process ends."""

SPACES = (*OWN_MOUNTS, "--net")
"""What a whole fleet lives in: the same, and nothing of it reaches this machine's network."""

SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing() -> list[str]:
    """Why no fleet can be made here, a sentence each; none if one can."""
    if sys.platform != "linux":
        return [f"this is {sys.platform}, and the machines of a fleet are Linux namespaces"]
    if os.geteuid() != 0:
        return ["this user is not root, who alone may make namespaces and mounts: sudo make test-fleet"]
    told = [
        f"there is no {program}: apt-get install {package}"
        for program, package in PROGRAMS.items()
        if shutil.which(program, path=SBIN) is None
    ]
    return told or [*_forbidden(), *_no_cgroups()]


def _forbidden() -> list[str]:
    tried = subprocess.run([*SPACES, "true"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return []
    return [f"root may not make namespaces here (a container without privileges?): {tried.stderr.strip()}"]


def _no_cgroups() -> list[str]:
    from tests.fleet.cgroups import unified

    if unified() is None:
        return ["no cgroup2 file system is mounted and writable, and by it machines are frozen"]
    return []


def main() -> int:
    told = missing()
    for sentence in told:
        print(f"no fleet on this machine: {sentence}", file=sys.stderr)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())

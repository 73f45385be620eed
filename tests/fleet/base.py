"""The base image: a Debian as it comes, with sshd, sudo and HAProxy, and an ordinary user who may do everything by sudo.

``python -m tests.fleet.base`` makes it by debootstrap and keeps it in ``build/fleet/base-SUITE`` until the recipe below is
another one. Machines see it below a layer of their own and never change it. FLEET_SUITE names another Debian.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build" / "fleet"
SUITE = os.environ.get("FLEET_SUITE") or "bookworm"
BASE = BUILD / f"base-{SUITE}"
STAMP = BASE / "etc" / "fleet-recipe"

MACHINE = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "iproute2",
    "openssl",
    "nftables",
    "libfaketime",
)
PROXY = ("haproxy", "socat")
# What a server's program is linked to that was built for Debian 12: KeyDB, and Debian's own Redis. Later ones bring the
# same libraries, one of them under another name.
SERVER = (
    "libcurl4" if SUITE == "bookworm" else "libcurl4t64",
    *("libstdc++6", "libzstd1", "libatomic1", "liblzf1", "libjemalloc2", "libsystemd0"),
)

USER = "vagrant"
"""The user's name, as on Vagrant's machines."""

SET_UP = f"""
set -eu
useradd --create-home --shell /bin/bash {USER}
echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}
chmod 440 /etc/sudoers.d/{USER}
install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh
# What must outlive a reboot can be read afterwards.
mkdir -p /var/log/journal
# Each machine gets its own.
rm -f /etc/ssh/ssh_host_*
# Nothing here would ever be up to date, and nobody logs in at a console.
systemctl disable --quiet nftables.service 2>/dev/null || true
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \\
    fstrim.timer console-getty.service getty.target
rm -rf /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/lib/apt/lists/*
"""


def recipe() -> str:
    """What the image is made by, as a checksum."""
    return hashlib.sha256(repr((SUITE, MACHINE, PROXY, SERVER, SET_UP)).encode()).hexdigest()


def ready() -> bool:
    """Whether the base image is there, made by this recipe."""
    return STAMP.exists() and STAMP.read_text() == recipe()


def main() -> int:
    """Make the base image unless it is ready; two who want it come one after the other."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready():
            try:
                _make()
            except RuntimeError as error:
                print(error, file=sys.stderr)
                return 1
    return 0


def _make() -> None:
    new = BASE.with_name(f"{BASE.name}.new")
    log = BUILD / f"{BASE.name}.log"
    for old in (new, BASE):
        shutil.rmtree(old, ignore_errors=True)
    print(f"making the base image {BASE}, once: about a minute; its log is {log}", flush=True)
    packages = ",".join((*MACHINE, *PROXY, *SERVER))
    mirror = [word for word in [os.environ.get("FLEET_MIRROR")] if word]
    with log.open("w") as told:
        for words in (
            ["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(new), *mirror],
            ["chroot", str(new), "/bin/sh", "-c", SET_UP],
        ):
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=told, stderr=told, check=False)
            if done.returncode:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
                raise RuntimeError(f"no base image: {words[0]} failed; see {log}. It ends with:\n{end}")
    (new / STAMP.relative_to(BASE)).write_text(recipe())
    new.rename(BASE)


if __name__ == "__main__":
    sys.exit(main())

"""What apt is told: of the inventory's repository, and to install."""

import os
import subprocess

import pytest

from keydb_runbooks.operations.packages import INSTALL, sources

SIGNED = "Signed-By: /etc/apt/keyrings/keydb-runbooks.asc\n"
HEAD = "# Written by keydb-runbooks\nTypes: deb\n"
# (as the inventory has it, apt's file)
REPOSITORIES = [
    (
        "https://apt.example bookworm main extra",
        f"{HEAD}URIs: https://apt.example\nSuites: bookworm\nComponents: main extra\n{SIGNED}",
    ),
    ("file:/srv/repository ./", f"{HEAD}URIs: file:/srv/repository\nSuites: ./\n{SIGNED}"),
]


@pytest.mark.parametrize("given, text", REPOSITORIES)
def test_a_repository_as_apt_reads_it(given, text):
    assert sources(given) == text


UPDATE = "-qq -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confold update"
ALL = "-qq -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confold install -y --no-install-recommends "
ALL += "--allow-change-held-packages"
# (the arguments, what apt-get is told, what is held)
INSTALLS = [
    (("haproxy.service", "", "haproxy", "socat"), [UPDATE, f"{ALL} haproxy socat"], ""),
    (("", "", "socat"), [UPDATE, f"{ALL} socat"], ""),
    (("", "1-1", "keydb-server"), [UPDATE, f"{ALL} keydb-server=1-1 keydb-tools=1-1"], "-qq hold keydb-server"),
]


@pytest.mark.parametrize("arguments, told, held", INSTALLS)
def test_apt_looks_once_for_what_is_new_and_takes_all_packages_together(tmp_path, arguments, told, held):
    """apt's own programs would change this machine: their places are taken by some that write down what they get."""
    needs = "Depends: libc6, keydb-tools (= 1-1)"
    for name in ("apt-get", "apt-mark", "apt-cache", "systemctl"):
        words = (
            f'[ "$2" = keydb-server=1-1 ] && echo "{needs}"'
            if name == "apt-cache"
            else f'echo "$*" >>{tmp_path}/{name}.told'
        )
        (tmp_path / name).write_text(f"#!/bin/sh\n{words}\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", INSTALL, "sh", *arguments], env=environment, check=True)
    assert (tmp_path / "apt-get.told").read_text().splitlines() == told
    marked = tmp_path / "apt-mark.told"
    assert (marked.read_text().strip() if marked.exists() else "") == held

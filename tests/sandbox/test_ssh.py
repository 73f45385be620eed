"""The role verbs over SSH: the sandbox's servers behind a real sshd on loopback, reached as machines are."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit import Sandbox, eventually, free_ports

from tests.conftest import SBIN, missing_for_ssh

pytestmark = pytest.mark.skipif(bool(missing_for_ssh()), reason=f"no {', '.join(missing_for_ssh())} on PATH")

INVENTORY = """
import json
from pathlib import Path

_home = Path({home!r})
_passwords = json.loads((_home / "passwords.json").read_text())
_common = dict(
    ssh_hostname="127.0.0.1", ssh_port={ssh_port}, ssh_user={user!r}, ssh_key={key!r},
    ssh_known_hosts_file={known_hosts!r}, keydb_group="demo", keydb_clients_only_through_proxies=True,
    keydb_users={{role: dict(name=role, password=password) for role, password in _passwords.items()}},
)
keydb = [
    (f"keydb-{{n}}", dict(
        _common, keydb_address="127.0.0.1", keydb_port={port} + 10 + n,
        keydb_config_directory=str(_home / f"keydb-{{n}}"), keydb_pid_file=str(_home / f"keydb-{{n}}" / "server.pid"),
    ))
    for n in (1, 2, 3)
]
haproxy = [("proxy-1", dict(
    _common, haproxy_address="127.0.0.1", haproxy_write_port={port},
    haproxy_runtime_socket=str(_home / "proxy-1" / "admin.sock"),
))]
"""

SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile {folder}/pid
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PermitRootLogin yes
AllowTcpForwarding {forwarding}
"""

Machines = Callable[[str], str]


@pytest.fixture
def machines(group: Sandbox, tmp_path: Path) -> Iterator[Machines]:
    """Starts an sshd whose ``AllowTcpForwarding`` is as given, and returns the inventory of the nodes behind it."""
    started: list[Path] = []

    def start(forwarding: str) -> str:
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
        port = free_ports()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        (tmp_path / "sshd.conf").write_text(SSHD.format(port=port, folder=tmp_path, forwarding=forwarding))
        subprocess.run([shutil.which("sshd", path=SBIN), "-f", tmp_path / "sshd.conf"], check=True)
        started.append(tmp_path / "pid")
        eventually(lambda: (tmp_path / "pid").exists(), "sshd runs")
        host_key = (tmp_path / "host.pub").read_text()
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
        inventory = tmp_path / "machines.py"
        values = {"home": str(group.directory), "port": group.port, "ssh_port": port, "key": str(tmp_path / "user")}
        values |= {"user": getpass.getuser(), "known_hosts": str(tmp_path / "known_hosts")}
        inventory.write_text(INVENTORY.format(**values))
        return str(inventory)

    yield start
    for pid_file in started:
        os.kill(int(pid_file.read_text()), signal.SIGTERM)


def test_a_switchover_and_a_failover_over_ssh(group: Sandbox, machines: Machines) -> None:
    inventory = machines("local")

    group.pyinfra(inventory, "deploys/switchover.py", "--data", "to=keydb-2", "-y").ok()
    group.kill("keydb-2")
    failover = group.pyinfra(inventory, "deploys/failover.py", "--data", "to=keydb-1", "-y").ok()

    assert "no server process runs on keydb-2" in failover.text
    assert "Traceback" not in failover.text and "Secsh" not in failover.text
    assert group.primaries() == ["keydb-1"]
    assert group.writable()


def test_an_sshd_that_forbids_forwarding_is_a_named_refusal(group: Sandbox, machines: Machines) -> None:
    inventory = machines("no")

    result = group.pyinfra(inventory, "deploys/switchover.py", "--data", "to=keydb-2", "-y")

    result.refused("sshd on keydb-1 forbids forwarding: it needs AllowTcpForwarding local")
    assert group.primaries() == ["keydb-1"]

"""The sandbox's servers behind a real sshd on loopback, reached as machines are."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import Sandbox, eventually, free_ports

from tests.conftest import SBIN

INVENTORY = """
import json
from pathlib import Path

_home = Path({home!r})
_passwords = json.loads((_home / "passwords.json").read_text())
_common = dict(
    ssh_hostname="127.0.0.1", ssh_port={ssh_port}, ssh_user={user!r}, ssh_key={key!r},
    ssh_known_hosts_file={known_hosts!r}, keydb_group="demo", keydb_clients_only_through_proxies=True,
    keydb_users={{role: dict(name=role, password=password) for role, password in _passwords.items()}}, **{tls!r},
)
keydb = [
    (f"keydb-{{n}}", dict(
        _common, keydb_address="127.0.0.1", keydb_port={port} + 10 + n,
        keydb_config_directory=str(_home / f"keydb-{{n}}"), keydb_pid_file=str(_home / f"keydb-{{n}}" / "server.pid"),
        keydb_data_directory=str(_home / f"keydb-{{n}}" / "data"), keydb_log_file=str(_home / f"keydb-{{n}}" / "server.log"),
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
"""Starts an sshd whose ``AllowTcpForwarding`` is as given, and returns the inventory of the nodes behind it."""


@contextmanager
def machines(group: Sandbox, folder: Path) -> Iterator[Machines]:
    """What starts sshds for a group; at the end they are stopped."""
    started: list[Path] = []

    def start(forwarding: str) -> str:
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        port = free_ports()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        (folder / "sshd.conf").write_text(SSHD.format(port=port, folder=folder, forwarding=forwarding))
        subprocess.run([shutil.which("sshd", path=SBIN), "-f", folder / "sshd.conf"], check=True)
        started.append(folder / "pid")
        eventually(lambda: (folder / "pid").exists(), "sshd runs")
        host_key = (folder / "host.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
        inventory = folder / "machines.py"
        values = {"home": str(group.directory), "port": group.port, "ssh_port": port, "key": str(folder / "user")}
        values |= {"user": getpass.getuser(), "known_hosts": str(folder / "known_hosts"), "tls": _tls(group)}
        inventory.write_text(INVENTORY.format(**values))
        return str(inventory)

    try:
        yield start
    finally:
        for pid_file in started:
            os.kill(int(pid_file.read_text()), signal.SIGTERM)


def _tls(group: Sandbox) -> dict[str, str]:
    directory = group.directory / "certificates"
    names = {"ca": "ca.pem", "certificate": "certificate.pem", "key": "key.pem"}
    return {f"keydb_tls_{key}": str(directory / name) for key, name in names.items()} if group.tls else {}

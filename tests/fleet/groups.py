"""A further group that install makes on the same machines: ports, paths and units of its own, and nothing left of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keydb_runbooks.connectors.certificates import kept_certificates
from tests.fleet.fleet import NODES, PROXIES, Fleet, Place
from tests.fleet.inventories import write_inventory, write_passwords


@contextmanager
def another_group(
    fleet: Fleet, name: str, port: int, engine: str, program: str | Path, *, encrypted: bool = False
) -> Iterator[Fleet]:
    """The machines as clients of that group see them; nothing of it is installed yet.

    :param port: of its servers; the proxies have the next three
    """
    folder = fleet.home / name
    folder.mkdir()
    write_passwords(folder)
    for machine in fleet.nodes:
        place = machine.root / "opt" / name
        place.mkdir(parents=True)
        shutil.copy2(program, place / f"{engine}-server")
    tls = kept_certificates(folder / "pki", [*NODES.values(), *PROXIES.values()]) if encrypted else {}
    ca = tls.pop("keydb_tls_ca", None)
    common: dict[str, object] = {
        "keydb_group": name,
        "keydb_clients_only_through_proxies": True,
        **({"keydb_tls_ca": ca} if encrypted else {}),
    }
    node = {
        "keydb_engine": engine,
        "keydb_server": f"/opt/{name}/{engine}-server",
        "keydb_port": port,
        "keydb_unit": f"{name}.service",
        "keydb_config_directory": f"/etc/{name}",
        "keydb_data_directory": f"/srv/{name}/data",
        "keydb_log_file": f"/srv/{name}/log/server.log",
        "keydb_history_file": f"/srv/{name}/log/history.jsonl",
        "keydb_pid_file": f"/run/{name}/server.pid",
        **tls,
    }
    proxy = {
        "haproxy_unit": f"{name}-lb.service",
        "haproxy_config_directory": f"/etc/{name}-lb",
        "haproxy_runtime_socket": f"/run/{name}-lb/admin.sock",
        "haproxy_pid_file": f"/run/{name}-lb/lb.pid",
        "haproxy_write_port": port + 1,
        "haproxy_read_port": port + 2,
        "haproxy_statistics_port": port + 3,
    }
    inventory = write_inventory(folder, fleet.home / "vagrant", common, node, proxy)
    try:
        yield fleet.at(Place(inventory, port, port + 1, ca, folder / "passwords.json"))
    finally:
        for machine in fleet.machines.values():
            machine.shell(
                f"systemctl disable --now {name}.service {name}-guard.service {name}-lb.service 2>/dev/null;"
                f"rm -rf /etc/{name} /etc/{name}-lb /srv/{name} /opt/{name} /etc/systemd/system/{name}*;"
                "systemctl daemon-reload",
                check=False,
            )
        shutil.rmtree(folder)

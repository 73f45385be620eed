"""Inventories of further groups on the machines, each in a folder with its passwords."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.fleet.fleet import NODES, PROXIES

ROLES = ("application", "replication", "operator", "monitoring", "check")

INVENTORY = """import json
from pathlib import Path
from keydb_runbooks.connectors.secrets import Secret
known = json.loads((Path(__file__).parent / "passwords.json").read_text())
users = {{role: {{"name": role, "password": Secret(known[role])}} for role in {roles!r}}}
if {admin}:
    users["admin"] = {{"name": "default", "password": Secret(known["default"])}}
common = {{**{common!r}, "keydb_users": users}}
keydb = [(name, {{**common, **data}}) for name, data in {nodes!r}.items()]
haproxy = [(name, {{**common, **data}}) for name, data in {proxies!r}.items()]
"""

Data = Mapping[str, object]


def write_passwords(folder: Path, **further: str) -> None:
    """A password for each role that no other group has."""
    made = {role: f"{folder.name}-secret-of-{role}" for role in ROLES}
    (folder / "passwords.json").write_text(json.dumps({**made, **further}))


def write_inventory(folder: Path, keys: Path, common: Data, node: Data, proxy: Data, *, admin: bool = False) -> str:
    """Write an inventory of all machines of the fleet; its path.

    :param keys: the folder with the machines' keys
    :param common: what all have in common; ``node`` and ``proxy``: what all of these have, None takes one out
    :param admin: whether it tells who may make users, the default user
    """
    ssh = {"ssh_user": "vagrant", "ssh_known_hosts_file": str(keys / "known_hosts"), "_sudo": True}

    def host(name: str, address: str, key: str, data: Data) -> dict[str, object]:
        own = {"ssh_hostname": address, "ssh_key": str(keys / "machines" / name / "nspawn" / "private_key")}
        return {**own, key: address, **{one: value for one, value in data.items() if value is not None}}

    nodes = {name: host(name, address, "keydb_address", node) for name, address in NODES.items()}
    proxies = {name: host(name, address, "haproxy_address", proxy) for name, address in PROXIES.items()}
    path = folder / "inventory.py"
    path.write_text(INVENTORY.format(roles=ROLES, admin=admin, common={**ssh, **common}, nodes=nodes, proxies=proxies))
    return str(path)

"""Three servers and two proxies on machines of their own, reached by SSH: the tests' fleet, or Vagrant's machines.

    pyinfra inventories/vagrant.py deploys/install.py      beside `make fleet`, or `vagrant up`

VAGRANT_DOTFILE_PATH  Vagrant's own: where the machines' keys are; default .vagrant
KEYDB_VAGRANT_ENGINE  keydb, valkey or redis; default keydb
"""

import os
from pathlib import Path

from keydb_runbooks.connectors.secrets import kept_passwords, previous_passwords

_folder = Path(os.environ.get("VAGRANT_DOTFILE_PATH", ".vagrant")).resolve()

# Made at random once, and kept in a file that only you can read. Not in group_data, which pyinfra reads for every
# inventory.
_roles = ["application", "replication", "operator", "monitoring", "check"]
# While they are rotated (docs/rotate.md) the old ones are in a second file.
_previous = previous_passwords(_folder / "previous.json")
_users = {
    role: {"name": role, "password": word, "previous": _previous.get(role, "")}
    for role, word in kept_passwords(_folder / "passwords.json", _roles).items()
}


def _machine(name, address, **data):
    # Whatever runs them, Vagrant keeps a private key for each in machines/NAME/PROVIDER.
    keys = sorted(_folder.glob(f"machines/{name}/*/private_key"))
    return name, {"ssh_hostname": address, "keydb_users": _users, **({"ssh_key": str(keys[0])} if keys else {}), **data}


def _node(number):
    address = f"192.168.56.{10 + number}"
    return _machine(f"keydb-{number}", address, keydb_address=address, keydb_first_primary=number == 1)


def _proxy(number):
    address = f"192.168.56.{20 + number}"
    return _machine(f"proxy-{number}", address, haproxy_address=address)


keydb = [_node(1), _node(2), _node(3)]
haproxy = [_proxy(1), _proxy(2)]

"""What all hosts of inventories/vagrant.py have in common, but for their passwords."""

import os
from pathlib import Path

_folder = Path(os.environ.get("VAGRANT_DOTFILE_PATH", ".vagrant")).resolve()

ssh_user = "vagrant"
# Machines that were made anew have new keys: remove this file then.
ssh_known_hosts_file = str(_folder / "known_hosts")
# An ordinary user who may do everything by sudo.
_sudo = True

keydb_group = "vagrant"
keydb_engine = os.environ.get("KEYDB_VAGRANT_ENGINE", "keydb")
keydb_maxmemory = "64mb"
keydb_clients_only_through_proxies = True

"""What all hosts of inventories/sandbox.py have in common, but for their passwords and certificates."""

import os
from pathlib import Path

sandbox_directory = str(Path(os.environ.get("KEYDB_SANDBOX_DIRECTORY", ".sandbox")).resolve())
sandbox_port_hint = "in the sandbox KEYDB_SANDBOX_PORT=... moves all ports"

keydb_group = "demo"
keydb_maxmemory = "64mb"
keydb_server_threads = 1
keydb_clients_only_through_proxies = True

"""What all hosts of inventories/sandbox.py have in common."""

import os
from pathlib import Path

from keydb_runbooks.connectors.secrets import kept_passwords, previous_passwords

sandbox_directory = str(Path(os.environ.get("KEYDB_SANDBOX_DIRECTORY", ".sandbox")).resolve())
sandbox_port_hint = "in the sandbox KEYDB_SANDBOX_PORT=... moves all ports"

keydb_group = "demo"
keydb_maxmemory = "64mb"
keydb_server_threads = 1
keydb_clients_only_through_proxies = True

# Made at random once, and kept in a file that only you can read.
_passwords = kept_passwords(
    Path(sandbox_directory) / "passwords.json",
    ["application", "replication", "operator", "monitoring", "check"],
)
_previous = previous_passwords(Path(sandbox_directory) / "previous.json")
keydb_users = {
    role: {"name": role, "password": password, "previous": _previous.get(role, "")}
    for role, password in _passwords.items()
}

# Everything encrypted, if asked for.
if os.environ.get("KEYDB_SANDBOX_TLS") == "yes":
    from keydb_runbooks.connectors.certificates import kept_certificates

    _addresses = ["127.0.0.1", *(f"127.0.{network}.{number}" for network in (1, 2) for number in (1, 2, 3))]
    _certificates = kept_certificates(Path(sandbox_directory) / "certificates", _addresses)
    keydb_tls_ca = _certificates["keydb_tls_ca"]
    keydb_tls_certificate = _certificates["keydb_tls_certificate"]
    keydb_tls_key = _certificates["keydb_tls_key"]

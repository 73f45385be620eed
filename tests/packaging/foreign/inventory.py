"""Somebody else's inventory: this machine, as the one server of a group."""

from pathlib import Path

_here = str(Path("made").resolve())
_roles = ("application", "replication", "operator", "monitoring", "check")

keydb = [
    (
        "@local",
        {
            "keydb_address": "127.0.0.1",
            "keydb_config_directory": _here,
            "keydb_data_directory": _here,
            "keydb_min_replicas_to_write": 0,
            "keydb_users": {role: {"name": role, "password": f"not a secret of {role}"} for role in _roles},
        },
    )
]

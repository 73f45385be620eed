"""Who can log in with which password while passwords are rotated."""

from __future__ import annotations

import json

import redis
from kit import NODES, Sandbox, eventually
from pages import gets_passwords

ROLES = ("application", "replication", "operator", "monitoring", "check")


def renew(group: Sandbox) -> dict[str, str]:
    """The inventory has new passwords, and the old ones beside them; these are returned."""
    old = group.passwords
    gets_passwords(group, "")
    return old


def previous(group: Sandbox) -> dict[str, str]:
    """The passwords before those of the inventory."""
    return dict(json.loads((group.directory / "previous.json").read_text()))


def logs_in(group: Sandbox, node: str, role: str, password: str) -> bool:
    client = group.client(node, role)
    client.connection_pool.connection_kwargs["password"] = password
    try:
        client.ping()
    except redis.AuthenticationError:
        return False
    except redis.ResponseError:
        # Logged in, and not allowed to PING.
        return True
    finally:
        client.connection_pool.disconnect()
    return True


def link_anew(group: Sandbox) -> None:
    """Replicas have to log in again."""
    (primary,) = group.primaries()
    group.ask(primary, "CLIENT", "KILL", "TYPE", "replica")
    for node in NODES:
        if node != primary:
            eventually(lambda node=node: group.follows(node, primary), f"{node} follows {primary} again", 15)

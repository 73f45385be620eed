"""What all hosts of inventories/prod.py have in common. docs/inventory.md lists every key."""

import os

from keydb_runbooks.connectors.secrets import Secret

ssh_user = "ops"
# An ordinary user who may do everything by sudo.
_sudo = True

keydb_group = "sessions"
keydb_engine = "keydb"
keydb_maxmemory = "2gb"

# One replica must hear the primary, or it takes no writes: a primary that froze and wakes up alone acknowledges
# nothing. The price: two nodes that are gone stop the third one's writes.
keydb_min_replicas_to_write = 1
keydb_min_replicas_max_lag = 2

# Say True only if a firewall keeps clients from reaching a server around the proxies. Then routes that were
# moved away are a proof that an old primary takes no writes, and failover needs no accept_split.
keydb_clients_only_through_proxies = False

# Passwords come from the environment here; a file or your vault's command does as well.
# A missing one is told with its key: keydb_users.operator.password. Secret hides it from `pyinfra --debug`.
# Of one that is rotated the old one stands beside it, KEYDB_OPERATOR_PREVIOUS for instance: docs/rotate.md.
keydb_users = {
    role: {
        "name": role,
        "password": Secret(os.environ.get(f"KEYDB_{role.upper()}_PASSWORD", "")),
        "previous": Secret(os.environ.get(f"KEYDB_{role.upper()}_PREVIOUS", "")),
    }
    for role in ("application", "replication", "operator", "monitoring", "check")
}

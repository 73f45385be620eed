"""An example: three machines with a server each, two with a proxy each, reached by SSH.

    pyinfra inventories/prod.py deploys/status.py

Machines need sshd, sudo, systemd, the server's program and, for the proxies, HAProxy and socat; on Debian install
brings the programs if `keydb_package` and `haproxy_package` name them: docs/fleet.md.
A group that somebody else installed is taken over as it is: docs/adopt.md.
"""

keydb = [
    # The name is what `to=` takes. keydb_address is where the server listens and its peers reach it.
    ("keydb-1.example.com", {"keydb_address": "10.0.0.11", "keydb_first_primary": True}),
    ("keydb-2.example.com", {"keydb_address": "10.0.0.12"}),
    ("keydb-3.example.com", {"keydb_address": "10.0.0.13"}),
]

haproxy = [
    ("proxy-1.example.com", {"haproxy_address": "10.0.0.21"}),
    ("proxy-2.example.com", {"haproxy_address": "10.0.0.22"}),
]

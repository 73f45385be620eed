"""Three servers and one proxy on this machine, as ordinary processes of yours.

    pyinfra inventories/sandbox.py deploys/install.py -y

KEYDB_SANDBOX_DIRECTORY  where everything is kept; default .sandbox
KEYDB_SANDBOX_PORT       first of the ports; default 17000: proxy 17000 to 17002, servers from 17011 on
KEYDB_SANDBOX_NODES      how many servers; default 3
KEYDB_SANDBOX_ENGINE     keydb, valkey or redis; default is the first that is found
KEYDB_SANDBOX_SERVER     the servers' program, of that engine; default is the one that is found
KEYDB_SANDBOX_TLS        yes encrypts everything, with certificates of a small CA that is made once
KEYDB_SANDBOX_RELAYS     yes puts a network between them that can be cut and slowed: connectors/network.py
"""

import os
from pathlib import Path

from keydb_runbooks.connectors import network
from keydb_runbooks.connectors.programs import find_proxy, find_server
from keydb_runbooks.connectors.secrets import kept_passwords, previous_passwords

_directory = Path(os.environ.get("KEYDB_SANDBOX_DIRECTORY", ".sandbox")).resolve()
_port = int(os.environ.get("KEYDB_SANDBOX_PORT", "17000"))
_relays = os.environ.get("KEYDB_SANDBOX_RELAYS") == "yes"
_engine, _server = find_server(os.environ.get("KEYDB_SANDBOX_ENGINE"))
_server = os.environ.get("KEYDB_SANDBOX_SERVER", _server)

# Made at random once, and kept in a file that only you can read. Not in group_data, which pyinfra reads for every
# inventory.
_roles = ["application", "replication", "operator", "monitoring", "check"]
# While they are rotated (docs/rotate.md) the old ones are in a second file.
_previous = previous_passwords(_directory / "previous.json")
_users = {
    role: {"name": role, "password": password, "previous": _previous.get(role, "")}
    for role, password in kept_passwords(_directory / "passwords.json", _roles).items()
}
_secrets = {"keydb_users": _users}

# Everything encrypted, if asked for.
if os.environ.get("KEYDB_SANDBOX_TLS") == "yes":
    from keydb_runbooks.connectors.certificates import kept_certificates

    _addresses = ["127.0.0.1", *(f"127.0.{side}.{number}" for side in (1, 2) for number in (1, 2, 3))]
    _secrets |= kept_certificates(_directory / "certificates", _addresses)


def _node(number):
    home = _directory / f"keydb-{number}"
    return f"@sandbox/keydb-{number}", {
        **_secrets,
        "keydb_engine": _engine,
        "keydb_server": _server,
        "keydb_address": network.relay_address(number) if _relays else "127.0.0.1",
        "keydb_port": _port + 10 + number,
        "keydb_config_directory": str(home),
        "keydb_data_directory": str(home / "data"),
        "keydb_log_file": str(home / "server.log"),
        "keydb_pid_file": str(home / "server.pid"),
        "keydb_history_file": str(home / "history.jsonl"),
        "keydb_operator_history_file": str(_directory / "history.jsonl"),
        "keydb_first_primary": number == 1,
        **(_behind_relay(number) if _relays else {}),
    }


def _behind_relay(number):
    # KeyDB replicates from the address that it listens on; the others have to be told.
    address = network.server_address(number)
    return {"keydb_bind": [address], "keydb_settings": {} if _engine == "keydb" else {"bind-source-addr": address}}


keydb = [_node(number) for number in range(1, int(os.environ.get("KEYDB_SANDBOX_NODES", "3")) + 1)]

_home = _directory / "proxy-1"
haproxy = [
    (
        "@sandbox/proxy-1",
        {
            **_secrets,
            "haproxy_program": find_proxy(),
            "haproxy_address": "127.0.0.1",
            "haproxy_write_port": _port,
            "haproxy_read_port": _port + 1,
            "haproxy_statistics_port": _port + 2,
            "haproxy_config_directory": str(_home),
            "haproxy_runtime_socket": str(_home / "admin.sock"),
            "haproxy_pid_file": str(_home / "haproxy.pid"),
            **({"haproxy_source_address": network.PROXY_ADDRESS} if _relays else {}),
        },
    )
]

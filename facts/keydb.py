"""Facts about a KeyDB, Valkey or Redis server on one host, for anybody's deploy.

They speak to the server with what every machine has: bash opens the connection, and the password comes from a file on
the node (``operations.keydb.credentials`` writes it), so no CLI is needed and no secret is in an argument.
Runbooks don't use them for roles: they read the whole group at one moment through links (``observation``).
"""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.api.exceptions import FactProcessError

from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.machine import SERVERS, process_command
from keydb_runbooks.runbooks.configuration import ROLE_DIRECTIVE, parse
from keydb_runbooks.runbooks.replication import Address, InfoError, node_from_info, read_info

# $1 address, $2 port, $3 file with an inline AUTH line. fd 3 is the connection; QUIT makes the server close it.
ASK = 'exec 3<>"/dev/tcp/$1/$2" && { cat -- "$3"; printf "INFO\\r\\nQUIT\\r\\n"; } >&3 && cat <&3'

# The same over TLS; $4 is the CA's file. With -quiet s_client goes on behind the end of its input; its exit code says
# nothing, since servers end without a farewell, so grep's tells whether anything came.
ASK_TLS = (
    '{ cat -- "$3"; printf "INFO\\r\\nQUIT\\r\\n"; } | '
    'openssl s_client -quiet -verify_quiet -verify_return_error -CAfile "$4" -connect "$1:$2" 2>/dev/null | grep .'
)

# Behind one of #>!< in a user's line stands a password or its hash, quoted or not: that doesn't leave the machine.
CONFIGURED = r"""
users=
! grep -qsiE '^[[:space:]]*aclfile[[:space:]]' "$1" ||
    users=$(sed -nE 's/^[[:space:]]*aclfile[[:space:]]+"?([^"]*[^"[:space:]])"?[[:space:]]*$/\1/Ip' "$1" | tail -n 1)
sed -nE -e '/^[[:space:]]*(replicaof|slaveof|port|user)[[:space:]]/I!d' \
    -e 's/([[:space:]])"[#>!<]([^"\\]|\\.)*"/\1#/g' -e "s/([[:space:]])'[#>!<][^']*'/\\1#/g" \
    -e 's/([[:space:]])[#>!<][^[:space:]]*/\1#/g' -e p "$1" ${users:+"$users"} 2>/dev/null
true
""".strip()


class KeydbInfo(FactBase[dict[str, list[str]]]):
    """Returns every field of INFO with its values in order, None if the server didn't answer.

    + address: where the server listens
    + port: its port
    + auth_file: file on the node with an inline AUTH line, see ``keydb.credentials``
    + tls_ca: file on the node with the CA of the server's certificate, if it speaks TLS (needs openssl there)

    .. code:: python

        {"role": ["slave"], "master_host": ["10.0.0.1"], "slave_repl_offset": ["104857"]}
    """

    shell_executable = "bash"

    def command(self, address: str, port: int, auth_file: str, tls_ca: str | None = None) -> StringCommand:
        arguments = map(QuoteString, (address, str(port), auth_file, *([tls_ca] if tls_ca else [])))
        script = QuoteString(ASK_TLS if tls_ca else ASK)
        return StringCommand("timeout", "5", "bash", "-c", script, "bash", *arguments)

    def process(self, output: list[str]) -> dict[str, list[str]]:
        errors = [line for line in output if line.startswith("-")]
        if errors:
            raise FactProcessError(f"the server answered {errors[0][1:]!r}: check the credentials file")
        return read_info("\n".join(output))


class Replication(TypedDict):
    """What ``KeydbReplication`` returns; offsets in bytes of the stream, None is unknown."""

    role: str
    primary: str | None
    link_up: bool | None
    offset: int
    replication_id: str
    replicas_online: int


class KeydbReplication(KeydbInfo):
    """Returns the replication role, None if the server didn't answer. Arguments as ``KeydbInfo``.

    .. code:: python

        {"role": "replica", "primary": "10.0.0.1:6379", "link_up": True, "offset": 104857,
         "replication_id": "8ac1...", "replicas_online": 0}
    """

    def process(self, output: list[str]) -> Replication:  # type: ignore[override]
        super().process(output)
        try:
            node = node_from_info("", Address("", 0), "\n".join(output))
        except InfoError as error:
            raise FactProcessError(str(error)) from None
        return Replication(
            role=node.role.value,
            primary=str(node.link.primary) if node.link is not None else None,
            link_up=node.link.up if node.link is not None else None,
            offset=node.offset,
            replication_id=node.replication_id,
            replicas_online=sum(replica.online for replica in node.replicas),
        )


class KeydbProcess(FactBase[int]):
    """Returns the process id of the server, 0 if none runs, None if that is unknown.

    + pid_file: where the server writes its process id
    """

    def command(self, pid_file: str) -> StringCommand:
        return process_command(pid_file, SERVERS)

    def process(self, output: list[str]) -> int:
        return int(output[0])


class Configured(TypedDict):
    """What ``KeydbConfigured`` returns."""

    replicaof: str
    users: list[str]


class KeydbConfigured(FactBase[Configured]):
    """Returns what a configuration file says of a server's role and users, None if it can't be read.

    + path: the configuration file; if it names an ACL file, the users are those of that

    .. code:: python

        {"replicaof": "10.0.0.1 6379", "users": ["user application on # ~* &* +@all -@dangerous"]}
    """

    def command(self, path: str) -> StringCommand:
        return script(CONFIGURED, path)

    def process(self, output: list[str]) -> Configured:
        users = [line for line in output if line.split()[0].lower() == "user"]
        others = "\n".join(line for line in output if line not in users)
        lines = [line for line in parse(others) if line.key == (ROLE_DIRECTIVE,)]
        value = " ".join(lines[-1].values) if lines else ""
        return Configured(replicaof="" if value.lower() == "no one" else value, users=users)

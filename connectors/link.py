"""One RESP connection to a server, over whichever way pyinfra reaches the server's host.

``link(host)`` gives a redis-py client that holds exactly one connection. It is never opened a second time behind
the caller's back: after a time-out or a break it stays closed, so that no command is sent twice and none is sent by
somebody who lost the right to (convergence-facts, "The lock without a file").

With ``keydb_tls_ca`` in the inventory the link is encrypted, and the server must show a certificate of that CA.

Ways (links-facts): TCP from this machine for the sandbox and ``@local``; a ``direct-tcpip`` channel of the connection
that pyinfra holds for SSH. A connector of another kind offers a method ``open_link_socket(address, port, timeout)``.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import gevent
import redis
from paramiko import ChannelException
from paramiko.common import OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
from pyinfra.api.host import Host
from pyinfra.connectors.local import LocalConnector
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, Connection
from redis.retry import Retry

from keydb_runbooks.connectors.group import Credentials, Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.pulse import ENDED, broken
from keydb_runbooks.connectors.tls import TlsStream, client_context
from keydb_runbooks.runbooks.drift_certificate import Shown
from keydb_runbooks.runbooks.replication import Address

# A refused channel is told by name; paramiko would print it as well.
logging.getLogger("paramiko.transport").setLevel(logging.CRITICAL)

Client = redis.Redis
Dial = Callable[[float | None], Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


class LinkError(Exception):
    """A link could not be opened or broke; ``code`` is one of ``Unread``'s codes.

    After a break in the middle of a command it is unknown whether the server executed it.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class LinkConnection(Connection):
    """A redis-py connection that is opened once, by ``dial`` instead of by an address of its own."""

    def __init__(self, *, dial: Dial, tls_ca: str | None, **arguments: Any) -> None:
        self._dial: Dial | None = dial
        self._tls_ca = tls_ca
        super().__init__(**arguments)  # type: ignore[no-untyped-call]

    def _connect(self) -> Any:
        dial, self._dial = self._dial, None
        if dial is None:
            raise redis.ConnectionError("the link is closed and is not opened again")
        opened = dial(cast("float | None", self.socket_connect_timeout))
        if self._tls_ca is not None:
            opened.settimeout(self.socket_connect_timeout)
            opened = _encrypted(opened, self._tls_ca, Address(self.host, self.port))
        opened.settimeout(self.socket_timeout)
        return opened


def link(node: NodeEntry, *, role: str = "operator", patience: float | None = None, loading: bool = False) -> Client:
    """Open a link to a server and log in.

    :param role: which of the inventory's ACL users logs in
    :param patience: seconds to wait for it, if they are less than the inventory's ``keydb_connect_timeout``
    :param loading: whether a server that loads its data will do, which Redis and Valkey refuse most commands meanwhile
    :raises LinkError: refused, no-answer, wrong-password, unreachable-host, forwarding-forbidden, not-trusted,
        not-a-server
    """
    return with_either(node, role, lambda user: link_as(node, user, patience, loading=loading))


def with_either(node: NodeEntry, role: str, opened: Callable[[Credentials], Client]) -> Client:
    """A link with a user's password, or with the one before where the new one is not known yet (docs/rotate.md).

    :raises LinkError: as ``link``
    """
    try:
        return opened(node.user(role))
    except LinkError as error:
        before = node.previous(role)
        if error.code != "wrong-password" or before is None:
            raise
    return opened(before)


def certificate_of(node: NodeEntry) -> Shown:
    """The certificate that a server shows now, which a link would trust. Nobody logs in.

    :raises LinkError: as ``link``, and no-link; also OSError
    """
    timeout = float(node.data("keydb_connect_timeout"))
    opened = _dial(node.host, node.address)(timeout)
    opened.settimeout(timeout)
    encrypted = _encrypted(opened, node.data("keydb_tls_ca"), node.address)
    try:
        return encrypted.shown
    finally:
        encrypted.close()


def link_as(node: NodeEntry, user: Credentials, patience: float | None = None, *, loading: bool = False) -> Client:
    """The same for one user.

    :raises LinkError: as ``link``
    """
    return _link_by(node, node.host, node.address, user, patience, loading=loading)


def link_through(proxy: ProxyEntry, port: Address, group: Group) -> Client:
    """Open a link to whatever node a proxy leads to from one of its ports, and log in as the operator.

    :raises LinkError: as ``link``
    """
    node = group.nodes[0]
    return with_either(node, "operator", lambda user: _link_by(node, proxy.host, port, user))


def _link_by(
    node: NodeEntry,
    host: Host,
    address: Address,
    user: Credentials,
    patience: float | None = None,
    *,
    loading: bool = False,
) -> Client:
    """A link with the time-outs and the CA that the inventory has for a node."""
    timeout = node.data("keydb_connect_timeout")
    return link_to(
        host,
        address,
        user,
        connect_timeout=timeout if patience is None else min(timeout, patience),
        command_timeout=node.data("keydb_command_timeout"),
        tls_ca=node.data("keydb_tls_ca"),
        loading=loading,
    )


def link_to(
    host: Host,
    address: Address,
    user: Credentials,
    *,
    connect_timeout: float,
    command_timeout: float,
    tls_ca: str | None,
    loading: bool = False,
) -> Client:
    """Open a link to any address that ``host`` can reach, a proxy's for instance; times in seconds.

    :param tls_ca: path of the CA that the server's certificate must be of; None for a link without TLS
    :param loading: as ``link``'s
    :raises LinkError: as ``link``
    """
    if not host.connected:
        raise LinkError("unreachable-host", f"pyinfra has no connection to {host.name}")
    # Two who use a link at once, a step and the lock's beat, come one after the other.
    pool = BlockingConnectionPool(
        connection_class=LinkConnection,
        max_connections=1,
        timeout=2 * command_timeout,
        dial=_dial(host, address),
        tls_ca=tls_ca,
        host=address.host,
        port=address.port,
        username=user.name,
        password=user.password,
        protocol=2,
        decode_responses=True,
        encoding_errors="surrogateescape",
        socket_connect_timeout=connect_timeout,
        socket_timeout=command_timeout,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,
    )
    client = redis.Redis(connection_pool=pool)
    # The parsers of runbooks/ read INFO themselves, since redis-py keeps one value of repeated fields.
    client.set_response_callback("INFO", lambda text, **_: text)
    try:
        # All of it together: a connect, a handshake or a login that meets silence costs this once.
        with gevent.Timeout(connect_timeout, TimeoutError("no answer")):
            if loading:
                # As the lock's beat: who loads its data answers that.
                client.execute_command("CLIENT", "ID")
            else:
                ping(client)
    except (redis.RedisError, OSError) as error:
        raise explain(error, address) from None
    return client


def ping(client: Client) -> None:
    """Wait for any answer. Redis and Valkey refuse even a PING while they can't save their data, but they do answer.

    :raises redis.RedisError: if there is none, or another error
    """
    try:
        client.ping()
    except redis.ResponseError as error:
        if not str(error).startswith("MISCONF"):
            raise


def explain(error: Exception, address: Address) -> LinkError:
    """Name what went wrong on a link, for people and for ``Unread``."""
    if isinstance(error, LinkError):
        return error
    text = str(error)
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return LinkError("loading", f"{address} is loading its data")
    if isinstance(error, redis.AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return LinkError("wrong-password", f"{address} does not accept the operator's name and password")
    if told := _explain_refusal(error, address):
        return told
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return LinkError("no-answer", f"{address} did not answer in time")
    if isinstance(error, redis.ConnectionError | OSError):
        if "refused" in text:
            return LinkError("refused", f"nothing listens on {address}")
        return LinkError("no-answer", f"the link to {address} broke: {text}")
    return LinkError("not-a-server", f"{address} answered with an error: {text}")


def _explain_refusal(error: Exception, address: Address) -> LinkError | None:
    """What a server said that answers, but doesn't do what it is asked for."""
    if isinstance(error, redis.exceptions.NoPermissionError):
        return LinkError("not-permitted", f"{address} does not permit a command that is needed: {error}")
    if str(error).startswith("BUSY "):
        told = f"{address} runs a script that does not end; wait for it, or end it with SCRIPT KILL"
        return LinkError("busy-script", told)
    if missing := missing_command(error):
        return LinkError("command-missing", f"{address} does not know {missing}: renamed or disabled there")
    return None


def missing_command(error: Exception) -> str | None:
    """The command that a server says it doesn't know; never its arguments, which may be a password."""
    found = re.match(r"unknown (?:sub)?command [`']([\w|]+)", str(error))
    return found[1].upper() if found is not None else None


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Do the same with every item at once; results in the items' order. The first exception is raised."""
    greenlets = [gevent.spawn(work, item) for item in items]
    gevent.joinall(greenlets)
    return [greenlet.get() for greenlet in greenlets]


def _dial(host: Host, address: Address) -> Dial:
    connector = host.connector
    if hasattr(connector, "open_link_socket"):
        return lambda timeout: connector.open_link_socket(address.host, address.port, timeout)
    if isinstance(connector, LocalConnector):
        return lambda timeout: _tcp(address, timeout)
    client = getattr(connector, "client", None)
    if client is not None and hasattr(client, "get_transport"):
        return lambda timeout: _channel(client.get_transport(), host, address, timeout)
    kind = type(connector).__name__
    raise LinkError("no-link", f"{host.name} is reached by {kind}, which offers no way for a link")


def _encrypted(opened: Any, ca: str, address: Address) -> TlsStream:
    try:
        return TlsStream(opened, client_context(ca), address.host)
    except ssl.SSLCertVerificationError as error:
        opened.close()
        told = f"the certificate of {address} is not good: {error.verify_message}"
        raise LinkError("not-trusted", f"{told}; look at keydb_tls_ca and keydb_tls_certificate") from None
    except ssl.SSLError as error:
        opened.close()
        told = f"{address} does not answer as TLS wants it ({error.reason or error})"
        raise LinkError("not-trusted", f"{told}; is it a server that speaks TLS?") from None


def _tcp(address: Address, timeout: float | None) -> socket.socket:
    opened = socket.create_connection((address.host, address.port), timeout)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _channel(transport: Any, host: Host, address: Address, timeout: float | None) -> Any:
    try:
        return transport.open_channel("direct-tcpip", (address.host, address.port), ("127.0.0.1", 0), timeout=timeout)
    except ChannelException as error:
        if error.code == OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED:
            told = f"sshd on {host.name} forbids forwarding: it needs AllowTcpForwarding local"
            raise LinkError("forwarding-forbidden", told) from None
        raise LinkError("refused", f"nothing listens on {address} of {host.name}") from None
    except ENDED as error:
        raise LinkError("no-answer", broken(host, error)) from None

"""HAProxy's runtime socket: one held connection, opened before the critical part.

The socket stays a Unix socket for its owner only. On this machine it is opened directly; over SSH one exec channel
runs ``socat`` as root (paramiko opens no Unix-socket channels). In a pod it is a port on its own loopback address,
where port-forwards come out: nobody but HAProxy is there, and its image needs no ``socat``.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Container, Sequence
from typing import Any

from pyinfra.api.host import Host
from pyinfra.connectors.local import LocalConnector

from keydb_runbooks.connectors.group import ProxyEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.link import LinkError
from keydb_runbooks.connectors.pulse import ENDED, broken

# As root only where it has to be.
SOCAT = 'if [ -w "$1" ]; then exec socat - "UNIX-CONNECT:$1"; else exec sudo -n socat - "UNIX-CONNECT:$1"; fi'

PROMPT = b"\n> "


class RuntimeSocketError(Exception):
    """The socket can't be reached, or HAProxy refused a command; ``code`` is ``refused`` or ``no-answer``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Runtime:
    """A held connection to one HAProxy in interactive mode.

    :param stream: a socket-like object with ``sendall``, ``recv`` and ``close``
    """

    def __init__(self, name: str, stream: Any) -> None:
        self.name = name
        self._stream = stream
        self._buffer = b""
        # Interactive mode keeps the connection; HAProxy would close an idle one after 10 s.
        self.command("prompt")
        self.command("set timeout cli 1h")

    def command(self, text: str) -> str:
        """Send one command and return its answer, without the blank line behind it.

        :raises RuntimeSocketError: if the connection broke; whether HAProxy executed it is unknown then
        """
        return self.commands([text])[0]

    def commands(self, texts: Sequence[str]) -> list[str]:
        """Send commands together and return the answer of each: they cost one round trip, and none waits for another's.

        :raises RuntimeSocketError: if the connection broke; whether HAProxy executed them is unknown then
        """
        try:
            self._stream.sendall("".join(f"{text}\n" for text in texts).encode())
            return [self._answer() for _ in texts]
        except ConnectionRefusedError:
            raise RuntimeSocketError("refused", f"HAProxy does not listen in pod {self.name}") from None
        except OSError as error:
            raise RuntimeSocketError("no-answer", f"HAProxy on {self.name} did not answer: {error}") from None

    def end_sessions(self, backend: str, servers: Container[str]) -> None:
        """End the sessions to some servers of a backend one by one.

        A worker that was replaced by a reload refuses ``shutdown sessions server``: its backends are disabled.

        :raises RuntimeSocketError: if the connection broke
        """
        for line in self.command("show sess").splitlines():
            session, _, described = line.partition(":")
            fields = dict(word.partition("=")[::2] for word in described.split())
            if fields.get("be") == backend and fields.get("srv") in servers:
                self.command(f"shutdown session {session}")

    def close(self) -> None:
        self._stream.close()

    def _answer(self) -> str:
        while PROMPT not in b"\n" + self._buffer:
            received = self._stream.recv(65536)
            if not received:
                raise RuntimeSocketError("no-answer", f"HAProxy on {self.name} closed its runtime socket")
            self._buffer += received
        answer, _, self._buffer = (b"\n" + self._buffer).partition(PROMPT)
        return answer.decode(errors="replace").strip("\n")


def runtime(proxy: ProxyEntry) -> Runtime:
    """Open a proxy's runtime socket.

    :raises RuntimeSocketError: if the host can't be reached or nobody listens on the socket
    """
    host = proxy.host
    if not host.connected:
        raise RuntimeSocketError("unreachable-host", f"pyinfra has no connection to {host.name}")
    path, timeout = proxy.data("haproxy_runtime_socket"), proxy.data("keydb_connect_timeout")
    if isinstance(host.connector, LocalConnector):
        return Runtime(proxy.name, _unix(path, timeout))
    if isinstance(host.connector, KubernetesConnector):
        return Runtime(proxy.name, _forwarded(host.connector, proxy.data("haproxy_runtime_port"), timeout))
    return Runtime(proxy.name, _socat(host, path, timeout))


def _unix(path: str, timeout: float) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.settimeout(timeout)
    try:
        stream.connect(path)
    except TimeoutError:
        raise RuntimeSocketError("no-answer", f"HAProxy does not answer on {path}") from None
    except OSError as error:
        raise RuntimeSocketError("refused", f"HAProxy does not listen on {path}: {error.strerror}") from None
    return stream


def _forwarded(connector: KubernetesConnector, port: int, timeout: float) -> Any:
    try:
        stream = connector.open_link_socket("", port, timeout)
    except LinkError as error:
        raise RuntimeSocketError(error.code, error.detail) from None
    stream.settimeout(timeout)
    return stream


def _socat(host: Host, path: str, timeout: float) -> Any:
    client = getattr(host.connector, "client", None)
    if client is None:
        kind = type(host.connector).__name__
        raise RuntimeSocketError("no-answer", f"{host.name} is reached by {kind}, which holds no channel")
    try:
        channel = client.get_transport().open_session(timeout=timeout)
        channel.settimeout(timeout)
        channel.exec_command(f"sh -c {shlex.quote(SOCAT)} sh {shlex.quote(path)}")
    except ENDED as error:
        raise RuntimeSocketError("no-answer", broken(host, error)) from None
    return channel

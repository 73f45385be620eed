"""TLS over anything that sends and receives bytes, and certificates proved before anybody relies on them.

A link may be a channel in an SSH connection, which Python's ``ssl`` can't wrap as a socket, so the encryption works
in memory here and the bytes travel on whatever is there. Who answers must show a certificate of the given CA that
names the address of the link.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from keydb_runbooks.runbooks.drift_certificate import Shown

Result = TypeVar("Result")

CHUNK_BYTES = 16384


@cache
def client_context(ca: str) -> ssl.SSLContext:
    """What a link trusts: certificates of this CA alone.

    :param ca: path of the CA's certificates
    :raises OSError: if the file can't be read or holds no certificate
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=ca)
    return context


class TlsStream:
    """An encrypted stream over a connected stream; the handshake is done when it is made.

    :param stream: socket-like, with ``sendall``, ``recv``, ``settimeout``, ``shutdown`` and ``close``
    :param name: name or address that the other side's certificate must have
    :raises ssl.SSLError: if the other side speaks no TLS or its certificate isn't good
    """

    def __init__(self, stream: Any, context: ssl.SSLContext, name: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._carry(self._tls.do_handshake)

    @property
    def shown(self) -> Shown:
        """The other side's certificate."""
        told = self._tls.getpeercert() or {}
        der = self._tls.getpeercert(binary_form=True) or b""
        return Shown(fingerprint(der), *(ssl.cert_time_to_seconds(str(told[end])) for end in ("notBefore", "notAfter")))

    def sendall(self, data: bytes) -> None:
        self._carry(lambda: self._tls.write(data) if data else 0)

    def recv(self, size: int) -> bytes:
        try:
            return self._carry(lambda: self._tls.read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def settimeout(self, seconds: float | None) -> None:
        self._stream.settimeout(seconds)

    def shutdown(self, how: int) -> None:
        self._stream.shutdown(how)

    def close(self) -> None:
        self._stream.close()

    def _carry(self, act: Callable[[], Result]) -> Result:
        """Do something that may need more bytes from the other side, and send what it made."""
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                self._flush()
                received = self._stream.recv(CHUNK_BYTES)
                self._incoming.write(received) if received else self._incoming.write_eof()
            except ssl.SSLError:
                # The other side is told why as well.
                self._flush()
                raise
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._stream.sendall(self._outgoing.read())


def fingerprint(der: bytes) -> str:
    """What tells a certificate from others."""
    return sha256(der).hexdigest()


def fingerprint_of(pem: str) -> str:
    """That of a file's first certificate, which is a server's own; "" if there is none in it."""
    begin, end = (pem.find(mark) for mark in (ssl.PEM_HEADER, ssl.PEM_FOOTER))
    try:
        return fingerprint(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(ssl.PEM_FOOTER)]))
    except ValueError:
        return ""


@dataclass(frozen=True, repr=False)
class Certificate:
    """A server's certificate with its key and its CA, as PEM."""

    ca: bytes
    certificate: bytes
    key: bytes

    @property
    def digest(self) -> str:
        """What tells this one from the next, without anything of the key."""
        return sha256(self.ca + self.certificate).hexdigest()


def refuse_ca(path: str) -> str | None:
    """Why nobody can be trusted by a file of CA certificates, None if somebody can."""
    try:
        client_context(path)
    except ssl.SSLError as error:
        return error.reason or str(error)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def refuse_in_memory(shown: Certificate, ca: bytes, names: Iterable[str]) -> tuple[str, str] | None:
    """As ``refuse_certificate``, of what is in no file yet: it is in one for a moment, closed to others.

    :param shown: what the server has
    :param ca: the CA's certificates that a client has
    :param names: all by which the server is called
    :returns: the first name under which it would not be trusted, and why
    """
    with TemporaryDirectory() as folder:
        certificate, key, trusted = (Path(folder, file) for file in ("certificate", "key", "ca"))
        certificate.write_bytes(shown.certificate)
        key.write_bytes(shown.key)
        trusted.write_bytes(ca)
        for name in names:
            reason = refuse_certificate(str(certificate), str(key), str(trusted), name)
            if reason is not None:
                return name, reason
    return None


def refuse_certificate(certificate: str, key: str, ca: str, name: str) -> str | None:
    """Why a server with this certificate would not be trusted under this name, or None.

    It is tried: a client as our links have one meets a server with these files, in memory.

    :param certificate: path of the server's certificate, ``key`` of its key, ``ca`` of the CA's certificates
    :param name: name or address by which the server is called
    """
    try:
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # An empty passphrase: without one OpenSSL would ask the terminal.
        server_context.load_cert_chain(certificate, key, password="")
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        client = client_context(ca).wrap_bio(to_client, to_server, server_hostname=name)
        for _ in range(4):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ssl.SSLError as error:
        return error.reason or str(error)
    except OSError as error:
        return f"{error.filename or 'a file'}: {error.strerror}"
    return None

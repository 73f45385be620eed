"""A small CA for the sandbox: made once, kept in a folder closed to others, with one certificate for all servers."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CA, CERTIFICATE, KEY = "ca.pem", "certificate.pem", "key.pem"

LIFETIME = datetime.timedelta(days=365)


def kept_certificates(directory: Path, addresses: list[str]) -> dict[str, str]:
    """The paths of the CA, the certificate and its key, as the inventory takes them; made if they aren't there yet.

    :param addresses: IP addresses and DNS names that the certificate names
    """
    if not directory.exists():
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = directory.with_suffix(f".{os.getpid()}")
        temporary.mkdir(mode=0o700)
        _make(temporary, addresses)
        temporary.rename(directory)
    return {
        "keydb_tls_ca": str(directory / CA),
        "keydb_tls_certificate": str(directory / CERTIFICATE),
        "keydb_tls_key": str(directory / KEY),
    }


def _make(directory: Path, addresses: list[str]) -> None:
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = _name("keydb-runbooks sandbox CA"), _name("keydb-runbooks sandbox server")
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName(list(map(_called, addresses)))
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _builder(name, ca_name, key.public_key())
        .add_extension(names, critical=False)
        # Two CAs of one name are told apart by it, while one takes over from the other.
        .add_extension(issuer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # The CA's own key is thrown away: nobody can make another certificate with it.
    for file, content in (
        (CA, ca.public_bytes(serialization.Encoding.PEM)),
        (CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM)),
        (KEY, private),
    ):
        with os.fdopen(os.open(directory / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)


def _called(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # An hour ago: clocks of several machines differ.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )

"""Everything encrypted: clients, replication, the proxies' checks and the links; on the engines that have TLS."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from kit import NODES, Sandbox, eventually, writing
from machines import machines

from keydb_runbooks.connectors import certificates
from keydb_runbooks.connectors.certificates import kept_certificates
from keydb_runbooks.connectors.programs import engines
from tests.conftest import missing_for_ssh


def _has_tls(engine: str) -> bool:
    """Whether a server was built with TLS: it asks for a certificate then, else it says that it has no TLS."""
    words = [engines()[engine], "--port", "0", "--tls-port", "1"]
    told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10, stdin=subprocess.DEVNULL)
    return "tls-cert-file" in told.stdout + told.stderr


FILES = ("keydb_tls_ca", "keydb_tls_certificate", "keydb_tls_key")
WITH_TLS = [engine for engine in engines() if _has_tls(engine)]
WITHOUT_TLS = [engine for engine in engines() if engine not in WITH_TLS]


@pytest.fixture(scope="module", params=WITH_TLS)
def _founded(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    sandbox = Sandbox(request.param, tls=True)
    try:
        sandbox.install().ok()
        sandbox.fill(50)
        sandbox.keep_image()
        yield sandbox
    finally:
        sandbox.remove()


@pytest.fixture
def encrypted(_founded: Sandbox) -> Iterator[Sandbox]:
    """The founded group, encrypted: keydb-1 is the primary."""
    _founded.restore()
    try:
        yield _founded
    finally:
        _founded.kill_all()


def test_every_verb_works_encrypted_and_no_write_is_lost(encrypted: Sandbox) -> None:
    with writing(encrypted) as writer:
        assert encrypted.install().total()[1] == 0, "installing again changes nothing"
        encrypted.run("switchover", to="keydb-2").ok()
        encrypted.healthy("keydb-2")
        writer.write_on()
        assert writer.lost() == 0
    # What a primary acknowledged in its last moment nobody else may have: so it is killed a moment later.
    eventually(encrypted.streams, "every replica has what its primary has")
    encrypted.kill("keydb-2")
    encrypted.run("failover").ok()
    encrypted.run("start").ok()
    encrypted.run("rejoin").ok()
    assert writer.lost() == 0
    assert encrypted.findings() == []


def test_nobody_answers_without_tls(encrypted: Sandbox) -> None:
    for node in NODES:
        with socket.create_connection(("127.0.0.1", encrypted.port_of(node)), timeout=2) as plain:
            plain.sendall(b"PING\r\n")
            with suppress(ConnectionError):
                assert b"PONG" not in plain.recv(100)
        assert encrypted.ask(node, "CONFIG", "GET", "port") in (["port", "0"], {"port": "0"})
        assert encrypted.ask(node, "CONFIG", "GET", "tls-replication") in (
            ["tls-replication", "yes"],
            {"tls-replication": "yes"},
        )


def test_facts_are_read_encrypted(encrypted: Sandbox) -> None:
    home = encrypted.directory / "keydb-1"
    arguments = {
        "address": "127.0.0.1",
        "port": encrypted.port_of("keydb-1"),
        "auth_file": home / "monitoring.auth",
        "tls_ca": home / "ca.pem",
    }
    seen = encrypted.fact("facts.keydb.KeydbReplication", **arguments)["keydb-1"]
    assert seen["role"] == "primary"  # type: ignore[index]
    assert seen["replicas_online"] == 2  # type: ignore[index]


@pytest.mark.in_ci
@pytest.mark.skipif(bool(missing_for_ssh()), reason=f"no {', '.join(missing_for_ssh())} on PATH")
def test_links_inside_ssh_are_encrypted_too(encrypted: Sandbox, tmp_path: Path) -> None:
    with machines(encrypted, tmp_path) as start:
        inventory = start("local")
        encrypted.pyinfra(inventory, "deploys/switchover.py", "--data", "to=keydb-2", "-y").ok()
    encrypted.healthy("keydb-2")


def test_a_server_with_a_certificate_of_somebody_else_is_not_trusted(encrypted: Sandbox, tmp_path: Path) -> None:
    stranger = kept_certificates(tmp_path / "stranger", ["127.0.0.1"])
    home = encrypted.directory / "keydb-3"
    for key, name in (("keydb_tls_certificate", "certificate.pem"), ("keydb_tls_key", "key.pem")):
        shutil.copy(stranger[key], home / name)
    encrypted.kill("keydb-3")
    encrypted.boot("keydb-3", "--replicaof", "255.255.255.255", "1", answering=False)
    with encrypted.unchanged():
        refused = encrypted.run("switchover", to="keydb-2")
    refused.refused("node-not-trusted keydb-3", "certificate", "keydb_tls_ca")
    # Installing again brings the right files; nobody can tell a server anything whose certificate is not trusted.
    encrypted.install()
    encrypted.kill("keydb-3")
    encrypted.run("start").ok()
    encrypted.run("rejoin").ok()
    encrypted.healthy("keydb-1")


def test_a_new_certificate_is_taken_over_without_a_restart(encrypted: Sandbox, tmp_path: Path) -> None:
    """The new one comes from another CA, and until all have it both CAs are trusted."""
    new = kept_certificates(tmp_path / "new", ["127.0.0.1"])
    both = tmp_path / "both.pem"
    both.write_text(
        (encrypted.directory / "certificates" / "ca.pem").read_text() + Path(new["keydb_tls_ca"]).read_text()
    )
    before = {node: encrypted.info(node)["run_id"] for node in NODES}
    renewed = {**new, "keydb_tls_ca": str(both)}
    encrypted.run("drift", **renewed).refused(
        "certificate-differs keydb-1", "certificate-differs proxy-1", "run install"
    )
    encrypted.run("install", **renewed).ok()
    for node in NODES:
        shown = ssl.get_server_certificate(("127.0.0.1", encrypted.port_of(node)), ca_certs=new["keydb_tls_ca"])
        assert shown == Path(new["keydb_tls_certificate"]).read_text()
    encrypted.run("drift", **renewed).ok()
    own, given = encrypted.directory / "keydb-2" / "certificate.pem", encrypted.directory / "certificates"
    shutil.copy(given / "certificate.pem", own)
    told = encrypted.run("drift", **renewed).refused("certificate-differs keydb-2", "certificate-not-loaded keydb-2")
    assert "keydb-1" not in told.text.partition("drifted")[2] and "PRIVATE" not in told.text
    shutil.copy(new["keydb_tls_certificate"], own)
    shutil.copy(both, given / "ca.pem")
    assert {node: encrypted.info(node)["run_id"] for node in NODES} == before
    encrypted.healthy("keydb-1")


def test_a_certificate_and_a_ca_that_run_out_soon_are_told(
    encrypted: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They count since an hour ago, so two thirds of their time are over.
    monkeypatch.setattr(certificates, "LIFETIME", timedelta(minutes=20))
    short, both = kept_certificates(tmp_path / "short", ["127.0.0.1"]), tmp_path / "both.pem"
    both.write_text(
        (encrypted.directory / "certificates" / "ca.pem").read_text() + Path(short["keydb_tls_ca"]).read_text()
    )
    encrypted.run("install", **{**short, "keydb_tls_ca": str(both)}).ok()
    told = encrypted.run("drift", **{**short, "keydb_tls_ca": str(both)})
    told.refused("3 drifted, 0 unknown", "certificate-ends keydb-1, keydb-2, keydb-3", "runs out within the hour")
    encrypted.run("drift", **short).refused("certificate-ends keydb-1", "ca-ends demo", "the CA of its certificates")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"keydb_tls_certificate": "missing.pem"}, "No such file"),
        pytest.param({"keydb_tls_key": "other/key.pem"}, "KEY_VALUES_MISMATCH", marks=pytest.mark.in_ci),
        pytest.param(
            {"keydb_tls_ca": "other/ca.pem"}, "unable to get local issuer certificate", marks=pytest.mark.in_ci
        ),
        (
            dict(zip(FILES, ("named/ca.pem", "named/certificate.pem", "named/key.pem"), strict=True)),
            "IP address mismatch",
        ),
    ],
)
def test_certificates_that_nobody_would_trust_are_refused_before_a_server_has_them(
    encrypted: Sandbox, tmp_path: Path, files: dict[str, str], named: str
) -> None:
    kept_certificates(tmp_path / "other", ["127.0.0.1"])
    kept_certificates(tmp_path / "named", ["10.9.9.9"])
    with encrypted.unchanged():
        data = {key: str(tmp_path / path) for key, path in files.items()}
        encrypted.run("install", **data).refused("keydb_tls_certificate", named)


@pytest.mark.parametrize("plain_engine", WITHOUT_TLS)
def test_an_engine_without_tls_says_so_itself_and_nothing_is_started(plain_engine: str) -> None:
    sandbox = Sandbox(plain_engine, tls=True)
    try:
        result = sandbox.install()
        assert result.code == 1
        assert "the server refuses the new configuration" in result.text
        assert not list(sandbox.directory.glob("*/keydb.conf"))
        assert not [node for node in NODES if sandbox.pid(node)]
    finally:
        sandbox.remove()

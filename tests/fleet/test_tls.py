"""A group that speaks TLS, with a CA of its own, beside whatever else is on the machines; and its machines' faults."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from keydb_runbooks.connectors.certificates import kept_certificates
from tests.fleet.fleet import NODES, PROXIES, Fleet
from tests.fleet.groups import another_group
from tests.fleet.handmade import has_tls
from tests.fleet.machine import eventually
from tests.fleet.test_verbs import is_healthy, primary_lost
from tests.fleet.writer import writing


@pytest.fixture
def encrypted(fleet: Fleet) -> Iterator[Fleet]:
    """The machines as clients of that group see them; nothing of it is installed yet, nor left."""
    if not has_tls(fleet.program):
        pytest.skip(f"{fleet.engine} was built without TLS")
    with another_group(fleet, "encrypted", 7500, fleet.engine, fleet.program, encrypted=True) as group:
        yield group


@pytest.mark.slow
def test_everything_is_encrypted_and_no_write_is_lost(encrypted: Fleet, tmp_path: Path) -> None:
    first = encrypted.run("install").ok()
    eventually(lambda: is_healthy(encrypted, "keydb-1"), "a group is founded", 30)
    again = encrypted.run("install").ok()
    assert again.changed() == 0, again.text
    drift = encrypted.run("drift")
    assert drift.code == 0, drift.text
    plain = encrypted.at(replace(encrypted.group, ca=None))
    for name in ("keydb-1", "proxy-1"):
        with pytest.raises((redis.RedisError, ssl.SSLError)):
            plain.ask(name, "PING", role="application")

    with writing(encrypted) as writer:
        moved = encrypted.run("switchover", to="keydb-2").ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
    failover, lost, acknowledged = primary_lost(encrypted, "keydb-2", tmp_path)
    assert encrypted.findings() == []
    print(
        f"with TLS: install in {first.seconds:.1f} s, switchover in {moved.seconds:.1f} s, failover in "
        f"{failover.seconds:.1f} s; {lost} of {acknowledged} acknowledged writes lost by it"
    )
    assert lost < 50


def test_new_certificates_and_a_new_ca_drop_no_write(encrypted: Fleet, tmp_path: Path) -> None:
    """As docs/tls.md says: both CAs are trusted, then the certificates are new, then the new CA is alone."""
    encrypted.run("install").ok()
    eventually(lambda: is_healthy(encrypted, "keydb-1"), "a group is founded", 30)
    new = kept_certificates(tmp_path / "new", [*NODES.values(), *PROXIES.values()])
    assert encrypted.group.ca is not None
    both = tmp_path / "both.pem"
    both.write_text(Path(encrypted.group.ca).read_text() + Path(new["keydb_tls_ca"]).read_text())
    processes = [encrypted.info(name)["run_id"] for name in NODES]
    with writing(encrypted.at(replace(encrypted.group, ca=str(both)))) as writer:
        for given in ({"keydb_tls_ca": str(both)}, {**new, "keydb_tls_ca": str(both)}, new):
            assert encrypted.run("install", **given).ok().changed() > 0
            writer.goes_on()
        renewed = encrypted.at(replace(encrypted.group, ca=new["keydb_tls_ca"]))
        for address in NODES.values():
            shown = ssl.get_server_certificate((address, renewed.group.server_port), ca_certs=new["keydb_tls_ca"])
            assert shown == Path(new["keydb_tls_certificate"]).read_text()
        with writing(renewed, proxy="proxy-2") as newcomer:
            assert (writer.refused(), newcomer.refused()) == (0, 0)
            assert [renewed.info(name)["run_id"] for name in NODES] == processes
            # Everybody shakes hands again.
            renewed.run("switchover", to="keydb-2", **new).ok()
            writer.goes_on()
            newcomer.goes_on()
            assert newcomer.lost(tmp_path) == 0
        assert writer.lost(tmp_path) == 0
    drift = renewed.run("drift", **new)
    assert drift.code == 0, drift.text

"""A group that speaks TLS, with a CA of its own, beside whatever else is on the machines; and its machines' faults."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tests.fleet.fleet import Fleet
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

"""New passwords on pods that run, their Secret, and the proxies in front, under clients that write."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.kubernetes.group import PODS, eventually
from tests.kubernetes.test_proxies import ProxiedRuns, proxied


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedRuns]:
    with proxied(tmp_path_factory.mktemp("rotated")) as runs:
        yield runs


@pytest.mark.slow
def test_every_password_is_rotated_and_no_write_is_dropped(runs, tmp_path):
    old = dict(runs.group.passwords)
    new = {role: secrets.token_urlsafe(12) for role in old}
    during = {f"KEYDB_{role.upper()}_PASSWORD": word for role, word in new.items()}
    during |= {f"KEYDB_{role.upper()}_PREVIOUS": word for role, word in old.items()}
    before = runs.proxies()
    with runs.nobody_restarts(), runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        text = runs.run("rotate", environment=during).ok().text
        assert not any(word in text for word in (*old.values(), *new.values()))
        writer.goes_on()
        assert writer.lost(tmp_path) == 0, "clients still log in with the old one"
    assert not set(before) & set(runs.proxies()), "their checks log in with the new one"
    runs.run("rotate", environment=during, finish="yes").ok()

    runs.group.passwords.update(new)
    runs.environment.update(runs.group.environment())
    assert runs.findings() == []
    runs.run("drift").ok()
    assert runs.run("install").ok().total()[1:3] == (0, 0)
    with runs.writing(clients=2) as writer:
        writer.goes_on(60)
        # Whoever starts from now on has them as well.
        replica = next(pod for pod in PODS if pod != runs.primary())
        runs.delete(replica)
        runs.comes_back(replica)
        runs.run("switchover").ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0

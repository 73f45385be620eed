"""The last look before the old passwords go: whoever went silent meanwhile may know no other ones."""

from types import SimpleNamespace

import pytest

from keydb_runbooks.operations import rotation

GROUP = SimpleNamespace(pod_proxies=None, nodes=(), proxies=())


def settles(monkeypatch, finish, *, nodes=(), proxies=()):
    """Whether it does, and what is told if not."""
    told = []
    seen = SimpleNamespace(unread=nodes, unread_proxies=[SimpleNamespace(name=name) for name in proxies])
    monkeypatch.setattr(rotation, "observe", lambda group: seen)
    monkeypatch.setattr(rotation, "find", lambda topology: [])
    monkeypatch.setattr(rotation, "SETTLE_SECONDS", -1.0)
    host = SimpleNamespace(log_styled=lambda sentence, fg: told.append(sentence))
    return rotation._settle(SimpleNamespace(failed_hosts=()), host, GROUP, finish), told


def node(stopped):
    return SimpleNamespace(name="keydb-3", stopped=stopped)


STAY = "the old passwords stay, since the group is not in order: {} went silent, and may know the old ones alone"


@pytest.mark.parametrize("away", [{"nodes": [node(stopped=False)]}, {"proxies": ["proxy-1"]}])
def test_they_stay_while_somebody_is_silent(monkeypatch, away):
    name = "proxy-1" if "proxies" in away else "keydb-3"
    assert settles(monkeypatch, True, **away) == (False, [STAY.format(name)])
    # Nothing is taken away yet, so nobody is waited for.
    assert settles(monkeypatch, False, **away) == (True, [])


def test_a_server_that_is_stopped_has_them_in_its_file(monkeypatch):
    assert settles(monkeypatch, True, nodes=[node(stopped=True)]) == (True, [])

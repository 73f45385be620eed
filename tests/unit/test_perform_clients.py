"""Ending the connections of clients that a moved Service left behind."""

from __future__ import annotations

import time
from types import SimpleNamespace

from keydb_runbooks.operations import perform_clients
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.runbooks.steps_clients import EndLatecomers


def test_latecomers_are_ended_when_every_machine_has_had_the_time_to_learn_of_it(monkeypatch):
    monkeypatch.setattr(perform_clients, "LATE_SECONDS", 0.2)
    ended: list[float] = []
    monkeypatch.setattr(perform_clients, "_end", lambda *_: ended.append(time.monotonic()) or 3)
    began = time.monotonic()
    told = perform(EndLatecomers("keydb-0", "keydb-write", "keydb-1"), SimpleNamespace(moved_at={"keydb-write": began}))
    assert told == "3 more connections of clients ended" and ended[0] - began >= 0.2

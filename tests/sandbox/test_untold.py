"""Install has written a file whose server could not be told of it: drift says so until the server has it."""

from __future__ import annotations

import pytest
from kit import Sandbox

WANTED = {"keydb_maxmemory": "48mb"}
DIFFERS = ("running-differs keydb-2: maxmemory", "runs with 67108864, its file and the inventory say 48mb")


def is_shown(group: Sandbox) -> bool:
    """Whether drift tells of it, behind an install that has nothing to write any more."""
    again = group.run("install", **WANTED)
    assert " ".join(again.text.split()).count("keydb-2] Success") == 0, again.text
    drift = group.run("drift", **WANTED)
    return drift.code == 1 and all(words in drift.text for words in DIFFERS)


@pytest.mark.first_engine
def test_a_server_that_did_not_answer_is_shown_by_drift_until_it_has_what_its_file_says(group: Sandbox) -> None:
    group.freeze("keydb-2")
    written = group.run("install", **WANTED)
    group.thaw("keydb-2")

    assert "the file is written, but the server keeps its settings" in " ".join(written.text.split()), written.text
    assert written.code == 1
    assert is_shown(group)
    group.ask("keydb-2", "CONFIG", "SET", "maxmemory", "48mb")
    drift = group.run("drift", **WANTED)
    assert drift.code == 0, drift.text


@pytest.mark.first_engine
def test_a_server_that_refuses_a_setting_is_told_at_once_and_shown_by_drift(group: Sandbox) -> None:
    group.ask("keydb-2", "ACL", "SETUSER", "operator", "-config", "+config|get", "+config|rewrite")

    written = group.run("install", **WANTED)

    for told in ("[keydb-2] maxmemory: is 64mb, wanted is 48mb (takes effect with a restart)", "not-permitted keydb-2"):
        assert told in " ".join(written.text.split()), written.text
    assert written.code == 1
    assert is_shown(group)

"""Behind all other tests: no password of theirs was an argument, or is in a journal, a log, a report or what was printed.

Nor is its SHA-256 or HAProxy's form of it. These stand in configuration files, which nobody else may read.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.fleet.fleet import Fleet
from tests.fleet.forms import forms, hashed, in_hex
from tests.fleet.sampler import Sampler
from tests.fleet.test_verbs import group  # noqa: F401 - a fixture of theirs
from tests.fleet.writer import writing

# Without what is no text, which some of these have in them.
LOGS = (
    "{ journalctl --no-pager --quiet --output=export; find /var/log -type f ! -path '*/journal/*' -exec cat {} +; }"
    " | tr -cd '\\11\\12\\40-\\176'"
)


def test_no_password_is_where_somebody_may_read_it(group: Fleet, sampled: Sampler, tmp_path: Path) -> None:  # noqa: F811
    report = tmp_path / "report.json"
    with writing(group):
        group.run("switchover", to="keydb-2", report=str(report)).ok()
    group.run("switchover", to="keydb-1").ok()
    group.remember_passwords()
    assert json.loads(report.read_text())["verb"] == "switchover"
    places = {
        "what was printed": "\n".join(group.printed),
        "a report": report.read_text(),
        "the operator's history": (group.home / "history.jsonl").read_text(),
        **{f"the journal or a log of {name}": one.shell(LOGS) for name, one in group.machines.items()},
    }
    # That the sampler sees what runs on a machine, and that these are the logs.
    assert sampled.with_word(f"{group.engine}-server")
    assert all("COMMAND" in text for place, text in places.items() if "journal" in place)
    assert len(group.secrets) >= 5
    # That these are the forms in which it stands where it may.
    known = group.passwords
    assert hashed(known["application"]) in group["keydb-1"].shell("cat /etc/keydb/keydb.conf")
    assert in_hex(known["check"]) in group["proxy-1"].shell("cat /etc/haproxy/haproxy.cfg")
    for word in forms(group.secrets):
        assert not [place for place, text in places.items() if word in text]
        assert not sampled.with_word(word)
    print(
        f"{len(group.secrets)} passwords; {sampled.looks:,} looks at all processes, {len(sampled.seen):,} command lines"
    )

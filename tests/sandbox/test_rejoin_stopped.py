"""Ctrl-C while rejoin saves or compares: the node is left as it is, and nothing half-done is taken for whole."""

from __future__ import annotations

import json
import shlex
import signal
import time
from pathlib import Path

import pytest
from diverging import many_keys, saved, sound, split, write_lost
from kit import INVENTORY, NODES, Sandbox, eventually
from moments import Moment, run_at

FILES = "keydb-1/data/keydb-1-<when>.rdb"
KEEP = f"""keydb-1: sh ten" echo "kept $size ${{sum%% *}}" ' sh keydb-1/data/dump.rdb {FILES} keydb-1 #1"""
FETCH = f"""keydb-1: sh  'dd if="$1" bs=4194304 skip="$2" count=1 2>/dev/null | base64' sh {FILES} 0 #1"""

PLACES = {
    "the server saves": Moment("keydb-1: BGSAVE #1", "answered"),
    "its file is being read for a checksum": Moment(KEEP, "sent"),
    "its file is kept": Moment(KEEP, "answered"),
    "its file is fetched": Moment(FETCH, "answered"),
    "keys are compared": Moment("keydb-1: compare #4", "answered"),
}


def on_node(group: Sandbox) -> list[str]:
    """What rejoin left beside the data."""
    return [path.name for path in (group.directory / "keydb-1" / "data").iterdir() if path.name.startswith("keydb-1-")]


@pytest.mark.first_engine
def test_a_signal_while_data_are_saved_or_compared_leaves_the_node_as_it_is(group: Sandbox, tmp_path: Path) -> None:
    split(group)
    write_lost(group)
    keys, kept, report = group.keys("keydb-1"), tmp_path / "kept", tmp_path / "report.json"
    options = {"accept_loss": "keydb-1", "save": "fetch", "save_to": str(kept), "report": str(report)}
    for place, moment in PLACES.items():
        stopped = run_at(group, "rejoin", moment, "kill -TERM $PPID", {node: node for node in NODES}, **options)

        assert stopped.code == 1, place
        stopped.refused("failed and incomplete: ", "keydb-1 is left as it is (told to stop by SIGTERM)")
        assert "left out: follow keydb-2" in stopped.text, place
        assert "guarded" in group.findings(), place
        assert (group.role("keydb-1"), group.keys("keydb-1")) == ("slave", keys), place
        assert not on_node(group), place
        if place != "keys are compared":
            assert not list(kept.glob("*")), place
    # What was saved before the comparison is whole.
    (file,) = kept.glob("*.rdb")
    sound(file)
    assert not list(kept.glob("*.differences.json"))

    command = json.loads(report.read_text())["next"]
    assert command in " ".join(stopped.text.split())
    group.pyinfra(*shlex.split(command)[1:], "-y").ok()
    group.healthy("keydb-2")


@pytest.mark.first_engine
def test_a_long_comparison_tells_how_far_it_is_and_hears_a_signal_at_once(group: Sandbox) -> None:
    split(group)
    many_keys(group, "keydb-1", 20_000)
    process = group.start(INVENTORY, "deploys/rejoin.py", "-y", "--data", "accept_loss=keydb-1")
    eventually(lambda: bool(list((group.directory / "keydb-1" / "data").glob("keydb-1-*.json"))), "it is saved", 20)
    time.sleep(2.5)
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)

    assert time.monotonic() - before < 10
    assert process.returncode == 1, text
    words = " ".join(text.split())
    assert "waits: keydb-1 is compared with keydb-2: " in words
    assert " of 20,0" in words and " left, " in words and " keys/s, " in words
    assert "keydb-1 is left as it is (told to stop by SIGINT)" in words
    assert group.keys("keydb-1") > 20_000
    (file,) = saved(group)
    sound(file)
    group.run("rejoin", accept_loss="keydb-1", compare="no").ok()
    group.healthy("keydb-2")

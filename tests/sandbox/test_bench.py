"""``make bench`` runs, and tells what it promises to tell. How long anything took is not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from kit import REPOSITORY


@pytest.mark.slow
def test_the_bench_measures_every_way_and_our_switchover_loses_nothing(engine: str, tmp_path) -> None:
    told = tmp_path / "moves.json"
    environment = {**os.environ, "RUNS": "1", "KEYDB_SANDBOX_ENGINE": engine, "BENCH_OUTPUT": str(told)}
    bench = subprocess.run(
        [sys.executable, "-m", "bench.moves"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert bench.returncode == 0, bench.stderr
    assert max(len(line) for line in bench.stdout.splitlines() if str(told) not in line) <= 80, bench.stdout
    seen = json.loads(told.read_text())
    assert set(seen["planned"]) == {"status", "switchover", "server", "server, checks", "sentinel"}
    assert set(seen["failover"]) == {"kill", "freeze", "cut"}
    rows = [*seen["planned"].values(), *seen["failover"].values()]
    assert [len(moves) for moves in rows] == [1] * 8
    assert all(move["gap"] > 0 and move["acknowledged"] > 0 for moves in rows for move in moves)
    assert [seen["planned"][way][0]["lost"] for way in ("status", "switchover")] == [0, 0]
    assert all(
        {"plan", "promoted", "routed", "done"} == set(moves[0]["moments"]) for moves in seen["failover"].values()
    )
    assert "times shorter than the server's own FAILOVER" in bench.stdout

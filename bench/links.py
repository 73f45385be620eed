"""How long opening 48 links takes when one of them leads into a black hole, beside 48 that all answer.

    python bench/links.py

It installs a group behind the sandbox's network, measures each case a few times in turn, and ends everything again. One
that leads nowhere costs the connect time-out once, however many there are beside it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from keydb_runbooks.connectors.network import Network
from keydb_runbooks.connectors.sandbox import Processes

ROUNDS = 5
PORT = 19400
REPOSITORY = Path(__file__).resolve().parents[1]


def _pyinfra(environment: dict[str, str], deploy: str) -> str:
    words = [str(Path(sys.executable).parent / "pyinfra"), "inventories/sandbox.py", deploy, "-y"]
    return subprocess.run(words, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout  # noqa: S603


def _measure(environment: dict[str, str]) -> dict[str, float]:
    told = _pyinfra(environment, "tests/sandbox/many_links.py")
    seen: dict[str, float] = json.loads(told[told.index("{") : told.index("}") + 1])
    return seen


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kr-bench-") as place:
        directory = Path(place) / "s"
        environment = {
            **os.environ,
            "KEYDB_SANDBOX_DIRECTORY": str(directory),
            "KEYDB_SANDBOX_PORT": str(PORT),
            "KEYDB_SANDBOX_RELAYS": "yes",
        }
        network = Network(directory, PORT)
        try:
            network.start()
            _pyinfra(environment, "deploys/install.py")
            alive, holed = [], []
            for _ in range(ROUNDS):
                network.heal()
                alive.append(_measure(environment))
                network.cut("keydb-3")
                holed.append(_measure(environment))
        finally:
            Processes(directory).stop_all()
    _show(alive, holed)


def _show(alive: list[dict[str, float]], holed: list[dict[str, float]]) -> None:
    table = Table("48 links", "opened", "median s", "longest s", "over the connect time-out")
    for title, seen in (("all answer", alive), ("one is cut off", holed)):
        seconds = [one["seconds"] for one in seen]
        over = max(seconds) - seen[0]["timeout"]
        told = f"{over:+.2f} s" if title != "all answer" else "-"
        table.add_row(title, str(seen[0]["opened"]), f"{statistics.median(seconds):.3f}", f"{max(seconds):.3f}", told)
    Console().print(table)


if __name__ == "__main__":
    main()

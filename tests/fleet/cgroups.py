"""Control groups: each machine has its own, so that the systemds inside don't meet, and so that one can be frozen."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NAME = "keydb-runbooks-fleet"


def unified() -> Path | None:
    """Where the cgroup2 file system is, None if there is none that can be written."""
    return next((place for kind, _, place in _mounts() if kind == "cgroup2" and os.access(place, os.W_OK)), None)


def join(fleet: str, machine: str) -> None:
    """Put the calling process into the groups of a machine."""
    for place in _places():
        group = place / NAME / fleet / machine
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text("0")


def freeze(fleet: str, machine: str, frozen: bool) -> None:
    """Stop every process of a machine at once, or let them go on; returns when it is so."""
    place = unified()
    assert place is not None
    group = place / NAME / fleet / machine
    (group / "cgroup.freeze").write_text("1" if frozen else "0")
    wanted = f"frozen {int(frozen)}"
    deadline = time.monotonic() + 5
    while wanted not in (group / "cgroup.events").read_text().splitlines():
        assert time.monotonic() < deadline, f"{machine} was not frozen, or not thawed, within 5 s"
        time.sleep(0.005)


def remove(fleet: str) -> None:
    """Remove the groups of a fleet whose machines are off."""
    assert not _lives(fleet), f"something of {fleet} still runs"
    for top in (place / NAME for place in _places()):
        for path in sorted((path for path in (top / fleet).rglob("*") if path.is_dir()), reverse=True):
            path.rmdir()
        # Somebody else's fleet may be beside it.
        for path in (top / fleet, top):
            with suppress(OSError):
                path.rmdir()


def left_behind() -> list[str]:
    """Fleets that were killed: they have groups, and nothing runs in them."""
    return [
        name for name in {path.name for place in _places() for path in (place / NAME).glob("*/")} if not _lives(name)
    ]


def _lives(fleet: str) -> bool:
    place = unified()
    assert place is not None
    events = place / NAME / fleet / "cgroup.events"
    return events.exists() and "populated 1" in events.read_text()


def _places() -> list[Path]:
    """The hierarchies that systemd keeps its services in: cgroup2, and the one of its own where that is still used."""
    return [place for kind, options, place in _mounts() if kind == "cgroup2" or "name=systemd" in options]


def _mounts() -> Iterator[tuple[str, str, Path]]:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            yield kind, options, Path(place)

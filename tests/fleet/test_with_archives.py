"""A server's program that install brings out of a tarball, and a newer one, while clients write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.archive import Files, pack, serving
from tests.fleet.fleet import NODES, Fleet
from tests.fleet.machine import eventually
from tests.fleet.test_verbs import is_healthy
from tests.fleet.writer import writing
from tests.sandbox.versions import renamed, version_of

PLACE = "/usr/local/lib/keydb-runbooks"


@pytest.fixture
def files(installed: Fleet) -> Iterator[Files]:
    with serving() as served:
        yield served
    installed.run("install").ok()
    installed.run("upgrade")
    if installed.primaries() != ["keydb-1"]:
        installed.run("switchover", to="keydb-1").ok()
    eventually(lambda: is_healthy(installed, "keydb-1"), "the group is as it was", 30)
    for machine in installed.nodes:
        machine.shell(f"rm -rf {PLACE}")


def test_a_tarball_brings_the_program_whole_or_nothing_is_changed(
    installed: Fleet, files: Files, tmp_path: Path
) -> None:
    name = f"{installed.engine}-server"
    newer = renamed(installed.program, tmp_path / "newer")
    url, checksum = files.put("/server.tar.gz", pack(tmp_path / "newer", name))
    processes = [installed.info(node)["run_id"] for node in NODES]
    look = f"ls -A {PLACE} 2>/dev/null; systemctl cat {name}"
    before = [machine.shell(look, check=False) for machine in installed.nodes]

    def data(sum_: str = checksum) -> dict[str, str]:
        return {"keydb_program_source": url, "keydb_program_sha256": sum_}

    installed.run("install", **data("ab" * 32)).refused("refused: no-program", "has the checksum", checksum)
    files.cut.add("/server.tar.gz")
    installed.run("install", **data()).refused("refused: no-program", "can't be fetched")
    files.cut.clear()
    assert [machine.shell(look, check=False) for machine in installed.nodes] == before

    # What a run that was killed left of it is nobody's.
    part = f"{PLACE}/{checksum[:16]}.new.abcd"
    installed["keydb-1"].shell(f"mkdir -p {part}; head -c 1000 /bin/sh >{part}/{name}; chmod 755 {part}/{name}")
    asked = files.asked
    with writing(installed) as writer:
        brought = installed.run("install", **data()).ok()
        assert files.asked == asked + 1
        assert [installed.info(node)["run_id"] for node in NODES] == processes
        assert installed.run("install", **data()).ok().changed() == 0
        assert files.asked == asked + 1, "nobody lacks it, so nothing is fetched"
        upgraded = installed.run("upgrade", **data()).ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
    assert {installed.version(node) for node in NODES} == {newer} != {version_of(installed.program)}
    for machine in installed.nodes:
        place = f"{PLACE}/{checksum[:16]}/{name}"
        assert machine.shell(f"readlink /proc/$(pgrep -x {name})/exe") == place
        assert machine.shell(f"stat -c '%a %U' {place}") == "755 root"
    print(f"install with a tarball in {brought.seconds:.1f} s, upgrade to it in {upgraded.seconds:.1f} s")

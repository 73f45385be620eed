"""A group whose server comes as a package from a repository of the inventory; last, since it begins with no group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import NODES, Fleet
from tests.fleet.machine import Machine, eventually
from tests.fleet.repository import NOTIFY, STARTED, Repository
from tests.fleet.test_verbs import is_healthy
from tests.fleet.writer import writing
from tests.sandbox.versions import renamed, version_of


@pytest.fixture
def repository(installed: Fleet, tmp_path: Path) -> Iterator[Repository]:
    """On all nodes, which have no group and no data any more; afterwards they have the group of the other tests.

    It has a version that is newer than any that is asked for.
    """
    made = Repository(tmp_path, installed.engine)
    for version in ("1-1", "3-1"):
        made.add(version, installed.program)
    installed.run("uninstall", whole_group="vagrant", remove_data="yes").ok()
    for machine in installed.nodes:
        machine.shell("rm -rf /var/lib/apt/lists/*")
        made.put_on(machine)
    yield made
    installed.run("uninstall", whole_group="vagrant", remove_data="yes").ok()
    for machine in installed.nodes:
        machine.shell(
            f"apt-get purge -y -qq --allow-change-held-packages {made.package} {made.tools} >/dev/null 2>&1",
            check=False,
        )
    installed.run("install").ok()
    eventually(lambda: is_healthy(installed, "keydb-1"), "the group of the other tests is back", 30)


def runs_as_ours(machine: Machine, repository: Repository) -> bool:
    """Whether the package's own unit runs the server, and nothing of how it would have started or ended it is left.

    A process that systemd was waiting for, or believed to have ended, would have been started again.
    """
    fields = {
        "Type": "exec",
        "PIDFile": "",
        "ExecStop": "",
        "Restart": "on-failure",
        "TimeoutStopUSec": "10min",
        "NRestarts": "0",
        "SubState": "running",
        "UMask": "0077",
    }
    show = (
        f"systemctl show {' '.join(f'-p {field}' for field in (*fields, 'FragmentPath'))} {repository.engine}.service"
    )
    seen = dict(line.partition("=")[::2] for line in machine.shell(show).splitlines())
    assert seen.pop("FragmentPath").startswith(("/lib", "/usr"))
    assert {"PIDFile": "", "ExecStop": "", **seen} == fields
    return True


def data(repository: Repository, version: str) -> dict[str, str]:
    return {
        "keydb_package": repository.package,
        "keydb_package_version": version,
        "keydb_apt_repository": repository.source,
        "keydb_apt_key": str(repository.key),
        "haproxy_package": "haproxy",
    }


def test_packages_bring_the_server_and_a_newer_one_without_starting_anything(
    installed: Fleet, repository: Repository, tmp_path: Path
) -> None:
    first = installed.run("install", **data(repository, "1-1")).ok()
    eventually(lambda: is_healthy(installed, "keydb-1"), "the packages make a group", 30)
    for machine in installed.nodes:
        machine.shell(f"test ! -e {STARTED}")
        assert machine.shell("apt-mark showhold") == repository.package
        assert machine.shell(f"readlink /proc/$(pgrep -x {repository.package})/exe") == f"/usr/bin/{repository.package}"
        assert runs_as_ours(machine, repository)
    assert installed.findings() == []
    again = installed.run("install", **data(repository, "1-1")).ok()
    assert again.changed() == 0, again.text
    drift = installed.run("drift", **data(repository, "1-1"))
    assert drift.code == 0, drift.text

    newer = renamed(installed.program, tmp_path / "newer")
    repository.add("2-1", tmp_path / "newer", NOTIFY)
    for machine in installed.nodes:
        repository.put_on(machine)
    processes = [installed.info(name)["run_id"] for name in NODES]
    with writing(installed) as writer:
        installed.run("install", **data(repository, "2-1")).ok()
        # The package gave its directories its own modes again, and the same run took them back.
        assert {machine.shell("stat -c %a /var/lib/keydb") for machine in installed.nodes} == {"700"}
        assert installed.run("install", **data(repository, "2-1")).ok().changed() == 0
        assert [installed.info(name)["run_id"] for name in NODES] == processes
        upgraded = installed.run("upgrade", **data(repository, "2-1")).ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
    assert {installed.version(name) for name in NODES} == {newer} != {version_of(installed.program)}
    for machine in installed.nodes:
        machine.shell(f"test ! -e {STARTED}")
        assert "Type=notify" in machine.shell(f"systemctl cat {repository.package}")
        assert runs_as_ours(machine, repository)
    print(f"install with packages in {first.seconds:.1f} s, upgrade to the next one in {upgraded.seconds:.1f} s")


def test_a_package_that_nobody_has_is_told_by_apt_itself(installed: Fleet, repository: Repository) -> None:
    refused = installed.run("install", **data(repository, "7-1"))
    assert refused.code == 1
    assert f"Version '7-1' for '{repository.package}' was not found" in refused.text
    for machine in installed.nodes:
        machine.shell("test ! -e /etc/keydb/keydb.conf")
        assert machine.shell(f"systemctl is-enabled {repository.package} 2>/dev/null", check=False) != "masked-runtime"


def test_a_repository_with_another_key_is_not_trusted(installed: Fleet, repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Repository(tmp_path / "other", installed.engine)
    refused = installed.run("install", **{**data(repository, "1-1"), "keydb_apt_key": str(other.key)})
    assert refused.code == 1, refused.text
    for machine in installed.nodes:
        machine.shell(f"test ! -e /usr/bin/{repository.package}")

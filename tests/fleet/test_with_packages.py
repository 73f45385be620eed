"""A group whose server comes as a package from a repository of the inventory; last, since it begins with no group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import base
from tests.fleet.fleet import NODES, Fleet
from tests.fleet.machine import Machine, eventually
from tests.fleet.repository import NOTIFY, STARTED, Repository
from tests.fleet.test_verbs import is_healthy
from tests.fleet.writer import writing
from tests.sandbox.versions import renamed, version_of

OWN_SOURCES = "/etc/apt/sources.list.d/own.list"
"""Where a machine has a repository of its own, of which the inventory knows nothing."""


@pytest.fixture
def repository(installed: Fleet, tmp_path: Path) -> Iterator[Repository]:
    """On all nodes, which have no group and no data any more; afterwards they have the group of the other tests.

    It has a version that is newer than any that is asked for.
    """
    made = Repository(tmp_path, installed.engine)
    for version in ("1-1", "3-1"):
        made.add(version, installed.program)
    installed.run("uninstall", whole_group="vagrant", remove_data="yes").ok()
    for machine in installed.machines.values():
        # Debian's mirror is nowhere near, and apt would ask for it four times, in seven seconds.
        machine.shell("rm -rf /var/lib/apt/lists/*; : >/etc/apt/sources.list")
    for machine in installed.nodes:
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


@pytest.fixture
def bare_proxies(installed: Fleet, repository: Repository) -> Iterator[list[Machine]]:
    """Proxies without HAProxy and socat, whose own apt has both; afterwards they have them as they had."""
    packages = " ".join(base.PROXY)
    for package in base.PROXY:
        repository.repack(package, base.BASE)
    for machine in installed.proxies:
        repository.put_on(machine)
        machine.shell(f"echo 'deb [trusted=yes] {repository.source}' >{OWN_SOURCES}")
        machine.shell(f"apt-get purge -y -qq {packages} >/dev/null 2>&1")
        machine.shell("! command -v haproxy && ! command -v socat && ! id haproxy 2>/dev/null")
        # What systemd says from here on is of the package.
        machine.shell("journalctl --quiet --rotate --vacuum-time=1s")
    yield installed.proxies
    for machine in installed.proxies:
        machine.shell(f"apt-get update -qq; apt-get install -y -qq {packages} >/dev/null 2>&1; rm {OWN_SOURCES}")


def balances_as_ours(machine: Machine) -> bool:
    """Whether the package's own unit runs HAProxy, and has never run it but with our file and ours around it."""
    fields = ("FragmentPath", "UnitFileState", "SubState", "NRestarts", "NoNewPrivileges", "MainPID")
    show = f"systemctl show {' '.join(f'-p {field}' for field in fields)} haproxy.service"
    seen = dict(line.partition("=")[::2] for line in machine.shell(show).splitlines())
    assert seen.pop("FragmentPath").startswith(("/lib", "/usr"))
    process = f"/proc/{seen.pop('MainPID')}"
    assert seen == {"UnitFileState": "enabled", "SubState": "running", "NRestarts": "0", "NoNewPrivileges": "yes"}
    assert machine.shell(f"readlink {process}/exe; grep NoNewPrivs {process}/status").split()[::2] == [
        "/usr/sbin/haproxy",
        "1",
    ]
    told = machine.shell("journalctl --quiet --output=cat --identifier=systemd --unit=haproxy.service")
    assert [line.split()[0] for line in told.splitlines()] == ["Starting", "Started"], told
    return True


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
    installed: Fleet, repository: Repository, bare_proxies: list[Machine], tmp_path: Path
) -> None:
    first = installed.run("install", **data(repository, "1-1")).ok()
    eventually(lambda: is_healthy(installed, "keydb-1"), "the packages make a group", 30)
    for machine in installed.nodes:
        machine.shell(f"test ! -e {STARTED}")
        assert machine.shell("apt-mark showhold") == repository.package
        assert machine.shell(f"readlink /proc/$(pgrep -x {repository.package})/exe") == f"/usr/bin/{repository.package}"
        assert runs_as_ours(machine, repository)
    assert all(map(balances_as_ours, bare_proxies))
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
        installed.run("switchover", to="keydb-2").ok()
        writer.goes_on()
        upgraded = installed.run("upgrade", **data(repository, "2-1")).ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
    assert {installed.version(name) for name in NODES} == {newer} != {version_of(installed.program)}
    for machine in installed.nodes:
        machine.shell(f"test ! -e {STARTED}")
        assert "Type=notify" in machine.shell(f"systemctl cat {repository.package}")
        assert runs_as_ours(machine, repository)
    # None of that touched the proxies.
    assert all(map(balances_as_ours, bare_proxies))
    installed.run("uninstall", whole_group="vagrant", remove_data="yes").ok()
    for machine in bare_proxies:
        assert machine.shell("systemctl is-active haproxy; systemctl is-enabled haproxy", check=False).split() == [
            "inactive",
            "disabled",
        ]
        machine.shell("test ! -e /etc/haproxy/haproxy.cfg && test ! -e /etc/systemd/system/haproxy.service.d")
        assert machine.shell(f"dpkg-query -Wf '${{db:Status-Status}} ' {' '.join(base.PROXY)}") == "installed installed"
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

"""Install on machines that have nothing but sshd, sudo and the programs; and what systemd makes of it."""

from __future__ import annotations

import re
import time

import pytest

from tests.fleet.fleet import NODES, PROXIES, Fleet
from tests.fleet.machine import Machine, eventually

USUAL = (
    "oO0OoO0OoO0Oo|just started|Configuration loaded|Server initialized|Done loading RDB"
    # This computer's, and not to be changed from a namespace.
    "|vm.overcommit_memory|overcommit_memory is set to 0|Transparent Huge Pages"
)
"""What a server says in its warnings' voice at each start, and what only the computer below the machines can mend."""


@pytest.fixture
def server(fleet: Fleet) -> str:
    """The server's unit."""
    return f"{fleet.engine}-server.service"


def unit(machine: Machine, name: str, field: str) -> str:
    return machine.shell(f"systemctl show --value --property={field} {name}")


def pid(machine: Machine, name: str) -> int:
    return int(unit(machine, name, "MainPID"))


def worker(machine: Machine) -> str:
    """The process of HAProxy that takes new connections."""
    return machine.shell("echo 'show info' | socat - /run/haproxy/admin.sock | sed -n 's/^Pid: //p'")


# From nothing


def test_a_dry_run_on_bare_machines_changes_nothing(bare: Fleet) -> None:
    look = (
        "cat /etc/passwd; find /etc /var/lib /var/log -xdev -newer /proc/1 -type f ! -path '/var/log/journal/*' | sort"
    )
    before = {machine.name: machine.shell(look) for machine in bare.machines.values()}

    bare.run("install", dry=True).ok()

    assert {machine.name: machine.shell(look) for machine in bare.machines.values()} == before


def test_an_install_on_bare_machines_founds_a_group(installed: Fleet, server: str) -> None:
    assert installed.primaries() == ["keydb-1"]
    eventually(lambda: installed.replicas_of("keydb-1") == ["keydb-2", "keydb-3"], "both replicas follow")
    for proxy in PROXIES:
        eventually(lambda proxy=proxy: installed.writable(proxy), f"{proxy} leads to the primary")
    for node in installed.nodes:
        assert unit(node, server, "ActiveState") == "active"
        assert unit(node, server, "UnitFileState") == "enabled"
        assert unit(node, server, "User") == installed.engine
        assert (
            node.shell(f"ps -o user= -p {pid(node, server)} 2>/dev/null || stat -c %U /proc/{pid(node, server)}")
            == installed.engine
        )
    for proxy in installed.proxies:
        assert unit(proxy, "haproxy", "ActiveState") == "active"
        assert proxy.shell(f"stat -c %U /proc/{worker(proxy)}") == "haproxy"
    assert installed.findings() == []


def test_a_second_install_changes_nothing(installed: Fleet, server: str) -> None:
    processes = {node.name: pid(node, server) for node in installed.nodes}
    workers = {proxy.name: worker(proxy) for proxy in installed.proxies}

    again = installed.run("install").ok()

    assert again.changed() == 0, again.text
    assert processes == {node.name: pid(node, server) for node in installed.nodes}
    assert workers == {proxy.name: worker(proxy) for proxy in installed.proxies}
    print(f"an install without changes: {again.seconds:.1f} s")


def test_drift_finds_everything_as_it_should_be(installed: Fleet) -> None:
    drift = installed.run("drift")
    assert drift.code == 0, drift.text


# Whose it is, and who may read it


def test_nobody_but_root_and_the_server_can_read_a_password(installed: Fleet) -> None:
    for machine in installed.machines.values():
        found = {}
        for role, password in installed.passwords.items():
            files = machine.shell(
                "grep -rlF -f - /etc /var/lib /var/log /run /home /tmp /var/tmp 2>/dev/null",
                check=False,
                given=password,
            )
            found |= dict.fromkeys(files.splitlines(), role)
        assert found or machine.name in PROXIES, machine.name
        for path, role in found.items():
            mode, owner = machine.shell(f"stat -c '%a %U' {path}").split()
            assert int(mode, 8) & 0o007 == 0, (
                f"{machine.name}: {path} has the password of {role}, and its mode is {mode}"
            )
            assert owner in ("root", installed.engine)
            assert "journal" not in path and not path.endswith(".log")


def test_the_server_can_not_replace_what_root_runs(installed: Fleet) -> None:
    for node in installed.nodes:
        as_server = f"setpriv --reuid={installed.engine} --regid={installed.engine} --clear-groups"
        told = node.shell(
            f"{as_server} sh -c 'rm -f /etc/keydb/boot-guard; mv /etc/keydb/boot-guard /etc/keydb/x' 2>&1", check=False
        )
        assert told.count("Operation not permitted") == 2, told
        assert node.shell(f"{as_server} cat /etc/keydb/operator.auth 2>&1", check=False).endswith("Permission denied")


def test_the_runtime_socket_is_for_root_only(installed: Fleet) -> None:
    for proxy in installed.proxies:
        # 660 where HAProxy ran before, and hands on its socket.
        assert proxy.shell("stat -c '%a %U:%G' /run/haproxy/admin.sock") in ("600 root:root", "660 root:root")
        told = proxy.shell(
            "setpriv --reuid=vagrant --regid=vagrant --clear-groups socat - /run/haproxy/admin.sock 2>&1 </dev/null",
            check=False,
        )
        assert "Permission denied" in told


def test_the_units_are_hardened_no_worse_than_the_packages_own(
    exposure_before: float, installed: Fleet, server: str
) -> None:
    seen = {
        name: installed["keydb-1"].exposure(name) for name in (server, server.replace(".service", "-guard.service"))
    }
    seen["haproxy.service"] = installed["proxy-1"].exposure("haproxy.service")
    print(f"exposure: {seen}; HAProxy's package: {exposure_before}")
    assert seen.pop("haproxy.service") < exposure_before
    assert max(seen.values()) < 3


# Changes


def test_a_change_is_taken_over_without_a_restart(installed: Fleet, server: str) -> None:
    before = {node.name: pid(node, server) for node in installed.nodes}
    try:
        changed = installed.run("install", keydb_maxmemory="48mb").ok()
        assert changed.changed() == len(NODES), changed.text
        assert {installed.ask(name, "CONFIG", "GET", "maxmemory")[1] for name in NODES} == {str(48 << 20)}
        assert installed.run("install", keydb_maxmemory="48mb").ok().changed() == 0
    finally:
        installed.run("install").ok()
    assert before == {node.name: pid(node, server) for node in installed.nodes}


def test_the_kernel_is_set_as_the_server_asks_and_what_it_does_not_allow_is_told(installed: Fleet) -> None:
    node, path = installed["keydb-3"], "/etc/sysctl.d/60-keydb-runbooks.conf"
    # All of /proc/sys is read-only here. The queue of connections is each machine's own, so that file may be opened; the
    # other setting is this computer's, so another file hides it.
    queue, hidden = "/proc/sys/net/core/somaxconn", "/proc/sys/vm/overcommit_memory"
    opened = "/run/proc/sys/net/core/somaxconn"
    node.shell(f"mkdir /run/proc; mount -t proc proc /run/proc; echo 128 >{opened}; mount --bind {opened} {queue}")
    node.shell(f"echo 0 >/run/hidden; mount --bind /run/hidden {hidden}; mount -o remount,bind,ro {hidden}")
    try:
        changed = installed.run("install").ok()
        assert changed.changed() == 1, changed.text
        told = " ".join(changed.text.split())
        assert "keydb-3: vm.overcommit_memory is 0, and can't be changed from here" in told
        assert "net.core.somaxconn" not in told
        assert node.shell(f"cat {queue}") == "4096"
        assert node.shell(f"grep -v ^# {path}") == "net.core.somaxconn = 4096"
        again = installed.run("install").ok()
        assert again.changed() == 0, again.text
    finally:
        node.shell(f"umount {hidden} {queue} /run/proc; rm -f {path}")


def test_a_server_has_no_huge_pages_and_one_that_wants_them_is_told(installed: Fleet, server: str) -> None:
    node, config, setting = installed["keydb-3"], "/etc/keydb/keydb.conf", "/sys/kernel/mm/transparent_hugepage/enabled"

    def restart_with(line: str) -> None:
        node.shell(f"sed -i '/^disable-thp/d' {config}; echo '{line}' >>{config}; systemctl restart {server}")
        eventually(lambda: "keydb-3" in installed.replicas_of("keydb-1"), "it follows again", 30)

    # This computer's own can't be changed from a namespace, so another file hides it.
    node.shell(f"echo '[always] madvise never' >/run/huge; mount --bind /run/huge {setting}")
    try:
        for line, enabled in (("", 0), ("disable-thp no", 1)):
            restart_with(line)
            assert f"THP_enabled:\t{enabled}" in node.shell(f"cat /proc/{pid(node, server)}/status")
            told = " ".join(installed.run("install").ok().text.split())
            assert ("keydb-3: its server runs on huge pages" in told) is bool(enabled), told
    finally:
        node.shell(f"umount {setting}")
        restart_with("")


def test_haproxy_is_reloaded_only_when_changed_and_drops_no_connection(installed: Fleet) -> None:
    workers = {proxy.name: worker(proxy) for proxy in installed.proxies}
    with installed.client("proxy-1", "application") as client:
        connection = client.connection_pool.get_connection()
        try:
            assert installed.run("install", haproxy_check_interval="900").ok().changed() == len(PROXIES)
            assert not {worker(proxy) for proxy in installed.proxies} & {*workers.values()}
            # The same connection, on which nothing is sent twice.
            connection.send_command("PING")
            assert connection.read_response() == "PONG"
        finally:
            connection.disconnect()
            installed.run("install").ok()
    for proxy in PROXIES:
        eventually(lambda proxy=proxy: installed.writable(proxy), f"{proxy} leads to the primary")


def test_a_configuration_that_haproxy_refuses_never_replaces_the_old_one(installed: Fleet) -> None:
    before = {proxy.name: proxy.shell("sha256sum /etc/haproxy/haproxy.cfg") for proxy in installed.proxies}
    workers = {proxy.name: worker(proxy) for proxy in installed.proxies}

    result = installed.run("install", haproxy_source_address="no.such.name.invalid")

    result.refused("HAProxy refuses the new configuration", "no.such.name.invalid")
    assert before == {proxy.name: proxy.shell("sha256sum /etc/haproxy/haproxy.cfg") for proxy in installed.proxies}
    assert workers == {proxy.name: worker(proxy) for proxy in installed.proxies}


def test_what_a_machine_lacks_is_told_before_anything_is_changed_there(installed: Fleet) -> None:
    proxy = installed["proxy-2"]
    proxy.shell("mv /usr/bin/socat /root/socat")
    try:
        installed.run("install").refused("proxy-2: no socat on PATH", "apt-get install socat")
    finally:
        proxy.shell("mv /root/socat /usr/bin/socat")


# What systemd keeps running


def test_a_killed_replica_comes_back_guarded_and_its_guard_lets_it_follow(installed: Fleet, server: str) -> None:
    node = installed["keydb-3"]
    before = pid(node, server)
    node.shell(f"kill -9 {before}")

    eventually(lambda: pid(node, server) not in (0, before), "systemd has started it again", 15)
    eventually(lambda: "keydb-3" in installed.replicas_of("keydb-1"), "it follows the primary", 30)
    journal = node.shell(f"journalctl --no-pager --output=cat --unit={server.replace('.service', '-guard.service')}")
    assert "follow: keydb-1, which is primary" in journal.splitlines()[-1] or "follow: keydb-1" in journal
    assert installed.primaries() == ["keydb-1"]


def test_a_start_warns_of_nothing_that_could_be_mended(installed: Fleet, server: str) -> None:
    for node in installed.nodes:
        log = node.shell("cat /var/log/keydb/*.log").splitlines()
        begun = max(number for number, line in enumerate(log) if "oO0OoO0OoO0Oo" in line)
        lines = [line for line in log[begun:] if " # " in line or "WARNING" in line]
        # Who is started guarded calls an address that nobody has, and says so.
        starting = lines[: next(n for n, line in enumerate(lines) if "Unable to connect to MASTER" in line)]
        assert [line for line in starting if not re.search(USUAL, line)] == []


def test_a_server_that_can_not_live_is_not_started_for_ever_and_start_says_why(installed: Fleet, server: str) -> None:
    node = installed["keydb-3"]
    config = "/etc/keydb/keydb.conf"
    node.shell(f"cp -p {config} /root/kept; echo 'maxmemory nonsense' >>{config}; systemctl kill -s KILL {server}")
    try:
        eventually(
            lambda: unit(node, server, "Result") == "start-limit-hit" or unit(node, server, "ActiveState") == "failed",
            "systemd gives up",
            60,
        )
        time.sleep(3)
        assert unit(node, server, "ActiveState") == "failed"
        refused = installed.run("start")
        assert refused.code == 1
        assert "journalctl" in refused.text or "look at" in refused.text, refused.text
    finally:
        node.shell(f"mv /root/kept {config}")
    installed.run("start").ok()
    eventually(lambda: "keydb-3" in installed.replicas_of("keydb-1"), "it follows the primary", 30)


def test_a_rebooted_replica_and_a_rebooted_proxy_come_back_by_themselves(installed: Fleet, server: str) -> None:
    for name in ("keydb-2", "proxy-2"):
        installed[name].reboot()
    installed.wait(["keydb-2", "proxy-2"])

    eventually(lambda: "keydb-2" in installed.replicas_of("keydb-1"), "the replica follows again", 60)
    eventually(lambda: installed.writable("proxy-2"), "the proxy leads to the primary", 30)
    assert installed.run("install").ok().changed() == 0

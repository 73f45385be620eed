"""The kit itself: each machine is one, and each fault is what it says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fleet import base, cgroups
from tests.fleet.__main__ import INSIDE
from tests.fleet.fleet import DISK, INVENTORY, NODES, PROXIES, Fleet
from tests.fleet.machine import Machine, eventually

SSH = 22
PATIENCE_SECONDS = 0.5


def answer(machine: Machine, port: int = SSH) -> str:
    """What somebody meets who calls a port: sshd's greeting, refused, or silence."""
    try:
        with socket.create_connection((machine.address, port), PATIENCE_SECONDS) as opened:
            return opened.recv(4).decode()
    except TimeoutError:
        return "silence"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        # Nobody says any more which card has this address.
        return "silence" if error.errno == 113 else str(error)


def test_a_machine_is_reached_by_ssh_as_an_ordinary_user_who_has_sudo(fleet: Fleet) -> None:
    said = {}
    for sudo in ("no", "yes"):
        data = ("--sudo",) if sudo == "yes" else ("--data", "_sudo=")
        process = fleet.start("exec", *data, "--", "id -un; hostname; grep CODENAME /etc/os-release")
        text, _ = process.communicate(timeout=60)
        assert process.returncode == 0, text
        said[sudo] = text
    for name in (*NODES, *PROXIES):
        assert f"[{name}] {base.USER}" in said["no"]
        assert f"[{name}] root" in said["yes"]
        assert f"[{name}] {name}" in said["yes"]
    assert f"[keydb-1] VERSION_CODENAME={base.SUITE}" in said["yes"]


def test_where_sudo_wants_a_password_install_says_so_and_changes_nothing(fleet: Fleet) -> None:
    for name in ("keydb-2", "proxy-1"):
        fleet[name].shell(f"mv /etc/sudoers.d/{base.USER} /root/kept-sudoers")
    try:
        result = fleet.run("install")
    finally:
        for name in ("keydb-2", "proxy-1"):
            fleet[name].shell(f"mv /root/kept-sudoers /etc/sudoers.d/{base.USER}")
    told = " ".join(result.text.split())
    assert result.code == 3, result.text
    assert "refused: no-password: a machine asks for a password, and nobody can be asked" in told
    assert "keydb-2] sudo password" in told or "proxy-1] sudo password" in told, "pyinfra tells which"
    assert "Traceback" not in told


def test_every_machine_runs_a_systemd_of_its_own_and_no_unit_failed(fleet: Fleet) -> None:
    for machine in fleet.machines.values():
        eventually(
            lambda machine=machine: machine.shell("systemctl is-system-running", check=False) == "running",
            f"{machine.name} has booted, and nothing failed: {machine.shell('systemctl --failed --no-legend')}",
            30,
        )
        assert machine.shell("cat /proc/1/comm") == "systemd"
    # Each sees its own processes only.
    fleet["keydb-1"].shell("systemd-run --quiet --unit=marked sleep 1000")
    try:
        assert "sleep" in fleet["keydb-1"].shell("cat /proc/[0-9]*/comm 2>&-; true")
        assert "sleep" not in fleet["keydb-2"].shell("cat /proc/[0-9]*/comm 2>&-; true")
        assert fleet["keydb-2"].shell("systemctl is-active marked.service", check=False) == "inactive"
    finally:
        fleet["keydb-1"].shell("systemctl stop marked.service")


def test_a_machine_without_power_is_silent_and_keeps_its_disks(fleet: Fleet) -> None:
    machine = fleet["keydb-1"]
    machine.shell(f"echo kept >/root/kept; echo kept >{DISK[0]}/kept; echo gone >/run/gone")
    with socket.create_connection((machine.address, SSH)) as opened:
        opened.recv(100)
        machine.power_off()
        try:
            assert not machine.is_on
            assert answer(machine) == "silence"
            # Nobody ended this connection, and nobody answers on it either.
            opened.settimeout(PATIENCE_SECONDS)
            opened.sendall(b"SSH-2.0-test\r\n")
            with pytest.raises(TimeoutError):
                opened.recv(1)
        finally:
            machine.power_on()
            machine.wait()
    assert machine.shell(f"cat /root/kept {DISK[0]}/kept; ls /run/gone 2>&1", check=False).startswith("kept\nkept\nls:")
    machine.shell(f"rm /root/kept {DISK[0]}/kept")


def test_a_reboot_ends_everything_in_order_and_begins_again(fleet: Fleet) -> None:
    machine = fleet["proxy-1"]
    machine.shell("systemd-run --quiet --unit=orderly --property=ExecStop='/bin/touch /root/orderly' sleep 1000")
    before = machine.leader()

    machine.reboot()
    machine.wait()

    assert machine.leader() != before
    assert machine.shell("ls /root/orderly") == "/root/orderly"
    assert "sleep" not in machine.shell("cat /proc/[0-9]*/comm 2>&-; true")
    machine.shell("rm /root/orderly")


def test_a_frozen_machine_answers_nobody_and_goes_on_where_it_was(fleet: Fleet) -> None:
    machine = fleet["keydb-2"]
    count = "/run/count"
    machine.shell(f"systemd-run --quiet --unit=count sh -c 'while :; do echo >>{count}; sleep 0.02; done'")
    # Read from this side: nothing can be asked of a machine that is frozen.
    file = Path(f"/proc/{machine.leader()}/root{count}")
    eventually(lambda: file.exists() and file.stat().st_size > 0, "the machine counts")
    try:
        machine.freeze()
        try:
            size = file.stat().st_size
            assert answer(machine) == "silence"
            assert file.stat().st_size == size
        finally:
            machine.thaw()
        eventually(lambda: file.stat().st_size > size, "the machine counts on")
        eventually(lambda: answer(machine) == "SSH-", "the machine answers again")
    finally:
        machine.shell(f"systemctl stop count.service; rm {count}")


def test_a_cut_is_silence_and_what_was_sent_into_it_arrives_when_it_is_healed(fleet: Fleet) -> None:
    machine = fleet["keydb-3"]
    with socket.create_connection((machine.address, SSH)) as opened:
        opened.recv(100)
        machine.cut()
        try:
            assert answer(machine) == "silence"
            opened.sendall(b"SSH-2.0-test\r\n")
            opened.settimeout(PATIENCE_SECONDS)
            with pytest.raises(TimeoutError):
                opened.recv(1)
            # Its own life goes on.
            assert "LOWER_UP" in machine.shell("ip -brief link show eth0")
        finally:
            machine.heal()
        opened.settimeout(10)
        assert opened.recv(1)


def test_a_refused_port_refuses_others_at_once_and_the_machine_itself_not(fleet: Fleet) -> None:
    machine = fleet["proxy-2"]
    with socket.create_connection((machine.address, SSH)) as opened:
        opened.recv(100)
        machine.refuse_port(SSH)
        try:
            assert answer(machine) == "refused"
            with pytest.raises(ConnectionResetError):
                opened.sendall(b"SSH-2.0-test\r\n")
                opened.settimeout(2)
                opened.recv(1)
            told = machine.shell(f"bash -c 'exec 3<>/dev/tcp/{machine.address}/{SSH}; head -c4 <&3'")
            assert told == "SSH-"
        finally:
            machine.accept_port()
    assert answer(machine) == "SSH-"


def test_a_full_disk_takes_no_more_bytes_until_it_is_freed(fleet: Fleet) -> None:
    machine = fleet["keydb-1"]
    assert int(machine.shell(f"df -B1 --output=size {DISK[0]} | tail -n1")) == DISK[1]
    write = f"head -c 4096 /dev/zero 2>&1 >{DISK[0]}/file; sync {DISK[0]}/file; stat -c %s {DISK[0]}/file; rm {DISK[0]}/file"
    machine.fill_disk()
    try:
        assert "No space left" in machine.shell(f"({write}) 2>&1", check=False)
    finally:
        machine.free_disk()
    assert "4096" in machine.shell(write)


# What is left


def look_around() -> dict[str, object]:
    """What could be left of a fleet: mounts, network, control groups, processes."""
    groups = {path.name for place in cgroups._places() for path in (place / cgroups.NAME).glob("*/")}
    return {
        "mounts": Path("/proc/self/mounts").read_text(),
        "network": subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout,
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("*")),
        "groups": groups,
    }


def running() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if (path / "exe").exists()]


def test_a_fleet_that_ends_leaves_nothing(fleet: Fleet) -> None:
    before = look_around()
    outside = {key: value for key, value in os.environ.items() if key != INSIDE}

    done = subprocess.run(
        [sys.executable, "-m", "tests.fleet", "pyinfra", INVENTORY, "debug-inventory"],
        cwd=base.REPOSITORY,
        env=outside,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "keydb-3" in done.stdout + done.stderr
    assert look_around() == before


def test_of_a_fleet_that_is_killed_only_empty_groups_are_left_and_the_next_one_removes_them(fleet: Fleet) -> None:
    before, processes = look_around(), running()
    outside = {key: value for key, value in os.environ.items() if key != INSIDE}
    killed = subprocess.Popen(
        [sys.executable, "-m", "tests.fleet", "sleep", "1000"],
        cwd=base.REPOSITORY,
        env=outside,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    eventually(lambda: look_around()["groups"] != before["groups"], "the other fleet's machines are switched on", 30)
    time.sleep(0.5)

    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()

    eventually(lambda: set(running()) <= {*processes}, "no process of it runs")
    after = look_around()
    assert {**after, "groups": None} == {**before, "groups": None}
    eventually(lambda: bool(cgroups.left_behind()), "its groups are known to be nobody's")
    for name in cgroups.left_behind():
        cgroups.remove(name)
    assert look_around() == before

"""A machine goes silent, or works quietly for long, in the middle of a command of a verb that works by commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from keydb_runbooks.operations.watching import LOGIN_SECONDS
from tests.fleet.fleet import Fleet
from tests.fleet.machine import Machine, eventually
from tests.fleet.test_verbs import group, is_healthy  # noqa: F401 - a fixture of theirs

PATIENCE_SECONDS = 10
"""Of tests/impatient.py."""

FAULTS: dict[str, tuple[Callable[[Machine], None], Callable[[Machine], None]]] = {
    "hang": (Machine.hang, Machine.thaw),
    "freeze": (Machine.freeze, Machine.thaw),
    "cut": (Machine.cut, Machine.heal),
}

STANDS = """#!/bin/sh
touch /run/there
until [ -e /run/go ]; do sleep 0.05; done
exec /usr/bin/{program} "$@"
"""

MAXMEMORY, HAS_IT = "48mb", ["maxmemory", str(48 << 20)]


@contextmanager
def standing(machine: Machine, program: str) -> Iterator[None]:
    """Whoever runs a program on a machine as root stands in front of that, until ``/run/go`` is there."""
    path = f"/usr/local/bin/{program}"
    machine.shell(f"rm -f /run/there /run/go; cat >{path}; chmod 755 {path}", given=STANDS.format(program=program))
    try:
        yield
    finally:
        machine.shell(f"rm -f {path}; touch /run/go")


def stands(machine: Machine) -> bool:
    return machine.shell("ls /run/there", check=False) != ""


def run_struck(fleet: Fleet, struck: str, program: str, fault: str, deploy: str, *data: str) -> str:
    """What a verb printed whose machine goes silent while it is about to run a program; it is mended behind it."""
    machine, (strike, mend) = fleet[struck], FAULTS[fault]
    words = [word for one in data for word in ("--data", one)]
    with standing(machine, program):
        process = fleet.start(f"deploys/{deploy}.py", *words, "-y", program=[sys.executable, "tests/impatient.py"])
        try:
            eventually(lambda: stands(machine) or process.poll() is not None, f"{deploy} stands", 60)
            assert process.poll() is None, process.communicate()[0]
            strike(machine)
            begun = time.monotonic()
            text, _ = process.communicate(timeout=PATIENCE_SECONDS + 60)
        finally:
            process.kill()
            mend(machine)
            machine.wait()
    print(f"{deploy} beside {struck} ({fault}): {time.monotonic() - begun:.1f} s\n{text}")
    told = " ".join(text.replace(f"[{struck}]", "").split())
    assert f"{struck} did not answer for {PATIENCE_SECONDS} s, and is asked nothing more in this run" in told, text
    assert process.returncode == 1
    assert "Traceback" not in text, text
    return str(text)


def test_install_goes_on_with_the_others_and_the_same_again_is_done(group: Fleet) -> None:  # noqa: F811
    run_struck(group, "keydb-2", "sha256sum", "hang", "install", f"keydb_maxmemory={MAXMEMORY}")

    for other in ("keydb-1", "keydb-3"):
        assert group.ask(other, "CONFIG", "GET", "maxmemory") == HAS_IT
    again = group.run("install", keydb_maxmemory=MAXMEMORY).ok()
    assert again.changed() in (0, 1), again.text  # it may have gone on when it was thawed
    assert group.ask("keydb-2", "CONFIG", "GET", "maxmemory") == HAS_IT
    assert group.run("drift", keydb_maxmemory=MAXMEMORY).code == 0
    group.run("install").ok()


def test_backup_fails_and_leaves_no_half_file(group: Fleet, tmp_path: Path) -> None:  # noqa: F811
    text = run_struck(group, "keydb-2", "sha256sum", "freeze", "backup", "node=keydb-2", f"save_to={tmp_path}")

    assert "failed and " in text
    assert list(tmp_path.glob("*.rdb*")) == []
    eventually(lambda: is_healthy(group, "keydb-1"), "the machine goes on", 60)
    group.run("backup", node="keydb-2", save_to=str(tmp_path)).ok()
    assert len(list(tmp_path.glob("*.rdb"))) == 1


def test_uninstall_of_a_proxy_is_finished_by_the_same_again(group: Fleet) -> None:  # noqa: F811
    run_struck(group, "proxy-2", "systemctl", "cut", "uninstall", "node=proxy-2")

    group.run("uninstall", node="proxy-2").ok()
    assert group["proxy-2"].shell("ls /etc/haproxy/haproxy.cfg", check=False) == ""
    group.run("install").ok()
    eventually(lambda: is_healthy(group, "keydb-1"), "the proxy is back", 30)


def test_a_command_that_is_quiet_for_longer_and_lives_is_waited_for(group: Fleet) -> None:  # noqa: F811
    machine = group["keydb-2"]
    with standing(machine, "sha256sum"):
        words = [sys.executable, "tests/impatient.py"]
        process = group.start("deploys/install.py", "--data", f"keydb_maxmemory={MAXMEMORY}", "-y", program=words)
        try:
            eventually(lambda: stands(machine), "install stands", 60)
            time.sleep(3 * PATIENCE_SECONDS)
            machine.shell("touch /run/go")
            text, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, text
    assert group.ask("keydb-2", "CONFIG", "GET", "maxmemory") == HAS_IT
    group.run("install").ok()


def test_an_sshd_that_lets_nobody_in_costs_its_time_out_and_no_more(group: Fleet) -> None:  # noqa: F811
    machine = group["proxy-2"]
    lines = "AuthorizedKeysFile none\\nAuthorizedKeysCommand /bin/sleep 1000\\nAuthorizedKeysCommandUser nobody\\n"
    machine.shell(f"printf '{lines}' >/etc/ssh/sshd_config.d/000-hangs.conf; systemctl reload ssh")
    try:
        status = group.run("status")
    finally:
        machine.shell("rm /etc/ssh/sshd_config.d/000-hangs.conf; systemctl reload ssh")
        machine.wait()
    print(f"status beside an sshd that lets nobody in: {status.seconds:.1f} s")
    assert (status.code, "no connection to proxy-2" in status.text) == (6, True), status.text
    assert LOGIN_SECONDS <= status.seconds < LOGIN_SECONDS + 15, status.text  # paramiko would wait 30

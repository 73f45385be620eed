"""The role verbs over SSH: the sandbox's servers behind a real sshd on loopback, reached as machines are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import machines as behind_ssh
import pytest
from kit import Sandbox
from machines import Machines

from tests.conftest import missing_for_ssh

pytestmark = pytest.mark.skipif(bool(missing_for_ssh()), reason=f"no {', '.join(missing_for_ssh())} on PATH")


@pytest.fixture
def machines(group: Sandbox, tmp_path: Path) -> Iterator[Machines]:
    with behind_ssh.machines(group, tmp_path) as start:
        yield start


def test_a_switchover_and_a_failover_over_ssh(group: Sandbox, machines: Machines) -> None:
    inventory = machines("local")

    group.pyinfra(inventory, "deploys/switchover.py", "--data", "to=keydb-2", "-y").ok()
    group.kill("keydb-2")
    failover = group.pyinfra(inventory, "deploys/failover.py", "--data", "to=keydb-1", "-y").ok()

    assert "no server process runs on keydb-2" in failover.text
    assert "Traceback" not in failover.text and "Secsh" not in failover.text
    assert group.primaries() == ["keydb-1"]
    assert group.writable()


def test_an_sshd_that_forbids_forwarding_is_a_named_refusal(group: Sandbox, machines: Machines) -> None:
    inventory = machines("no")

    result = group.pyinfra(inventory, "deploys/switchover.py", "--data", "to=keydb-2", "-y")

    result.refused("sshd on keydb-1 forbids forwarding: it needs AllowTcpForwarding local")
    assert group.primaries() == ["keydb-1"]

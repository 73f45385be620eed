"""A machine is struck while a switchover or a failover is at work: in front of the promotion, and straight behind it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet.fleet import NODES, SERVER_PORT, Fleet
from tests.fleet.machine import Machine, eventually
from tests.fleet.test_verbs import as_told, group, is_healthy, rejoin, renewed  # noqa: F401 - a fixture of theirs
from tests.fleet.writer import Writer, writing

Strike = Callable[[Machine], None]

FAULTS: dict[str, tuple[Strike, Strike]] = {
    "power_off": (Machine.power_off, lambda machine: (machine.power_on(), machine.wait())[1]),
    "reboot": (Machine.reboot, Machine.wait),
    "freeze": (Machine.freeze, Machine.thaw),
    "cut": (Machine.cut, Machine.heal),
    "refuse": (lambda machine: machine.refuse_port(SERVER_PORT), Machine.accept_port),
}
"""How a machine is struck, and how it is mended."""

PATIENCE_SECONDS = 240
"""Two replicas that can't reach the target are waited for, a minute each, as the plan says."""

OLD, NEW = "keydb-1", "keydb-2"
MOMENTS = {
    ("switchover", "Promote", OLD): "writers wait, and nothing is promoted yet",
    ("switchover", "Promote", NEW): "the target goes in the moment in which it is to be promoted",
    ("switchover", "RecordLineage", NEW): "it has the role, and nobody follows it yet",
    ("failover", "RecordLineage", NEW): "the same, and the old primary is off",
}
IN_CI = {("power_off", 0), ("reboot", 0), ("cut", 1), ("freeze", 2), ("refuse", 3)}

CASES = [
    pytest.param(fault, *moment, marks=[] if (fault, number) in IN_CI else pytest.mark.slow, id=f"{fault}-{'-'.join(moment)}")
    for fault in FAULTS
    for number, moment in enumerate(MOMENTS)
]  # fmt: skip


def run_struck(fleet: Fleet, verb: str, step: str, folder: Path, strike: Callable[[], None]) -> str:
    """Run a verb, and strike when it stands in front of a step; what it printed."""
    folder.mkdir()
    data = ("--data", f"to={NEW}") if verb == "switchover" else ()
    words = [sys.executable, "tests/waiting.py", step, str(folder)]
    process = fleet.start(f"deploys/{verb}.py", *data, "-y", program=words)
    try:
        eventually(lambda: (folder / "there").exists() or process.poll() is not None, f"{verb} stands", 60)
        if process.poll() is None:
            strike()
            (folder / "go").touch()
        text, _ = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert (folder / "there").exists(), text
    return str(text)


def struck_in_the_middle(fleet: Fleet, fault: str, verb: str, step: str, struck: str, folder: Path) -> str:
    """What a verb printed whose machine was struck in front of a step, and is mended; behind a failover OLD is off."""
    strike, mend = FAULTS[fault]
    if verb == "failover":
        fleet[OLD].power_off()
    try:
        return run_struck(fleet, verb, step, folder, lambda: strike(fleet[struck]))
    finally:
        mend(fleet[struck])


def is_whole(fleet: Fleet, writer: Writer, verb: str, text: str, folder: Path) -> str:
    """Everybody follows one primary again, clients write, and a switchover has lost nothing; who the primary is."""
    (primary,) = fleet.primaries()
    eventually(lambda: is_healthy(fleet, primary), f"the group is whole behind {text}", 60)
    writer.goes_on()
    lost = writer.lost(folder)
    assert verb == "failover" or lost == 0, f"{lost} of {writer.acknowledged()} writes are lost:\n{text}"
    return primary


def recovers(fleet: Fleet) -> None:
    """What a person does behind it: the verb that status names, as often as one is named."""
    for _ in range(6):
        seen = fleet.status()["findings"]
        if not [one for one in seen if one["severity"] == "critical"]:  # type: ignore[attr-defined,index]
            break
        told = " ".join(str(one["sentence"]) for one in seen)  # type: ignore[attr-defined,index]
        superseded = re.search(r"stop (\S+), then run failover", told)
        if superseded:
            fleet[superseded[1]].shell(f"systemctl stop {fleet.engine}-server")
            as_told(fleet, "failover", accept="descriptor-target")
            fleet.run("start")
        elif "no-primary" in {one["code"] for one in seen}:  # type: ignore[attr-defined,index]
            as_told(fleet, "failover", accept="descriptor-target")
        elif "run abort" in told:
            fleet.run("abort")
        as_told(fleet, "rejoin")
    as_told(fleet, "rejoin")


@pytest.mark.parametrize(("fault", "verb", "step", "struck"), CASES)
def test_a_machine_that_is_struck_in_the_middle_leaves_a_group_that_can_be_made_whole(
    group: Fleet,  # noqa: F811
    tmp_path: Path,
    fault: str,
    verb: str,
    step: str,
    struck: str,
) -> None:
    with writing(group) as writer:
        text = struck_in_the_middle(group, fault, verb, step, struck, tmp_path / "stands")
        if verb == "failover":
            group[OLD].power_on()
            group[OLD].wait()
        assert re.search(r"done: |refused: |failed and (unchanged|incomplete)", text), text
        assert "Traceback" not in text, text
        group.run("start")
        recovers(group)
        primary = is_whole(group, writer, verb, text, tmp_path)
    assert {*group.replicas_of(primary), primary} == {*NODES}
    # A failover onto a node that nobody followed let it take writes alone.
    group.run("install").ok()
    renewed(group)


OF_A_PROXY = {
    ("reboot", "switchover", "Route", "proxy-1"): "the target has the role, and this proxy is not told of it yet",
    ("reboot", "switchover", "Promote", "proxy-2"): "writers wait, and nothing is promoted yet",
    ("power_off", "switchover", "VerifyWrite", "proxy-2"): "all is done, and is looked at once more",
    ("reboot", "failover", "Promote", "proxy-1"): "nothing is promoted yet, and the old primary is off",
    ("reboot", "failover", "Route", "proxy-2"): "the new primary has the role, and this proxy is not told of it yet",
}
OF_A_PROXY_IN_CI = ("reboot", "switchover", "Route", "proxy-1")


@pytest.mark.parametrize(
    ("fault", "verb", "step", "struck"),
    [
        pytest.param(*row, marks=[] if row == OF_A_PROXY_IN_CI else pytest.mark.slow, id="-".join(row))
        for row in OF_A_PROXY
    ],
)
def test_a_proxys_machine_that_is_struck_in_the_middle_is_named_and_the_same_again_ends_in_done(
    group: Fleet,  # noqa: F811
    tmp_path: Path,
    fault: str,
    verb: str,
    step: str,
    struck: str,
) -> None:
    to = {"to": NEW} if verb == "switchover" else {}
    with writing(group) as writer:
        text = struck_in_the_middle(group, fault, verb, step, struck, tmp_path / "stands")
        told = " ".join(text.split())
        assert (
            f"failed and incomplete: {NEW} is the primary of vagrant, but no write through {struck} reached" in told
        ), text
        assert f"not verified: {struck}: everything: the SSH connection to {struck} broke" in told, text
        assert "Traceback" not in text, text
        again = group.run(verb, **to)
        assert again.code == 0, again.text
        assert re.search("done: |nothing to do: ", again.text), again.text
        if verb == "failover":
            group[OLD].power_on()
            group[OLD].wait()
            rejoin(group).ok()
        is_whole(group, writer, verb, text, tmp_path)
    group.run("install").ok()
    renewed(group)

"""Rotate on machines: all five passwords are new in the end, and no client saw anything of it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from keydb_runbooks.connectors.pulse import BEAT_SECONDS, MISSED_BEATS
from tests.fleet.fleet import NODES, Fleet
from tests.fleet.forms import forms
from tests.fleet.machine import Machine, eventually
from tests.fleet.test_verbs import group, is_healthy  # noqa: F401 - a fixture of theirs
from tests.fleet.writer import writing


@pytest.fixture
def old(group: Fleet) -> Iterator[dict[str, str]]:  # noqa: F811
    """The passwords before; the inventory has new ones, and these beside them."""
    folder = group.home / "vagrant"
    before = group.passwords
    group.remember_passwords()
    (folder / "previous.json").write_text(json.dumps(before))
    (folder / "passwords.json").write_text(json.dumps({role: secrets.token_urlsafe(24) for role in before}))
    yield before
    (folder / "previous.json").unlink(missing_ok=True)


def holders(machine: Machine, passwords: dict[str, str]) -> list[str]:
    """A machine's files with a password in them: as it is, as HAProxy has it, or as its hash."""
    wanted = [form.encode() for form in forms(passwords.values())]
    folders = [machine.root / name for name in ("etc", "root", "srv", "tmp", "var")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(form in path.read_bytes() for form in wanted)]


def test_a_rotation_drops_no_write_and_the_old_passwords_are_gone(
    group: Fleet,  # noqa: F811
    old: dict[str, str],
    tmp_path: Path,
) -> None:
    new = group.passwords
    previous = group.home / "vagrant" / "previous.json"
    (group.home / "vagrant" / "passwords.json").write_text(json.dumps(old))
    with writing(group) as writer:
        (group.home / "vagrant" / "passwords.json").write_text(json.dumps(new))
        rotated = group.run("rotate").ok()
        writer.goes_on()
        with writing(group, proxy="proxy-2") as newcomer:
            finished = group.run("rotate", finish="yes").ok()
            newcomer.goes_on()
            writer.goes_on()
            assert (newcomer.refused(), newcomer.lost(tmp_path)) == (0, 0)
        assert (writer.refused(), writer.lost(tmp_path)) == (0, 0)
    previous.unlink()
    print(f"rotate in {rotated.seconds:.1f} s and {finished.seconds:.1f} s, longest gap {writer.gap() * 1000:.0f} ms")
    assert group.run("install").ok().changed() == 0
    eventually(lambda: is_healthy(group, "keydb-1"), "the group is as it was")
    for machine in group.machines.values():
        assert holders(machine, new) != []
        assert holders(machine, old) == []
    for name in NODES:
        for role, password in old.items():
            with group.client(name, role) as client, pytest.raises(redis.AuthenticationError):
                client.connection_pool.connection_kwargs["password"] = password
                client.ping()


def takes_the_new_one(fleet: Fleet, name: str) -> bool:
    try:
        return bool(fleet.ask(name, "PING"))
    except redis.AuthenticationError:
        return False


PATIENCE_SECONDS = BEAT_SECONDS * MISSED_BEATS


@pytest.mark.slow
def test_a_machine_that_goes_silent_under_a_rotation_is_waited_for_once(group: Fleet, old: dict[str, str]) -> None:  # noqa: F811
    silent, previous = group["keydb-3"], group.home / "vagrant" / "previous.json"
    begun = time.monotonic()
    process = group.start("deploys/rotate.py", "-y")
    try:
        eventually(lambda: takes_the_new_one(group, silent.name), "the run is in its middle", 60)
        silent.freeze()
        text, _ = process.communicate(timeout=PATIENCE_SECONDS + 60)
    finally:
        process.kill()
        silent.thaw()
        silent.wait()
    print(f"rotate with a silent machine in {time.monotonic() - begun:.1f} s: {process.returncode}\n{text}")
    assert process.returncode == 1
    assert f"{silent.name} did not answer for {PATIENCE_SECONDS:g} s" in text
    assert "Traceback" not in text
    eventually(lambda: is_healthy(group, "keydb-1"), "the machine goes on", 60)
    group.run("rotate").ok()
    group.run("rotate", finish="yes").ok()
    previous.unlink()
    assert group.run("install").ok().changed() == 0

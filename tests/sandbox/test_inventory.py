"""Broken inventories and misspelt options through the real command: told in words, and nothing is started or written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from kit import COLOR, NODES, REPOSITORY, Result, Sandbox

from keydb_runbooks.connectors.programs import engines
from tests.unit.broken_inventories import MUTATIONS, Broken, broken_inventories, good_inventory, write

COUNT = 200
AT_ONCE = 4
BATCHES = 10


@pytest.fixture
def empty() -> Iterator[Sandbox]:
    """A sandbox in which nothing is installed; an inventory's errors are the same whichever engine it names."""
    sandbox = Sandbox(next(iter(engines())))
    try:
        yield sandbox
    finally:
        sandbox.remove()


def broken(sandbox: Sandbox) -> list[Broken]:
    return broken_inventories(COUNT, home=str(sandbox.directory), port=sandbox.port)


def install_all(sandbox: Sandbox, inventories: list[Broken], folder: Path) -> None:
    """Install by each of these inventories, several at a time; each is refused, and nothing is started or written."""
    log = REPOSITORY / "pyinfra-debug.log"
    log.unlink(missing_ok=True)
    with sandbox.unchanged():
        waiting = iter(inventories)
        while batch := list(islice(waiting, AT_ONCE)):
            runs = [sandbox.start(str(write(one, folder)), "deploys/install.py", "-y") for one in batch]
            for one, run in zip(batch, runs, strict=True):
                text, _ = run.communicate(timeout=120)
                told = Result(run.returncode, COLOR.sub("", text)).refused(
                    "nothing was changed", f": {one.key}: ", one.said
                )
                assert "never-told" not in told.text
    assert sandbox.processes.all() == []
    assert list(sandbox.directory.iterdir()) == []
    assert not log.exists()


def test_a_good_inventory_is_taken_by_the_real_command(empty: Sandbox, tmp_path: Path) -> None:
    good = Broken("000", good_inventory(str(empty.directory), empty.port), "")
    told = empty.pyinfra(str(write(good, tmp_path)), "deploys/status.py").ok().text
    assert [node for node in NODES if f"{node}    ? stopped" in told] == list(NODES)


def test_broken_inventories_are_refused_by_the_real_command(empty: Sandbox, tmp_path: Path) -> None:
    # From every third mutation one.
    install_all(empty, broken(empty)[: len(MUTATIONS) : 3][:8], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_all_broken_inventories_are_refused_by_the_real_command(batch: int, empty: Sandbox, tmp_path: Path) -> None:
    install_all(empty, broken(empty)[batch::BATCHES], tmp_path)


@pytest.mark.first_engine
@pytest.mark.parametrize("inventory", ["prod", "kubernetes"])
def test_other_inventories_make_no_passwords_of_the_sandboxs(
    empty: Sandbox, tmp_path: Path, inventory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyinfra reads group_data for every inventory, and where one is run nothing may be writable."""
    monkeypatch.setitem(empty.environment, "KEYDB_SANDBOX_DIRECTORY", str(tmp_path / "sandbox"))
    empty.pyinfra(f"inventories/{inventory}.py", "debug-inventory").ok()
    assert not any(tmp_path.iterdir())


@pytest.mark.first_engine
def test_misspelt_options_are_told_and_no_role_moves(group: Sandbox) -> None:
    with group.unchanged():
        group.run("switchover", target="keydb-3").refused("--data target: is not an option; did you mean to?")
        group.run("failover", acceptloss="keydb-1").refused("--data acceptloss:", "did you mean accept_loss?")
        two = {"allow-unread": "keydb-2", "accept_spilt": "yes"}
        group.run("switchover", **two).refused("did you mean allow_unread?", "did you mean accept_split?")
        group.run("rejoin", accept_loss="kedyb-2").refused("--data accept_loss=kedyb-2:", "did you mean keydb-2?")
        group.run("status", format="jsno").refused("--data format=jsno; did you mean json? allowed are text and json")
        group.run("status", group="dmeo").refused("there is no group 'dmeo'; did you mean demo? allowed are demo")
        group.run("install", group="dmeo").refused("there is no group 'dmeo'; did you mean demo? allowed are demo")
        group.run("install", kedyb_maxmemory="1gb").refused("every host: kedyb_maxmemory: is not a key that is known")
        secret = group.run("install", keydb_users='{"operator": "never-told"}')
        assert "never-told" not in secret.refused("others can read a command line").text


@pytest.mark.first_engine
def test_what_others_give_on_the_command_line_is_left_to_them(group: Sandbox) -> None:
    with group.unchanged():
        assert group.run("install", web_port="8080", colour="red").ok().total()[2] == 0


@pytest.mark.first_engine
def test_an_odd_number_of_nodes_is_advised_by_install_and_status_and_json_stays_json(group: Sandbox) -> None:
    group.environment["KEYDB_SANDBOX_NODES"] = "2"
    told = "advice: group demo: keydb: the operators' lock needs 2 of 2 nodes"
    try:
        assert told in group.run("status").ok().text
        assert told in group.run("install", dry=True).ok().text
        assert "advice" not in group.run("status", format="json").ok().text
    finally:
        del group.environment["KEYDB_SANDBOX_NODES"]
    assert "advice" not in group.run("status").ok().text

"""Rotate: both passwords log in, then the new ones alone; no write is dropped, and any run may be killed."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from kit import NODES, Sandbox, eventually, writing
from logins import ROLES, link_anew, logs_in, renew
from moments import changes, commands, list_of, moments, run_at, spread

KILLED = 5


def over(group: Sandbox, old: dict[str, str]) -> None:
    """The new passwords are everywhere, and the old ones nowhere."""
    group.healthy("keydb-1")
    link_anew(group)
    for node in NODES:
        assert not [role for role in ROLES if logs_in(group, node, role, old[role])]
        assert [role for role in ROLES if logs_in(group, node, role, group.passwords[role])] == list(ROLES)
    assert holders(group, old) == {group.directory / "previous.json"}, "the inventory's"


def holders(group: Sandbox, passwords: dict[str, str]) -> set[Path]:
    """Every file of every node and proxy that holds a password: as it is, as HAProxy has it, or as its hash."""
    words = [
        form for word in passwords.values() for form in (word, word.encode().hex(), sha256(word.encode()).hexdigest())
    ]
    files = [path for path in group.directory.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"keydb.conf", "monitoring.auth", "operator.auth", "haproxy.cfg"}
    return {path for path in files for word in words if word.encode() in path.read_bytes()}


@pytest.mark.every_engine_in_ci
def test_passwords_are_rotated_under_writers(group: Sandbox) -> None:
    processes = {node: group.info(node)["run_id"] for node in NODES}
    group.run("rotate").refused("refused: nothing-to-rotate demo: no user has a previous password")
    with writing(group) as writer:
        old = renew(group)
        told = [group.run("rotate", dry=True).ok().text]
        assert all(logs_in(group, node, "operator", old["operator"]) for node in NODES)

        told.append(group.run("rotate").ok().text)
        writer.write_on()
        for node in NODES:
            for passwords in (old, group.passwords):
                assert [role for role in ROLES if logs_in(group, node, role, passwords[role])] == list(ROLES)
        link_anew(group)
        group.healthy("keydb-1")
        eventually(lambda: group.findings() == [], "all is well")

        refused = group.run("install").refused("refused: previous-passwords application and replication")
        assert "run rotate with finish=yes" in " ".join(refused.text.split())
        told.append(group.run("rotate", finish="yes").ok().text)
        writer.write_on()
        over(group, old)
        assert writer.lost() == 0
    told.append(group.run("rotate", finish="yes").ok().text)
    assert "the old passwords of" in " ".join(told[-1].split())
    over(group, old)
    (group.directory / "previous.json").unlink()
    assert group.install().ok().total()[1:3] == (0, 0)
    assert "all as it should be" in group.run("drift").ok().text
    assert {node: group.info(node)["run_id"] for node in NODES} == processes
    for text in told:
        assert not [word for word in (*old.values(), *group.passwords.values()) if word in text]


def test_every_verb_logs_in_while_passwords_are_rotated(group: Sandbox) -> None:
    old = renew(group)
    # Nothing was rotated yet: the old ones log in.
    group.run("switchover", to="keydb-2").ok()
    group.run("rotate").ok()
    group.run("switchover", to="keydb-1").ok()
    group.run("rotate", finish="yes").ok()
    over(group, old)


@pytest.mark.first_engine
def test_old_passwords_stay_as_long_as_a_proxy_or_a_node_knows_no_other(group: Sandbox) -> None:
    old = renew(group)
    group.kill("proxy-1")
    group.freeze("keydb-3")
    away = {"allow_unread": "proxy-1,keydb-3"}

    group.run("rotate", finish="yes", **away).refused("refused: not-told keydb-3")
    group.thaw("keydb-3")
    group.run("rotate", finish="yes", allow_unread="proxy-1").refused("refused: not-told proxy-1")

    assert all(logs_in(group, node, "application", old["application"]) for node in NODES)
    assert not logs_in(group, "keydb-1", "application", group.passwords["application"])


@pytest.mark.in_ci
@pytest.mark.first_engine
def test_a_rotation_that_was_killed_is_finished_by_the_next_run(group: Sandbox) -> None:
    renew(group)
    run_at(group, "rotate", None, "", {}, finish="yes").ok()
    there = [one for one in moments(commands(group)) if changes(one.command)]
    list_of(group).unlink()
    for moment in spread(there, KILLED, 0):
        with writing(group) as writer:
            old = renew(group)
            died = run_at(group, "rotate", moment, "kill", {}, finish="yes")
            print(f"{moment}: {died.code}")
            # Whoever comes meanwhile can log in with one of them, and verbs know how.
            group.run("status").ok()
            for node in NODES:
                for role in ROLES:
                    assert any(logs_in(group, node, role, word[role]) for word in (old, group.passwords)), (node, role)
            group.run("rotate", finish="yes").ok()
            writer.write_on()
            over(group, old)
            assert writer.lost() == 0
    list_of(group).unlink(missing_ok=True)

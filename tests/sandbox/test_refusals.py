"""What is refused, in which words, and that nothing was changed; and dry runs, which change nothing either."""

from __future__ import annotations

import json
import os

from kit import NODES, Sandbox


def test_a_dry_run_on_a_healthy_group_changes_nothing_and_shows_the_commands(group: Sandbox) -> None:
    with group.unchanged():
        group.run("install", dry=True).ok()
        shown = group.run("switchover", dry=True, to="keydb-3").ok().text
        nothing = group.run("rejoin", dry=True).ok().text
    for command in ("CLIENT PAUSE 1000000000000 WRITE", "REPLICAOF NO ONE", "CONFIG REWRITE", "CLIENT UNPAUSE"):
        assert command in shown
    assert f"REPLICAOF 127.0.0.1 {group.port_of('keydb-3')}" in shown
    assert "set server demo-write/keydb-3 health up" in shown
    assert "predicted loss" in shown
    assert "CLIENT PAUSE" not in nothing
    # And it was the truth: the run does exactly that.
    done = group.run("switchover", to="keydb-3").ok().text
    steps = [line.split() for line in shown.splitlines() if line.strip()[:1].isdigit() and ". keydb-" in line]
    assert steps
    for words in steps:
        assert " ".join(words) in " ".join(done.split())


def test_a_dry_failover_changes_nothing_and_calls_the_loss_unknown(group: Sandbox) -> None:
    group.kill("keydb-1")
    with group.unchanged():
        shown = group.run("failover", dry=True).ok().text
        group.run("start", dry=True).ok()
    assert "REPLICAOF NO ONE" in shown
    assert "unknown" in shown[shown.index("predicted loss") :]


def test_a_dry_rejoin_changes_nothing_and_shows_who_would_follow(group: Sandbox) -> None:
    group.ask("keydb-3", "REPLICAOF", "255.255.255.255", "1")
    with group.unchanged():
        shown = group.run("rejoin", dry=True).ok().text
    assert f"REPLICAOF 127.0.0.1 {group.port_of('keydb-1')}" in shown


def test_a_stopped_node_is_named_and_a_role_moves_only_without_harm(group: Sandbox) -> None:
    group.stop("keydb-2")
    with group.unchanged():
        group.run("switchover", to="keydb-2").refused("refused: target-unread keydb-2: does not answer")
    assert "node-refused" in group.findings()


def test_a_wrong_password_is_named_and_never_repeated(group: Sandbox) -> None:
    path = group.directory / "passwords.json"
    with group.unchanged():
        right, times = path.read_text(), path.stat()
        path.write_text(json.dumps({**json.loads(right), "operator": "another-secret"}))
        results = [group.run(verb) for verb in ("switchover", "failover", "rejoin")]
        path.write_text(right)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for result in results:
        result.refused("does not accept the operator's name and password")
        assert "another-secret" not in result.text


def test_one_node_with_another_password_stops_a_switchover(group: Sandbox) -> None:
    group.ask("keydb-3", "ACL", "SETUSER", "operator", "resetpass", ">another")
    group.run("switchover", to="keydb-2").refused("refused: node-wrong-password keydb-3", "allow_unread=keydb-3")
    assert group.role("keydb-1") == "master"
    assert group.role("keydb-2") == "slave"


def test_a_loading_server_is_named(group: Sandbox) -> None:
    group.fill(2000)
    group.stop("keydb-3")
    slow = ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
    group.boot("keydb-3", *slow, answering=False)

    result = group.run("switchover", to="keydb-2")

    result.refused("keydb-3", "is loading its data")
    assert "loading" in result.text
    assert group.role("keydb-1") == "master"
    assert group.role("keydb-2") == "slave"
    assert not group.paused("keydb-1")


def test_an_unknown_target_is_refused_with_the_names_that_are_allowed(group: Sandbox) -> None:
    with group.unchanged():
        told = "refused: unknown-target keydb-9: is no node of demo; allowed are keydb-1, keydb-2, keydb-3"
        group.run("switchover", to="keydb-9").refused(told)
        group.run("failover", to="keydb-9").refused(told)


def test_a_target_that_already_is_the_primary_is_nothing_to_do(group: Sandbox) -> None:
    with group.unchanged():
        text = group.run("switchover", to="keydb-1").ok().text
        assert "nothing to do: already-primary keydb-1: is the primary" in text
        assert "nothing to do: already-joined demo" in group.run("rejoin").ok().text


def test_failover_is_refused_while_the_primary_answers(group: Sandbox) -> None:
    with group.unchanged():
        group.run("failover", to="keydb-2").refused("refused: primary-answers keydb-1", "run switchover to=keydb-2")


def test_two_primaries_are_named_and_rejoin_makes_one_of_them(group: Sandbox) -> None:
    group.ask("keydb-2", "REPLICAOF", "NO", "ONE")
    with group.unchanged():
        result = group.run("switchover", to="keydb-3")
        assert result.code == 1, result.text
        assert "Traceback" not in result.text
        assert "keydb-1 and keydb-2 are primaries" in " ".join(result.text.split())
    assert "several-primaries" in group.findings()


def test_all_nodes_down_is_a_named_refusal(group: Sandbox) -> None:
    for node in NODES:
        group.stop(node)
    with group.unchanged():
        for verb in ("switchover", "failover", "rejoin"):
            group.run(verb).refused("refused: no-node-answers demo", "nothing listens on")
    assert group.findings().count("node-refused") == 3


def test_a_proxy_that_is_down_is_named_and_may_be_left_out(group: Sandbox) -> None:
    group.kill("proxy-1")
    with group.unchanged():
        group.run("switchover", to="keydb-2").refused("refused: proxy-refused proxy-1", "allow_unread=proxy-1")
    group.run("switchover", to="keydb-2", allow_unread="proxy-1").ok()
    assert group.primaries() == ["keydb-2"]
    group.run("start").ok()
    group.healthy("keydb-2")


def test_a_wrong_word_for_a_switch_is_refused(group: Sandbox) -> None:
    with group.unchanged():
        group.run("failover", accept_split="perhaps").refused("accept_split=perhaps: allowed are yes and no")
        group.run("switchover", group="other").refused("there is no group 'other'; allowed are demo")

"""Facts and small operations, as somebody else's deploy uses them."""

from __future__ import annotations

from contextlib import closing

import pytest
from kit import INVENTORY, Sandbox, eventually

from keydb_runbooks.connectors.runtime import Runtime, _unix

FACTS = "keydb_runbooks.facts"


def test_facts_tell_roles_routes_and_processes(group: Sandbox) -> None:
    seen = {}
    for node in ("keydb-1", "keydb-2"):
        secret = group.directory / node / "monitoring.auth"
        name = f"{FACTS}.keydb.KeydbReplication"
        port = group.port_of(node)
        seen[node] = group.fact(name, address="127.0.0.1", port=port, auth_file=secret)[node]
    assert (seen["keydb-1"]["role"], seen["keydb-1"]["replicas_online"]) == ("primary", 2)
    assert seen["keydb-2"]["role"] == "replica"
    assert seen["keydb-2"]["primary"] == f"127.0.0.1:{group.port_of('keydb-1')}"
    assert seen["keydb-2"]["link_up"] is True
    assert seen["keydb-1"]["replication_id"] == seen["keydb-2"]["replication_id"]

    def routes() -> object:
        seen = group.fact(f"{FACTS}.haproxy.HaproxyServers", socket=group.directory / "proxy-1" / "admin.sock")
        return seen["proxy-1"]["demo-write"]  # type: ignore[index]

    eventually(lambda: routes() == {"keydb-1": "UP", "keydb-2": "DOWN", "keydb-3": "DOWN"}, "the proxy has checked all")
    process = group.fact(f"{FACTS}.keydb.KeydbProcess", pid_file=group.directory / "keydb-1" / "server.pid")
    assert process["keydb-1"] == group.pid("keydb-1")


def test_a_killed_server_runs_no_process_although_its_pid_file_is_there(group: Sandbox) -> None:
    group.kill("keydb-2")
    pid_file = group.directory / "keydb-2" / "server.pid"
    assert pid_file.exists()
    assert group.fact(f"{FACTS}.keydb.KeydbProcess", pid_file=pid_file)["keydb-2"] == 0


def test_role_operations_stand_alone_and_have_nothing_to_do_the_second_time(group: Sandbox) -> None:
    deploy = group.directory / "foreign.py"
    deploy.write_text(
        "from pyinfra import host\n"
        "from keydb_runbooks.operations import keydb\n"
        "if host.name == 'keydb-2':\n"
        "    keydb.promoted(name='Be the primary')\n"
        "if host.name == 'keydb-3':\n"
        "    keydb.replica_of(name='Follow keydb-2', primary='keydb-2')\n"
    )
    assert group.run(str(deploy)).ok().total() == (2, 2, 0, 0)
    assert group.role("keydb-2") == "master"
    eventually(lambda: group.follows("keydb-3", "keydb-2"), "keydb-3 follows keydb-2")
    assert (group.on_disk("keydb-2"), group.on_disk("keydb-3")) == ("", "keydb-2")
    with group.unchanged():
        again = group.run(str(deploy)).ok()
    assert again.total() == (2, 0, 0, 2)
    assert "No changes" in again.text


def test_a_role_operation_towards_a_stranger_is_refused(group: Sandbox) -> None:
    deploy = group.directory / "foreign.py"
    deploy.write_text(
        "from pyinfra import host\n"
        "from keydb_runbooks.operations import keydb\n"
        "if host.name == 'keydb-3':\n"
        "    keydb.replica_of(name='Follow nobody', primary='keydb-9')\n"
    )
    result = group.run(str(deploy))
    assert result.code == 1, result.text
    assert "keydb-9 is no other node of its group; allowed are keydb-1, keydb-2" in " ".join(result.text.split())
    assert group.follows("keydb-3", "keydb-1")


def test_a_fork_of_pyinfra_ends_as_the_command_itself(group: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """All other tests run forks (``prefork``): the same words, the same exit codes."""

    def told() -> list[tuple[int, list[str]]]:
        runs = [
            group.pyinfra(INVENTORY, "exec", "--", "echo", "hello"),
            group.run("switchover", to="nobody"),
            group.run("install", "--no-such-option"),
        ]
        # Hosts are connected in any order.
        return [(run.code, sorted(run.text.splitlines())) for run in runs]

    forked = told()
    monkeypatch.setattr(Sandbox, "forked", False)
    assert told() == forked
    assert [code for code, _ in forked] == [0, 1, 2]


def test_lines_that_are_sent_together_to_haproxy_are_answered_one_by_one(group: Sandbox) -> None:
    socket = Runtime("proxy-1", _unix(str(group.directory / "proxy-1" / "admin.sock"), 2))
    lines = ["show env", "set server demo-write/keydb-9 health up", "", "no such thing", "show backend"]
    with closing(socket):
        together = socket.commands(lines)
        assert together == [socket.command(line) for line in lines]
    assert [text.splitlines()[0] if text else "" for text in together][1:3] == ["No such server.", ""]
    assert together[-1].endswith("demo-read")

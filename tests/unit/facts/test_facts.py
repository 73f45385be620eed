"""Facts, a folder each and a file per case: its arguments, its command, its output and what it returns.

The files have pyinfra-testing's shape. Its loader isn't used: it imports ``pyinfra_cli``, which patches the whole
process for gevent, and pytest-xdist's workers don't survive that.
"""

import os
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError

from keydb_runbooks.facts.keydb import KeydbConfigured, KeydbInfo, KeydbReplication
from keydb_runbooks.facts.machine import process_command

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.*/*.yaml"))
INFO = HERE.parent / "runbooks" / "info"


def fact_of(case: Path) -> FactBase:
    module, name = case.parent.name.split(".")
    return getattr(import_module(f"keydb_runbooks.facts.{module}"), name)()


@pytest.mark.parametrize("case", CASES, ids=[f"{case.parent.name}-{case.stem}" for case in CASES])
def test_a_fact_sends_its_command_and_reads_the_answer(case):
    row, fact = yaml.safe_load(case.read_text()), fact_of(case)
    assert StringCommand(fact.command(**row["arg"])).get_raw_value() == row["command"]
    assert fact.process(row["output"]) == row["fact"]


def answer(fixture: str) -> list[str]:
    """What bash prints of a session with a server: AUTH's OK, INFO as a bulk string, QUIT's OK."""
    text = (INFO / f"{fixture}.txt").read_bytes().decode()
    return f"+OK\r\n${len(text)}\r\n{text}\r\n+OK".split("\n")


def test_every_fact_has_a_case():
    defined = set()
    for module in ("data", "kernel", "keydb", "haproxy", "machine", "package", "program", "unit"):
        names = vars(import_module(f"keydb_runbooks.facts.{module}")).items()
        own = [
            name
            for name, kind in names
            if isinstance(kind, type) and issubclass(kind, FactBase) and kind is not FactBase
        ]
        defined |= {f"{module}.{name}" for name in own}
    assert {case.parent.name for case in CASES} == defined


def test_a_recorded_session_with_a_replica():
    assert KeydbReplication().process(answer("keydb-replica-in-sync")) == {
        "role": "replica",
        "primary": "127.0.0.1:25060",
        "link_up": True,
        "offset": 37,
        "replication_id": KeydbInfo().process(answer("keydb-replica-in-sync"))["master_replid"][0],
        "replicas_online": 0,
    }


@pytest.mark.parametrize(
    "fixture, role, online",
    [("valkey-primary-two-replicas", "primary", 2), ("redis-primary-replica-send-bulk", "primary", 0)],
)
def test_only_replicas_in_sync_are_counted(fixture, role, online):
    found = KeydbReplication().process(answer(fixture))
    assert (found["role"], found["replicas_online"], found["primary"], found["link_up"]) == (role, online, None, None)


@pytest.mark.parametrize("fact", [KeydbInfo, KeydbReplication])
def test_a_refused_password_is_an_error_with_the_way_out(fact):
    with pytest.raises(FactProcessError) as caught:
        fact().process(["-WRONGPASS invalid username-password pair", "-NOAUTH Authentication required.", "+OK"])
    told = "the server answered 'WRONGPASS invalid username-password pair': check the credentials file"
    assert str(caught.value) == told


def test_an_answer_that_is_no_info_is_an_error():
    with pytest.raises(FactProcessError) as caught:
        KeydbReplication().process(["+OK", "+OK"])
    assert str(caught.value) == "INFO has no field run_id: this is no KeyDB, Valkey or Redis server, or a proxy"


@pytest.mark.parametrize("path", ["/etc/a b", "/etc/$(echo x)", '/etc/a"b', "/etc/it's"])
def test_no_file_name_is_taken_for_a_command(path):
    """A stand-in for ``timeout`` prints the last argument that the shell hands on."""
    command = KeydbInfo().command(address="127.0.0.1", port=1, auth_file=path).get_raw_value()
    script = f'timeout() {{ printf %s "${{@: -1}}"; }}; {command}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=5, check=False)
    assert done.stdout == path


def test_a_killed_process_that_nobody_waited_for_does_not_run(tmp_path):
    pid_file = tmp_path / "a pid file"
    command = process_command(str(pid_file), "sleep*|*nap*").get_raw_value()

    def found(script: str = command) -> str:
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=5, check=True).stdout

    assert found() == "0\n"
    process = subprocess.Popen(["sleep", "60"])
    pid_file.write_text(f"{process.pid}\n")
    try:
        assert found() == f"{process.pid}\n"
        assert found(command.replace("sleep*|*nap*", "haproxy*")) == "0\n"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert found() == "0\n"
    finally:
        process.kill()
        process.wait()
    assert found() == "0\n"
    # Where other users' processes are hidden, it may well run.
    assert found(command.replace("/proc/1/", "/proc/hidden/")) == ""


def test_no_password_and_no_hash_leaves_the_machine(tmp_path):
    users, config = tmp_path / "the users.acl", tmp_path / "keydb.conf"
    users.write_text("user web on #c0ffee ~a#b +@all\n")
    passwords = """#c0ffee >secret ">my \\"secret" '>the secret' <secret !c0ffee"""
    config.write_text(f'port 1\nAclFile "{users}"\nreplicaof a 1\nuser a#b on {passwords} ~* +@all\n')
    command = KeydbConfigured().command(path=str(config)).get_raw_value()
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=5, check=False)
    assert KeydbConfigured().process(done.stdout.splitlines()) == {
        "replicaof": "a 1",
        "users": ["user a#b on # # # # # # ~* +@all", "user web on # ~a#b +@all"],
    }

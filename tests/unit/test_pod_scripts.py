"""What runs in a pod, with real shells: its first configuration, what kubelet asks, and what is done before it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import ssl
import subprocess
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest
from test_templates import EVERY, entry

from keydb_runbooks.connectors.certificates import kept_certificates
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.operations import keydb, manifests
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks.configuration import differences
from keydb_runbooks.templates import plain

DATA = {"keydb_image": "x", "keydb_port": 6379}


def group(folder: Path, password: str) -> Group:
    places = {"keydb_config_directory": str(folder / "data"), "keydb_data_directory": str(folder / "data")}
    return Group("cache", tuple(entry(number, password, **DATA, **places) for number in (0, 1, 2)), ())


def start(folder: Path, pods: Group, pod: str = "keydb-0", **environment: str) -> subprocess.CompletedProcess[str]:
    """Start a pod whose server is a program that ends at once."""
    given, secrets = folder / "given", folder / "secrets"
    for made in (given, secrets, folder / "data"):
        made.mkdir(exist_ok=True)
    for name, text in manifests.files(pods).items():
        (given / name).write_text(text)
    for role, password in manifests.passwords(pods).items():
        (secrets / role).write_text(password)
    if guard := environment.pop("GUARD", ""):
        (given / "boot-guard").write_text(guard)
    script = plain("pods/start.sh")
    places = (("/etc/keydb-runbooks", given), ("/etc/keydb-secrets", secrets), ("/etc/keydb-tls", folder / "tls"))
    for path, here in places:
        assert path in script
        script = script.replace(path, str(here))
    return subprocess.run(
        ["bash", "-c", script],
        env={"PATH": os.environ["PATH"], "POD": pod, "PORT": "6379", "PROGRAM": "true", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


@EVERY
def test_a_pods_first_file_is_the_one_that_install_wants_whatever_the_password(tmp_path, password):
    if "\n" in password:
        pytest.skip("the schema takes no line breaks")
    pods = group(tmp_path, password)
    done = start(tmp_path, pods)
    assert done.returncode == 0, done.stderr
    made = (tmp_path / "data" / "keydb.conf").read_text()
    assert differences(keydb.wanted_configuration(pods.nodes[0]), made) == []
    assert "@" not in "".join(
        line for line in made.splitlines() if line.startswith(("masterauth", "user ")) and "@all" not in line
    )
    assert (tmp_path / "data" / "keydb.conf").stat().st_mode & 0o077 == 0
    for role in ("operator", "monitoring"):
        name, quoted = manifests.login(pods.nodes[0], role).split()[1:]
        assert (tmp_path / "data" / f"{role}.auth").read_text().split()[1:] == [name, quoted]


def test_a_file_that_is_there_stays_with_the_role_in_it(tmp_path):
    pods = group(tmp_path, "secret")
    start(tmp_path, pods)
    file = tmp_path / "data" / "keydb.conf"
    file.write_text(file.read_text() + "replicaof keydb-1 6379\n")
    before = file.read_text()
    done = start(tmp_path, pods)
    assert (
        file.read_text() == before and "the last primary that my file names is no node of this group" not in done.stderr
    )


def forerunner(
    folder: Path, uid: str, guard: str = "exit 0", server: str = "", killed: bool = False, elsewhere: bool = False
) -> str:
    """What a pod finds of the one that had the volume before.

    Its server ends by itself, behind its guard if that comes to an end, or everything of the pod is killed then.

    :param elsewhere: it ran on another machine, of whose lock nobody knows anything here
    """
    running, program = folder / "data" / "running", folder / "program"
    waits = f"until grep -q '{uid} known' {running}; do sleep 0.05; done" if guard == "exit 0" else "sleep 0.2"
    program.write_text(f"#!/bin/sh\n{server or waits}\n{'kill -9 $PPID' if killed else ''}\n")
    program.chmod(0o755)
    stub = f'case $1 in post) {guard} ;; pre) exec "$2" ;; esac'
    start(folder, group(folder, "secret"), POD_UID=uid, PROGRAM=str(program), GUARD=stub)
    if elsewhere:
        running.write_text(f"{' '.join(running.read_text().split()[:2])} another-boot/1:2\n")
    found = (folder / "data" / "forerunner").read_text().split()
    assert found[0] == uid and len(found) == 4, "it is this pod's own finding"
    return found[1]


def test_a_pod_keeps_whether_the_one_before_it_has_ended(tmp_path):
    assert forerunner(tmp_path, "a") == "unknown", "an empty volume tells nothing"
    assert forerunner(tmp_path, "b") == "ended"
    assert forerunner(tmp_path, "b") == "ended", "another start of its container is no other pod"
    assert forerunner(tmp_path, "c", killed=True, elsewhere=True) == "ended"
    assert forerunner(tmp_path, "d") == "runs", "c ended without a word"


def test_a_pod_that_was_killed_has_ended_where_the_next_one_has_the_lock_that_it_held(tmp_path):
    assert forerunner(tmp_path, "a", killed=True) == "unknown"
    assert forerunner(tmp_path, "b", guard="exit 2", killed=True) == "ended", "a had a role, whoever ran before it"
    assert forerunner(tmp_path, "c", guard="exit 2", killed=True) == "ended", "b had none, and found that a has ended"
    assert forerunner(tmp_path, "d", elsewhere=True, killed=True) == "ended"
    assert forerunner(tmp_path, "e", guard="exit 2", killed=True) == "runs", "d was on another machine"
    assert forerunner(tmp_path, "f") == "runs", "e has ended, and knew no more of d"
    assert forerunner(tmp_path, "g") == "ended"


def test_a_pod_whose_container_was_killed_and_started_again_keeps_that_it_had_a_role(tmp_path):
    forerunner(tmp_path, "a", killed=True)
    forerunner(tmp_path, "a", guard="exit 2", killed=True)
    assert forerunner(tmp_path, "b") == "ended"
    forerunner(tmp_path, "b", guard="exit 2")
    assert forerunner(tmp_path, "c") == "ended", "b was ended in peace, without a role in its last container"


def test_a_lock_that_is_still_held_proves_nothing_and_is_waited_for_for_a_moment(tmp_path):
    forerunner(tmp_path, "a", killed=True)
    with (tmp_path / "data" / "held").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert forerunner(tmp_path, "b", killed=True) == "runs", "a is still there"
    assert forerunner(tmp_path, "c") == "runs", "b had no lock of its own"
    (tmp_path / "data" / "held").unlink()
    (tmp_path / "data" / "held").mkdir()
    forerunner(tmp_path, "d", killed=True)
    (tmp_path / "data" / "held").rmdir()
    assert forerunner(tmp_path, "e") == "runs", "d could have none"


def test_a_pod_that_was_deleted_by_force_ends_before_the_next_one_begins(tmp_path):
    forerunner(tmp_path, "a", killed=True)
    ends = subprocess.Popen(["flock", str(tmp_path / "data" / "held"), "sleep", "1"])
    eventually_locked(tmp_path / "data" / "held")
    assert forerunner(tmp_path, "b") == "ended"
    assert ends.wait(10) == 0


def eventually_locked(file: Path) -> None:
    while subprocess.run(["flock", "-n", str(file), "true"]).returncode == 0:
        time.sleep(0.01)


def test_a_pod_that_never_had_a_role_knows_no_more_of_the_one_before_it_than_it_found(tmp_path):
    assert forerunner(tmp_path, "a", killed=True, elsewhere=True) == "unknown"
    assert forerunner(tmp_path, "b", guard="exec sleep 20") == "runs"
    assert forerunner(tmp_path, "c") == "runs", "b ended, guarded until then"
    assert forerunner(tmp_path, "d") == "ended", "c had a role"


@pytest.mark.parametrize("guard", ["exit 2", "kill -9 $$", "kill -TERM $$"])
def test_a_guard_that_failed_has_seen_no_role(tmp_path, guard):
    assert forerunner(tmp_path, "a", killed=True, elsewhere=True) == "unknown"
    assert forerunner(tmp_path, "b", guard=guard) == "runs"
    assert forerunner(tmp_path, "c") == "runs", "b had none that anybody saw"


def test_a_pod_keeps_whose_word_it_found_and_what_that_one_had_found(tmp_path):
    found, cut_off = tmp_path / "data" / "forerunner", {"killed": True, "elsewhere": True}
    forerunner(tmp_path, "a", **cut_off)
    assert found.read_text() == "a unknown nobody unknown\n"
    forerunner(tmp_path, "b")
    assert found.read_text() == "b runs a unknown\n"
    forerunner(tmp_path, "c", **cut_off)
    assert found.read_text() == "c ended b runs\n"
    forerunner(tmp_path, "d", **cut_off)
    assert found.read_text() == "d runs c ended\n"
    # What is there isn't the finding of the pod that had the volume last.
    found.write_text("x ended w ended\n")
    forerunner(tmp_path, "e", guard="exec sleep 20")
    assert found.read_text() == "e runs d unknown\n"
    forerunner(tmp_path, "f")
    assert found.read_text() == "f runs e runs\n", "e never had a role, and says of those before it what it found"


def test_a_pod_that_ends_late_says_nothing_in_the_next_ones_place(tmp_path):
    running = tmp_path / "data" / "running"
    late = f"until grep -q 'a known' {running}; do sleep 0.05; done; echo 'b runs' >{running}"
    assert forerunner(tmp_path, "a", server=late) == "unknown"
    assert running.read_text() == "b runs\n"


def test_a_pod_of_an_older_template_leaves_no_word_and_none_of_a_pod_before_it(tmp_path):
    forerunner(tmp_path, "a")
    start(tmp_path, group(tmp_path, "secret"))
    assert not (tmp_path / "data" / "running").exists()
    assert not (tmp_path / "data" / "forerunner").exists()


def test_a_pod_of_which_install_knows_nothing_does_not_start(tmp_path):
    done = start(tmp_path, group(tmp_path, "secret"), pod="keydb-7")
    assert done.returncode == 1 and not (tmp_path / "data" / "keydb.conf").exists()
    assert "there is no configuration for keydb-7: name it in the inventory, then run install" in done.stderr


def test_a_secret_without_a_password_is_told(tmp_path):
    pods = group(tmp_path, "secret")
    start(tmp_path, pods)
    (tmp_path / "data" / "keydb.conf").unlink()
    (tmp_path / "secrets" / "check").unlink()
    script = plain("pods/start.sh")
    assert set(ACL) <= set(script.split()), "it puts every user's password"


def test_a_certificate_is_what_its_secret_has_and_the_guard_trusts_its_ca(tmp_path):
    (tmp_path / "tls").mkdir()
    for name in ("ca.crt", "tls.crt"):
        (tmp_path / "tls" / name).write_text(f"{name}\n")
    pods = group(tmp_path, "secret")
    assert "the certificate's Secret has no key tls.key" in start(tmp_path, pods).stderr
    (tmp_path / "tls" / "tls.key").touch()
    server = tmp_path / "server"
    server.write_text("#!/bin/sh\nenv\n")
    server.chmod(0o755)
    done = start(tmp_path, pods, PROGRAM=str(server))
    assert done.returncode == 0 and f"KEYDB_GUARD_TLS_CA={tmp_path}/tls/ca.crt" in done.stdout
    digest = sha256(b"ca.crt\ntls.crt\n").hexdigest()
    assert (tmp_path / "data" / "certificate.sha256").read_text() == f"{digest}\n"


def test_a_file_of_a_group_that_spoke_otherwise_keeps_its_role_and_speaks_as_it_is_told(tmp_path):
    plain_ones = group(tmp_path, "secret")
    own = {"keydb_tls_ca": "ca", "keydb_tls_certificate": "certificate", "keydb_tls_key": "key"}
    encrypted = Group(
        "cache", tuple(entry(n, "secret", **one.host.data | own) for n, one in enumerate(plain_ones.nodes)), ()
    )
    start(tmp_path, plain_ones)
    file = tmp_path / "data" / "keydb.conf"
    file.write_text(file.read_text() + "replicaof keydb-1 6379\n")
    before = file.read_text()
    for pods in (encrypted, plain_ones):
        assert start(tmp_path, pods).returncode == 0
        assert "replicaof keydb-1 6379" in file.read_text()
        assert differences(keydb.wanted_configuration(pods.nodes[0]), file.read_text()) == []
    assert sorted(file.read_text().split()) == sorted(before.split())


class Server:
    """Answers each line that it gets with the next of its answers."""

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.heard: list[str] = []
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, args=(answers,), daemon=True).start()

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        with self._listening:
            connection, _ = self._listening.accept()
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with connection, connection.makefile("rb") as lines:
            for answer, line in zip(answers, lines, strict=False):
                self.heard.append(line.decode().strip())
                connection.sendall(answer)
            lines.read(1)


def bulk(text: str) -> bytes:
    data = text.replace("\n", "\r\n").encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


def run(folder: Path, name: str, server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "data").mkdir()
    (folder / "config-path").write_text(str(folder / "data" / "keydb.conf"))
    for role in ("operator", "monitoring"):
        (folder / "data" / f"{role}.auth").write_text(f'AUTH {role} "x"\n')
    (folder / "connect").write_text(plain("pods/connect.sh").replace("/etc/keydb-tls", str(folder / "tls")))
    script = plain(f"pods/{name}.sh").replace("/etc/keydb-runbooks", str(folder)).replace("/proc/1/fd/2", "/dev/stderr")
    script = script.replace("/etc/keydb-tls", str(folder / "tls"))
    environment = {"PATH": os.environ["PATH"], "PORT": str(server.port)}
    return subprocess.run(
        ["bash", "-c", script, "sh", *words], env=environment, capture_output=True, text=True, timeout=40
    )


@pytest.mark.parametrize("answer, alive", [
    (b"+PONG\r\n", True),
    (b"-LOADING Redis is loading the dataset in memory\r\n", True),
    (b"-NOAUTH Authentication required.\r\n", True),
    (b"-MASTERDOWN Link with MASTER is down\r\n", True),
    (b"-BUSY a script\r\n", True),
    (b"HTTP/1.1 400\r\n", False),
])  # fmt: skip
def test_whoever_answers_is_alive(tmp_path, answer, alive):
    assert (run(tmp_path, "probe", Server(answer), "alive").returncode == 0) is alive


UP = "# Replication\nrole:slave\nmaster_host:x\nmaster_link_status:up\nmaster_last_io_seconds_ago:0\nmaster_sync_in_progress:0\n"


@pytest.mark.parametrize("replication, persistence, told", [
    ("# Replication\nrole:master\nconnected_slaves:0\n", "# P\nloading:0\n", None),
    (UP, "# P\nloading:0\n", None),
    (UP, "# P\nloading:1\n", "loads its data"),
    (UP.replace(":up", ":down"), "# P\nloading:0\n", "not in sync with a primary"),
    (UP.replace("progress:0", "progress:1"), "# P\nloading:0\n", "gets a full resync"),
    ("", "# P\nloading:0\n", "not in sync with a primary"),
])  # fmt: skip
def test_ready_is_who_leads_or_is_in_sync(tmp_path, replication, persistence, told):
    server = Server(b"+OK\r\n", bulk(replication), bulk(persistence))
    done = run(tmp_path, "probe", server, "ready")
    assert (done.returncode == 0) is (told is None), done.stdout
    assert told is None or told in done.stdout
    assert server.heard[0] == 'AUTH monitoring "x"'


def test_a_password_that_is_refused_is_not_ready_and_says_so(tmp_path):
    done = run(tmp_path, "probe", Server(b"-WRONGPASS no\r\n"), "ready")
    assert done.returncode == 1 and "the monitoring user is refused: -WRONGPASS no" in done.stdout


def primary(*offsets: int, own: int = 100) -> bytes:
    rows = "".join(f"slave{n}:ip=x,port=1,state=online,offset={has},lag=0\n" for n, has in enumerate(offsets))
    return bulk(f"# Replication\nrole:master\n{rows}master_repl_offset:{own}\nsecond_repl_offset:-1\n")


def test_a_primary_holds_writes_back_until_its_replicas_have_what_it_had(tmp_path):
    server = Server(
        b"+OK\r\n", primary(90, 100), b"+OK\r\n", primary(90, 100), primary(99, 100), primary(100, 114, own=114)
    )
    done = run(tmp_path, "stop", server)
    assert done.returncode == 0 and "every replica in sync has all until offset 100" in done.stderr
    assert server.heard == [
        'AUTH operator "x"',
        "INFO replication",
        "CLIENT PAUSE 60000 WRITE",
        *["INFO replication"] * 3,
    ]


@pytest.mark.parametrize("answers", [
    (b"+OK\r\n", bulk("# Replication\nrole:slave\n")),
    (b"-WRONGPASS no\r\n",),
    (b"+OK\r\n", primary(1), b"-NOPERM no\r\n"),
    (b"+OK\r\n", primary(), b"+OK\r\n", primary()),
])  # fmt: skip
def test_nothing_keeps_a_pod_from_ending(tmp_path, answers):
    server = Server(*answers)
    assert run(tmp_path, "stop", server).returncode == 0
    assert len(server.heard) == len(answers)


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> ssl.SSLContext:
    """A server's, whose certificate names somebody else: nobody looks at that in the pod itself."""
    own = kept_certificates(tmp_path_factory.mktemp("certificates") / "own", ["elsewhere"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own["keydb_tls_certificate"], own["keydb_tls_key"])
    return context


def test_probes_and_the_end_of_a_pod_speak_tls_where_it_has_a_certificate(tmp_path, tls):
    for name in ("alive", "ready", "stop"):
        (tmp_path / name / "tls").mkdir(parents=True)
    assert run(tmp_path / "alive", "probe", Server(b"+PONG\r\n", tls=tls), "alive").returncode == 0
    server = Server(b"+OK\r\n", bulk(UP), bulk("# P\nloading:0\n"), tls=tls)
    assert run(tmp_path / "ready", "probe", server, "ready").returncode == 0
    server = Server(b"+OK\r\n", primary(90), b"+OK\r\n", primary(90), primary(100), tls=tls)
    done = run(tmp_path / "stop", "stop", server)
    assert done.returncode == 0 and "every replica in sync has all until offset 100" in done.stderr


def test_a_new_certificate_is_taken_over_when_it_has_come_and_only_then_recorded(tmp_path, tls):
    (tmp_path / "tls").mkdir()
    for name in ("ca.crt", "tls.crt"):
        (tmp_path / "tls" / name).write_text("x")
    digest, record = sha256(b"xx").hexdigest(), tmp_path / "data" / "certificate.sha256"
    server = Server(b"+OK\r\n", b"+OK\r\n", b"-ERR no\r\n", tls=tls)
    done = run(tmp_path, "renew", server, digest)
    assert done.returncode == 1 and "the server refuses: -ERR no" in done.stderr and not record.exists()
    (tmp_path / "data" / "operator.auth").unlink()
    (tmp_path / "data" / "monitoring.auth").unlink()
    (tmp_path / "data").rmdir()
    server = Server(*[b"+OK\r\n"] * 4, tls=tls)
    done = run(tmp_path, "renew", server, digest)
    assert done.returncode == 0, done.stderr
    assert record.read_text() == f"{digest}\n"
    assert server.heard[1:] == [
        f"CONFIG SET {name} {tmp_path}/tls/{file}"
        for name, file in (("tls-ca-cert-file", "ca.crt"), ("tls-cert-file", "tls.crt"), ("tls-key-file", "tls.key"))
    ]

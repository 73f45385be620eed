"""systemd's units as text: what starts, as whom, what it may write, whatever characters a path has."""

from types import SimpleNamespace

import pytest
from pyinfra.connectors.ssh import SSHConnector

from keydb_runbooks.connectors.group import NodeEntry, ProxyEntry
from keydb_runbooks.connectors.sandbox import SandboxConnector
from keydb_runbooks.operations import keydb, owners, units
from keydb_runbooks.operations.files import Access
from keydb_runbooks.runbooks.replication import Address

USERS = {
    role: {"name": role, "password": f"secret-{role}"}
    for role in ("application", "replication", "operator", "monitoring", "check")
}


def node(connector=SSHConnector, **data) -> NodeEntry:
    host = SimpleNamespace(name="keydb-1", connector_cls=connector, data={"keydb_users": USERS, **data})
    return NodeEntry(host, Address("10.0.0.1", 6379))


def proxy(connector=SSHConnector, **data) -> ProxyEntry:
    host = SimpleNamespace(name="proxy-1", connector_cls=connector, data={"keydb_users": USERS, **data})
    return ProxyEntry(host, Address("10.0.0.9", 6380))


def values(text: str, key: str) -> list[str]:
    """What a unit sets a key to, in order; "" takes back what stood there before."""
    return [line.partition("=")[2].strip() for line in text.splitlines() if line.startswith(f"{key}=")]


def drop_in(program: str = "/usr/bin/keydb-server", **data) -> str:
    files = units.wanted_for_server(node(**data), program)
    return next(text for path, text in files.items() if path.endswith("/keydb-runbooks.conf"))


def test_a_server_starts_by_its_guard_and_by_nothing_else():
    text = drop_in()
    started = "/etc/keydb/boot-guard pre /usr/bin/keydb-server /etc/keydb/keydb.conf"
    assert values(text, "ExecStart") == ["", started]
    assert {
        key: values(text, key) for key in ("ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "PIDFile")
    } == {key: [""] for key in ("ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "PIDFile")}
    assert values(text, "EnvironmentFile") == ["", "/etc/keydb/boot-guard.env"]


@pytest.mark.parametrize("engine", ["keydb", "valkey", "redis"])
def test_names_are_those_of_the_engines_packages(engine):
    files = units.wanted_for_server(node(keydb_engine=engine), f"/usr/bin/{engine}-server")
    assert [path.removeprefix("/etc/systemd/system/") for path in files] == [
        f"{engine}-server.service",
        f"{engine}-server.service.d/keydb-runbooks.conf",
        f"{engine}-server-guard.service",
    ]
    text = files[f"/etc/systemd/system/{engine}-server.service.d/keydb-runbooks.conf"]
    assert (values(text, "User"), values(text, "Group")) == ([engine], [engine])
    assert f"{engine}-server-guard.service" in values(text, "Wants")[0]
    # KeyDB's program asks for stacks that can be executed.
    assert values(text, "MemoryDenyWriteExecute") == ([] if engine == "keydb" else ["yes"])


# (what the inventory says, key, its value)
ROWS = [
    ({}, "RuntimeDirectory", ["keydb"]),
    ({"keydb_pid_file": "/run/keydb.pid"}, "RuntimeDirectory", []),
    ({"keydb_pid_file": "/srv/a/b.pid"}, "RuntimeDirectory", []),
    ({}, "ReadWritePaths", ["/etc/keydb /var/lib/keydb /var/log/keydb"]),
    ({"keydb_pid_file": "/srv/a/b.pid"}, "ReadWritePaths", ["/etc/keydb /var/lib/keydb /var/log/keydb /srv/a"]),
    ({"keydb_log_file": "/var/lib/keydb/log"}, "ReadWritePaths", ["/etc/keydb /var/lib/keydb"]),
    ({"keydb_data_directory": "/mnt/my keys"}, "RequiresMountsFor", ['"/mnt/my keys"']),
    ({"keydb_data_directory": '/mnt/50%"\\'}, "RequiresMountsFor", ['"/mnt/50%%\\"\\\\"']),
    ({"keydb_config_directory": "/etc/50%"}, "EnvironmentFile", ["", "/etc/50%%/boot-guard.env"]),
    (
        {"keydb_config_directory": "/etc/a $b"},
        "ExecStart",
        ["", '"/etc/a $$b/boot-guard" pre /usr/bin/keydb-server "/etc/a $$b/keydb.conf"'],
    ),
]


@pytest.mark.parametrize("data, key, told", ROWS)
def test_the_inventorys_paths_are_found_again_in_the_unit(data, key, told):
    assert values(drop_in(**data), key) == told


def test_a_package_s_haproxy_is_told_its_paths_and_started_as_the_package_says():
    (text,) = [
        text
        for path, text in units.wanted_for_proxy(proxy(), "/usr/sbin/haproxy", packaged=True).items()
        if path.endswith(".conf")
    ]
    assert values(text, "Environment") == ["CONFIG=/etc/haproxy/haproxy.cfg PIDFILE=/run/haproxy.pid"]
    assert values(text, "ExecStart") == []


@pytest.mark.parametrize("data, packaged", [({}, False), ({"haproxy_program": "/opt/haproxy"}, True)])
def test_a_haproxy_of_its_own_is_started_by_name(data, packaged):
    files = units.wanted_for_proxy(proxy(**data), "/opt/haproxy", packaged=packaged)
    (text,) = [text for path, text in files.items() if path.endswith(".conf")]
    assert values(text, "ExecStart") == ["", "/opt/haproxy -Ws -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid"]
    assert values(text, "Environment") == []


def test_no_unit_has_a_password():
    texts = [*units.wanted_for_server(node(), "/usr/bin/keydb-server").values()]
    texts += units.wanted_for_proxy(proxy(), "/usr/sbin/haproxy", packaged=False).values()
    assert "secret-" not in "".join(texts)


def test_systemd_keeps_the_process_and_the_sandbox_lets_it_go():
    assert "\ndaemonize no\n" in keydb.wanted_configuration(node())
    assert "\ndaemonize yes\n" in keydb.wanted_configuration(node(SandboxConnector))


def test_on_a_machine_the_server_owns_what_it_writes_and_root_the_rest():
    assert owners.servers(node(), "600") == Access("keydb", "keydb", "600")
    assert owners.read_by_server(node(keydb_engine="redis"), "640") == Access("root", "redis", "640")
    assert owners.config_directory(node()) == Access("root", "keydb", "1770")
    assert owners.roots(proxy(), "600") == Access("root", "root", "600")


def test_in_the_sandbox_everything_is_of_whoever_pyinfra_is():
    sandbox = node(SandboxConnector)
    assert {owners.servers(sandbox, "600"), owners.config_directory(sandbox), owners.system_user(sandbox)} == {None}


def test_a_unit_of_somebody_elses_keeps_all_but_how_it_starts():
    started = {"command": ["/old/keydb-server", "/srv/kv.conf", "--loglevel", "notice"]}
    entry = node(keydb_adopted=True, keydb_unit="kv.service", keydb_configuration_file="/srv/kv.conf")
    entry.host.get_fact = lambda fact, unit: started if unit == "kv.service" else None
    files = units.wanted_for_server(entry, "/opt/kv server")
    assert [path.removeprefix("/etc/systemd/system/") for path in files] == [
        "kv.service.d/keydb-runbooks.conf",
        "kv-guard.service",
    ]
    text, guard = files.values()
    assert [line for line in text.splitlines() if line and line[0] not in "#["] == [
        "Wants=kv-guard.service",
        "UMask=0077",
        "EnvironmentFile=/etc/keydb/boot-guard.env",
        "ExecStart=",
        'ExecStart=/etc/keydb/boot-guard pre "/opt/kv server" /srv/kv.conf --loglevel notice',
    ]
    assert values(guard, "PartOf") == ["kv.service"]


def test_who_runs_a_server_may_have_another_name_and_group():
    assert owners.servers(node(keydb_system_user="kv:store"), "600") == Access("kv", "store", "600")
    assert owners.read_by_server(node(keydb_system_user="kv"), "640") == Access("root", "kv", "640")
    text = drop_in(keydb_system_user="kv:store")
    assert (values(text, "User"), values(text, "Group")) == (["kv"], ["store"])


def test_of_an_adopted_server_only_what_is_named_is_wanted():
    text = keydb.wanted_configuration(node(keydb_adopted=True, keydb_maxmemory="8gb", keydb_settings={"hz": 20}))
    names = [line.split()[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert names == ["maxmemory", "masteruser", "masterauth", *["user"] * 5, "hz"]

"""Rendered files carry any password whole, and in plain only where a server needs it in plain."""

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.sandbox import SandboxConnector
from keydb_runbooks.operations import haproxy, keydb
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks.configuration import parse
from keydb_runbooks.runbooks.replication import Address

PASSWORDS = {
    "plain": "correct-horse",
    "quotes": "a\"b'c",
    "spaces": " two  words ",
    "dollar and percent": "$HOME%s{{x}}{% if %}",
    "hash in front": "#starts-like-a-comment",
    "backslash": "a\\b\\x41\\",
    "unicode": "pässwörd-密码-🔑",
    "line breaks": "a\nb\r\tc\x07\x00".rstrip("\0"),
    "512 characters": "x" * 512,
    "512 odd ones": "\\\"' $%#🔑ü"[:8].ljust(8, "-") * 64,
}
EVERY = pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS)


def users(password: str) -> dict:
    """Five users whose passwords differ by their end, so that none is taken for another's."""
    return {role: {"name": role, "password": f"{password}{number}"} for number, role in enumerate(ACL)}


def entry(number: int, password: str, **data) -> NodeEntry:
    host = SimpleNamespace(
        name=f"keydb-{number}", connector_cls=SandboxConnector, data={"keydb_users": users(password), **data}
    )
    return NodeEntry(host, Address(f"10.0.0.{number}", 6379))


def keydb_conf(password: str = "x", **data) -> str:
    return keydb.wanted_configuration(entry(1, password, **data))


def haproxy_cfg(password: str = "x", **data) -> str:
    host = SimpleNamespace(name="proxy-1", connector_cls=SandboxConnector, data={"keydb_users": users(password)})
    proxy = ProxyEntry(host, Address("10.0.0.9", 6380))
    group = Group("demo", tuple(entry(number, password, **data) for number in (1, 2, 3)), (proxy,))
    return haproxy.wanted_configuration(group, proxy)


def directives(text: str, name: str) -> list[tuple[str, ...]]:
    return [line.values for line in parse(text) if line.name == name]


@EVERY
def test_a_replica_logs_in_with_exactly_the_password_that_was_given(password):
    conf = keydb_conf(password)
    assert directives(conf, "masterauth") == [(users(password)["replication"]["password"],)]
    assert directives(conf, "masteruser") == [("replication",)]


@EVERY
def test_users_stand_with_the_hash_of_their_password(password):
    hashes = {role: hashlib.sha256(user["password"].encode()).hexdigest() for role, user in users(password).items()}
    lines = directives(keydb_conf(password), "user")
    assert lines[0] == ("default", "off", "resetchannels", "-@all")
    assert lines[1:] == [(role, "on", f"#{hashes[role]}", *rules.split()) for role, rules in ACL.items()]


@EVERY
def test_only_the_replication_password_is_in_keydb_conf_in_plain(password):
    conf = "\n".join(line for line in keydb_conf(password).splitlines() if not line.startswith("masterauth"))
    assert not [user for user in users(password).values() if user["password"] in conf]
    assert keydb_conf(password).isascii()


@EVERY
def test_haproxy_cfg_has_no_password_in_plain(password):
    cfg = haproxy_cfg(password)
    assert not [user for user in users(password).values() if user["password"] in cfg]
    assert cfg.isascii()


@EVERY
def test_the_check_sends_auth_info_and_quit(password):
    given = users(password)["check"]["password"].encode()
    sent = {bytes.fromhex(line.split()[-1]) for line in haproxy_cfg(password).splitlines() if "send-binary" in line}
    auth = b"*3\r\n$4\r\nAUTH\r\n$5\r\ncheck\r\n$%d\r\n%b\r\n" % (len(given), given)
    assert sent == {auth + b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n*1\r\n$4\r\nQUIT\r\n"}


def test_keydb_conf_never_names_a_role():
    assert not {"replicaof", "slaveof"} & {line.name for line in parse(keydb_conf())}


# (what the inventory says, directive, its lines)
ROWS = [
    ({}, "save", [("3600", "1"), ("300", "100"), ("60", "10000")]),
    ({"keydb_persistence": "none"}, "save", [("",)]),
    ({"keydb_persistence": "aof"}, "appendonly", [("yes",)]),
    ({}, "appendonly", [("no",)]),
    ({}, "server-threads", [("2",)]),
    ({"keydb_engine": "valkey"}, "server-threads", []),
    ({"keydb_data_directory": "/var/lib/my keys"}, "dir", [("/var/lib/my keys",)]),
    ({"keydb_settings": {"hz": 5, "appendfsync": "no"}}, "hz", [("5",)]),
    ({"keydb_min_replicas_to_write": 2}, "min-replicas-to-write", [("2",)]),
    ({}, "replica-read-only", [("yes",)]),
    ({}, "bind", [("10.0.0.1",)]),
]


@pytest.mark.parametrize("data, name, lines", ROWS)
def test_the_inventory_is_found_again_in_keydb_conf(data, name, lines):
    assert directives(keydb_conf(**data), name) == lines


def test_the_default_user_is_left_to_the_server_if_it_is_kept():
    off, kept = (directives(keydb_conf(keydb_default_user=word), "user") for word in ("off", "keep"))
    assert off == [("default", "off", "resetchannels", "-@all"), *kept]
    assert len(kept) == len(ACL)


def test_a_setting_cannot_smuggle_in_a_second_line():
    with pytest.raises(ValueError, match="one line"):
        keydb_conf(keydb_settings={"appendfsync": "no\nreplicaof 192.0.2.9 6379"})


NEEDS_ONE = "role:master\r\nconnected_slaves:1\r\nmin_slaves_good_slaves:1\r\nslave0:ip=10.0.0.2,port=6379,state={}\r\n"

# (what INFO replication says, whether the proxy sends writes there)
ROLES = [
    (NEEDS_ONE.format("online,offset=42,lag=1"), True),
    (NEEDS_ONE.format("online,offset=42,lag=2,type=replica"), True),
    (NEEDS_ONE.format("online,offset=42,lag=3"), False),  # woke up: its replica is gone for 3 s
    (NEEDS_ONE.format("online,offset=42,lag=21"), False),
    (NEEDS_ONE.format("send_bulk,offset=0,lag=0"), False),
    ("role:master\r\nconnected_slaves:0\r\nmin_slaves_good_slaves:0\r\nmaster_failover_state:no-failover\r\n", False),
    ("role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n", True),
    ("role:master\r\nconnected_slaves:1\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=99\r\n", True),
    ("role:slave\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n", False),
]


@pytest.mark.parametrize("info, taken", ROLES)
def test_a_proxy_takes_a_primary_only_with_a_replica_that_hears_it_if_it_needs_one(info, taken):
    check = re.search(r"rstring (role:master.*)", haproxy_cfg())[1]
    assert bool(re.search(check, info)) is taken


LONE = [
    "keydb-primary-never-promoted-no-replicas",
    "redis-primary-promoted-no-replicas",
    "valkey-primary-promoted-no-replicas",
]


@pytest.mark.parametrize("name", LONE)
def test_the_check_takes_the_last_node_once_it_needs_no_replica(name):
    check = re.search(r"rstring (role:master.*)", haproxy_cfg())[1]
    text = (Path(__file__).parent / "runbooks" / "info" / f"{name}.txt").read_bytes().decode()
    assert re.search(check, text)

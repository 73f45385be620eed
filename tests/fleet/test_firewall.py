"""Rules for a server's port: who is meant gets in, everybody else meets silence, and nobody is cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import NODES, PROXIES, SERVER_PORT, Fleet
from tests.fleet.machine import Machine, eventually
from tests.fleet.network import HERE
from tests.fleet.test_verbs import group, is_healthy  # noqa: F401 - a fixture of theirs
from tests.fleet.writer import writing

RULES = {"keydb_firewall": "true"}


@pytest.fixture
def filtered(group: Fleet) -> Iterator[Fleet]:  # noqa: F811
    yield group
    group.run("install", keydb_firewall="false").ok()


def knock(machine: Machine, name: str) -> str:
    """What a machine meets at a node's port: a server, silence, or a refusal."""
    told = machine.shell(
        f"timeout 1 bash -c 'exec 3<>/dev/tcp/{NODES[name]}/{SERVER_PORT}' 2>&1; echo $?", check=False
    ).splitlines()[-1]
    return {"0": "a server", "124": "silence"}.get(told, "a refusal")


def another_address(machine: Machine, address: str) -> str:
    """From now on a machine calls others from an address that nobody knows."""
    return f"ip address add {address}/24 dev eth0; ip route change 192.168.56.0/24 dev eth0 src {address}"


def test_only_who_is_meant_reaches_a_server(filtered: Fleet, tmp_path: Path) -> None:
    unit = f"{filtered.engine}-server-firewall.service"
    hidden = filtered["keydb-3"]
    hidden.shell("mv /usr/sbin/nft /root/nft")
    filtered.run("install", **RULES).refused("keydb-3: no nft on PATH")
    hidden.shell("mv /root/nft /usr/sbin/nft")

    # Who is connected now is not cut off: this test is somebody that no inventory names.
    with filtered.client("keydb-1") as client:
        client.ping()
        refused = filtered.run("install", **RULES)
        assert refused.code != 0
        assert f"{HERE} would be shut out" in refused.text
        assert "runbooks_" not in filtered["keydb-1"].shell("nft list tables")

    outsider = filtered["proxy-2"]
    allow = json.dumps([HERE])
    with writing(filtered) as writer:
        filtered.run("install", **RULES, keydb_firewall_allow=allow).ok()
        writer.goes_on()
        again = filtered.run("install", **RULES, keydb_firewall_allow=allow).ok()
        assert again.changed() == 0, again.text
        for node in filtered.nodes:
            assert {knock(node, name) for name in NODES} == {"a server"}
        assert {knock(proxy, name) for proxy in filtered.proxies for name in NODES} == {"a server"}
        outsider.shell(another_address(outsider, "192.168.56.77"))
        try:
            assert {knock(outsider, name) for name in NODES} == {"silence"}
        finally:
            outsider.shell(another_address(outsider, PROXIES["proxy-2"]) + "; ip address del 192.168.56.77/24 dev eth0")
        # Meanwhile its checks met silence too.
        eventually(lambda: filtered.run("switchover", dry=True, to="keydb-2").code == 0, "proxy-2 reaches it again", 20)
        filtered.run("switchover", to="keydb-2").ok()
        writer.goes_on()
        filtered.run("switchover", to="keydb-1").ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0

    # They are there after a boot, and after the machine's own rules were loaded anew.
    hidden.reboot()
    filtered.wait(["keydb-3"])
    eventually(lambda: is_healthy(filtered, "keydb-1"), "the replica is back", 60)
    hidden.shell("systemctl restart nftables.service")
    eventually(lambda: "runbooks_" in hidden.shell("nft list tables"), "they are loaded behind these")
    eventually(lambda: hidden.shell(f"systemctl is-active {unit}", check=False) == "active", "their unit is active")

    filtered.run("install", keydb_firewall="false").ok()
    for node in filtered.nodes:
        assert "runbooks_" not in node.shell("nft list tables")
        assert node.shell(f"ls /etc/keydb/firewall.nft /etc/systemd/system/{unit} 2>/dev/null", check=False) == ""
    assert filtered.run("install", keydb_firewall="false").ok().changed() == 0

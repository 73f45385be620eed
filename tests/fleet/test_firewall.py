"""Rules for a server's port: who is meant gets in, everybody else meets silence, and nobody is cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import NODES, PROXIES, SERVER_PORT, Fleet
from tests.fleet.machine import Machine, eventually
from tests.fleet.network import HERE
from tests.fleet.test_verbs import group, is_healthy, rejoin  # noqa: F401 - a fixture of theirs
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

    # Whoever is taken away leaves no rules behind.
    filtered.run("uninstall", node="keydb-3").ok()
    assert "runbooks_" not in hidden.shell("nft list tables")
    assert filtered.run("install", **RULES, keydb_firewall_allow=allow).changed() > 0
    rejoin(filtered)

    filtered.run("install", keydb_firewall="false").ok()
    for node in filtered.nodes:
        assert "runbooks_" not in node.shell("nft list tables")
        assert node.shell(f"ls /etc/keydb/firewall.nft /etc/systemd/system/{unit} 2>/dev/null", check=False) == ""
    assert filtered.run("install", keydb_firewall="false").ok().changed() == 0


def told_by_drift(fleet: Fleet, **data: str) -> list[str]:
    """``code where`` of each drift; the exit code says whether there is any."""
    seen = fleet.run("drift", format="json", **data)
    document = json.JSONDecoder().raw_decode(seen.text[seen.text.index("\n{") + 1 :])[0]
    told = [f"{one['code']} {one['where']}" for one in document["groups"][0]["drifts"]]
    assert seen.code == (5 if told else 0), seen.text
    return sorted(told)


def test_drift_tells_whose_rules_are_not_as_asked_for(filtered: Fleet) -> None:
    unit = f"{filtered.engine}-server-firewall.service"
    table = f"inet runbooks_{filtered.engine}_server"
    place = f"/etc/keydb/firewall.nft /etc/systemd/system/{unit}"
    first, second, third = (filtered[name] for name in NODES)
    # The network is of both kinds, so the kernel lists the addresses otherwise than the file has them.
    asked = {**RULES, "keydb_firewall_allow": json.dumps([HERE, "10.20.0.0/16", "fd00::/64"])}

    assert told_by_drift(filtered, **asked) == [f"no-firewall {name}" for name in NODES]
    filtered.run("install", **asked).ok()
    assert told_by_drift(filtered, **asked) == []

    first.shell(f"nft delete table {table}")
    second.shell("sed -i 's/10.20.0.0/10.30.0.0/' /etc/keydb/firewall.nft")
    third.shell(f"nft insert rule {table} input tcp dport {SERVER_PORT} accept")
    expected = ["firewall-differs keydb-2", "firewall-not-loaded keydb-1", "firewall-other-loaded keydb-3"]
    assert told_by_drift(filtered, **asked) == expected
    assert third.shell(f"nft list table {table} | grep -c accept") == "6", "nothing was changed by looking"
    second.shell(f"systemctl reload {unit}")
    assert told_by_drift(filtered, **asked) == sorted([*expected, "firewall-other-loaded keydb-2"])
    filtered.run("install", **asked).ok()
    assert told_by_drift(filtered, **asked) == []

    first.shell(f"systemctl disable --quiet {unit}")
    second.shell(f"rm {place}; nft delete table {table}")
    third.shell(f"echo >>/etc/systemd/system/{unit}; echo '# mine' >>/etc/systemd/system/{unit}")
    expected = ["firewall-differs keydb-3", "firewall-not-enabled keydb-1", "no-firewall keydb-2"]
    assert told_by_drift(filtered, **asked) == expected
    filtered.run("install", **asked).ok()
    assert told_by_drift(filtered, **asked) == []
    assert filtered.run("install", **asked).ok().changed() == 0

    # Nobody asks for it any more; what is left is told until install has taken it away.
    assert told_by_drift(filtered) == [f"firewall-left {name}" for name in NODES]
    first.shell(f"rm {place}")
    assert told_by_drift(filtered, keydb_firewall="false") == [f"firewall-left {name}" for name in NODES]
    filtered.run("install", keydb_firewall="false").ok()
    assert told_by_drift(filtered, keydb_firewall="false") == []
    assert told_by_drift(filtered) == []

"""The rules for a server's port as text, and the unit that loads them."""

from types import SimpleNamespace

from pyinfra.connectors.ssh import SSHConnector

from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.sandbox import SandboxConnector
from keydb_runbooks.operations import firewall
from keydb_runbooks.runbooks.replication import Address


def node(number: int, connector=SSHConnector, **data) -> NodeEntry:
    host = SimpleNamespace(name=f"keydb-{number}", connector_cls=connector, data=data)
    return NodeEntry(host, Address(f"10.0.0.{number}", 7001))


def group(*, allow=(), source=None, **data) -> Group:
    nodes = tuple(node(number, keydb_firewall_allow=[*allow], **data) for number in (1, 2))
    host = SimpleNamespace(name="proxy-1", data={"haproxy_source_address": source})
    return Group("demo", nodes, (ProxyEntry(host, Address("10.0.0.9", 6380)),))


def rules(made: Group) -> list[str]:
    return [line.strip() for line in firewall.rules_text(made, made.nodes[0]).splitlines()]


def test_nodes_proxies_and_who_is_named_are_let_in_and_nobody_else():
    text = rules(group(allow=["10.2.0.0/16", "fd00::/64"]))
    assert text[text.index("type filter hook input priority -5; policy accept;") + 1 :] == [
        "tcp dport != 7001 accept",
        'iifname "lo" accept',
        "ip saddr { 10.0.0.1, 10.0.0.2, 10.0.0.9, 10.2.0.0/16 } accept",
        "ip6 saddr { fd00::/64 } accept",
        "drop",
        "}",
        "}",
    ]


def test_a_proxy_calls_from_where_the_inventory_says():
    assert "ip saddr { 10.0.0.1, 10.0.0.2, 10.0.0.7 } accept" in rules(group(source="10.0.0.7"))


def test_the_kernel_tells_by_a_mark_which_rules_it_has():
    one, other = group(), group(allow=["10.0.0.7"])
    marks = {firewall.mark_of(each, each.nodes[0]) for each in (one, one, other)}
    assert len(marks) == 2
    assert f'comment "{firewall.mark_of(one, one.nodes[0])}"' in rules(one)


def test_servers_of_one_machine_have_tables_and_units_of_their_own():
    entry = node(1, keydb_unit="kv-2.service", keydb_config_directory="/etc/kv")
    assert firewall.table_of(entry) == "runbooks_kv_2"
    assert firewall.table_of(node(1)) == "runbooks_keydb_server"
    text = firewall.unit_text(entry, "/usr/sbin/nft").splitlines()
    assert "Before=kv-2.service" in text
    assert "ExecStart=/usr/sbin/nft -f /etc/kv/firewall.nft" in text
    assert "ExecStop=-/usr/sbin/nft delete table inet runbooks_kv_2" in text


def test_where_nothing_is_installed_as_root_there_are_no_rules():
    assert firewall.wanted(node(1, keydb_firewall=True))
    assert not firewall.wanted(node(1))
    assert not firewall.wanted(node(1, SandboxConnector, keydb_firewall=True))

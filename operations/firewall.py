"""Who may reach a server's port on a machine: the group's nodes, its proxies, and whom the inventory names.

The rules are a table of nftables of their own, so that nobody else's are touched. Silence, and no refusal, is what
others meet: a refused port would look like a server that has ended.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import partial
from hashlib import sha256

from pyinfra import host
from pyinfra.api import FunctionCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.ahead import Question, quiet_answer
from keydb_runbooks.connectors.group import Group, NodeEntry, all_groups
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.machine import Peers
from keydb_runbooks.facts.rules import Asked, ask, left_of
from keydb_runbooks.facts.running import read_text, text_of
from keydb_runbooks.operations import keydb, owners, systemctl
from keydb_runbooks.operations.files import READABLE, put_file
from keydb_runbooks.operations.service import has_systemd, server_unit
from keydb_runbooks.operations.units import DIRECTORY
from keydb_runbooks.runbooks.drift_firewall import Left, Loaded, Rules
from keydb_runbooks.runbooks.firewall import allowed, shut_out
from keydb_runbooks.templates import render

NFT = "/usr/sbin/nft"

# $1 the unit, $2 the table, $3 and so on the files.
REMOVE = """
unit=$1 table=$2; shift 2
systemctl disable --quiet --now "$unit" 2>/dev/null
rm -f -- "$@" && systemctl daemon-reload || exit 1
! nft list table inet "$table" >/dev/null 2>&1 || nft delete table inet "$table"
"""


@operation()
def rules(nft: str = NFT) -> Generator[PyinfraCommand, None, None]:
    """Let nobody reach this node's server but those who are meant to, now and after each boot.

    + nft: path of nftables' program

    Refused while somebody is connected who would be shut out.

    **Example:**

    .. code:: python

        firewall.rules(name="Let nobody else reach the server")
    """
    entry = keydb.this_node(host)
    group = next(group for group in all_groups(host.inventory).values() if group.node_of(host) is not None)
    path, unit_path = files(entry)
    changes = [
        *put_file(host, path, rules_text(group, entry), partial(_check, nft), owners.roots(entry, "600")),
        *put_file(host, unit_path, unit_text(entry, nft), access=READABLE),
    ]
    asked = _asked(group, entry)
    if asked is not None and asked.loaded is Loaded.THESE and asked.enabled and not changes:
        host.noop(f"{path} is as wanted, and in force")
        return
    yield FunctionCommand(_nobody_is_shut_out, (group, entry), {})
    yield from changes
    yield systemctl.enable(unit_of(entry))
    yield systemctl.reload_or_start(unit_of(entry))


@operation()
def none() -> Generator[PyinfraCommand, None, None]:
    """Take these rules away again.

    **Example:**

    .. code:: python

        firewall.none(name="Let everybody reach the server")
    """
    entry = keydb.this_node(host)
    if not quiet_answer(host, left_of(table_of(entry), files(entry))):
        host.noop(f"{host.name} has no rules of install's")
        return
    yield taken_away(entry)


def taken_away(entry: NodeEntry) -> StringCommand:
    """A command that lets everybody reach a node's server, now and after each boot."""
    return script(REMOVE, unit_of(entry), table_of(entry), *files(entry))


def questions_of(entry: NodeEntry) -> tuple[Question, ...]:
    """What ``found`` will want to know of a node's machine, for ``ahead.ask``."""
    if not has_systemd(entry.host):
        return ()
    return tuple(map(text_of, files(entry))) if wanted(entry) else (left_of(table_of(entry), files(entry)),)


def found(group: Group, entry: NodeEntry) -> Rules | Left | None:
    """What a node's machine has of the rules, for ``drift``; None where install writes none, or if it is off."""
    if not (has_systemd(entry.host) and entry.host.connected):
        return None
    if not wanted(entry):
        there = quiet_answer(entry.host, left_of(table_of(entry), files(entry)))
        return Left(tuple(there), entry.names("keydb_firewall"))
    asked = _asked(group, entry)
    nft, loaded, enabled = (NFT, None, None) if asked is None else (asked.nft, asked.loaded, asked.enabled)
    rules_file, unit_file = (read_text(entry.host, path) for path in files(entry))
    texts = (rules_text(group, entry), unit_text(entry, nft))
    return Rules(unit_of(entry), texts, (rules_file, unit_file), loaded, enabled)


def _asked(group: Group, entry: NodeEntry) -> Asked | None:
    return ask(entry.host, table_of(entry), mark_of(group, entry), unit_of(entry), rules_text(group, entry))


def wanted(entry: NodeEntry) -> bool:
    """Whether the inventory asks for rules."""
    return bool(entry.data("keydb_firewall")) and has_systemd(entry.host)


def rules_path(entry: NodeEntry) -> str:
    return f"{entry.data('keydb_config_directory')}/firewall.nft"


def files(entry: NodeEntry) -> list[str]:
    """What install writes: the rules, and the unit that loads them."""
    return [rules_path(entry), f"{DIRECTORY}/{unit_of(entry)}"]


def unit_of(entry: NodeEntry) -> str:
    return f"{server_unit(entry).removesuffix('.service')}-firewall.service"


def table_of(entry: NodeEntry) -> str:
    """The table's name, another one for each server of a machine."""
    return f"runbooks_{re.sub(r'[^A-Za-z0-9]', '_', server_unit(entry).removesuffix('.service'))}"


def let_in(group: Group, entry: NodeEntry) -> tuple[str, ...]:
    """The addresses and networks from which a server may be reached."""
    nodes = [node.address.host for node in group.nodes]
    proxies = [str(proxy.data("haproxy_source_address") or proxy.write_address.host) for proxy in group.proxies]
    return (*nodes, *proxies, *entry.data("keydb_firewall_allow"))


def rules_text(group: Group, entry: NodeEntry) -> str:
    """What nft is given."""
    return _rendered(group, entry, mark_of(group, entry))


def mark_of(group: Group, entry: NodeEntry) -> str:
    """What tells these rules from others of the same name, in the kernel as well."""
    return f"keydb-runbooks {sha256(_rendered(group, entry, '').encode()).hexdigest()[:16]}"


def unit_text(entry: NodeEntry, nft: str) -> str:
    """The unit that loads them before the server starts."""
    names = {"unit": server_unit(entry), "table": table_of(entry)}
    return render("firewall.service.j2", nft=nft, rules=rules_path(entry), **names)


def _rendered(group: Group, entry: NodeEntry, mark: str) -> str:
    four, six = allowed(let_in(group, entry))
    return render("firewall.nft.j2", table=table_of(entry), mark=mark, port=entry.address.port, four=four, six=six)


def _check(nft: str, new: str) -> StringCommand:
    return StringCommand(nft, "-c", "-f", QuoteString(new))


def _nobody_is_shut_out(state: State, host: Host, group: Group, entry: NodeEntry) -> bool:
    peers = host.get_fact(Peers, port=entry.address.port)
    if peers is None:
        host.log_styled(f"it is unknown who is connected to {entry.address}, so nobody is shut out", fg="red")
        return False
    if others := shut_out(peers, let_in(group, entry)):
        told = f"{' and '.join(others)} would be shut out, and is connected to {entry.address} now"
        host.log_styled(f"{told}; add it to keydb_firewall_allow, or end what it does there", fg="red")
        return False
    return True

"""Uninstall: what may be taken away, so that no group loses its primary by it."""

from __future__ import annotations

from dataclasses import dataclass

from keydb_runbooks.runbooks.plan import Refusal
from keydb_runbooks.runbooks.topology import Topology


@dataclass(frozen=True)
class Removal:
    """The nodes and proxies that are taken away, whether with their data, and what a person should know."""

    group: str
    members: tuple[str, ...]
    remove_data: bool
    warnings: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def __str__(self) -> str:
        names = " and ".join(self.members)
        return f"uninstall of {self.group}: {names}; their data {'are removed as well' if self.remove_data else 'stay'}"


def decide(topology: Topology, node: str | None, whole_group: str | None, *, remove_data: bool) -> Removal | Refusal:
    """Decide what goes.

    :param node: the node or proxy that is named
    :param whole_group: the name of the group, given once more by whoever wants all of it gone
    :param remove_data: whether the data go too
    """
    proxies = [proxy.name for proxy in topology.proxies] + [proxy.name for proxy in topology.unread_proxies]
    members = (*topology.names, *sorted(proxies))
    if (node is None) is (whole_group is None):
        hint = f"add node=NAME, one of {', '.join(members)}, or whole_group={topology.group}"
        return Refusal("nothing-named", topology.group, "what goes is not said, or said twice", hint)
    if whole_group is not None:
        return _whole(topology, whole_group, members, remove_data)
    assert node is not None
    if node not in members:
        told = f"is no node or proxy of {topology.group}"
        return Refusal("unknown-member", node, told, f"allowed are {', '.join(members)}")
    return _refuse_one(topology, node) or Removal(topology.group, (node,), remove_data, _warnings(topology, node))


def _whole(topology: Topology, named: str, members: tuple[str, ...], remove_data: bool) -> Removal | Refusal:
    if named != topology.group:
        told = f"is named, and the group is {topology.group}"
        return Refusal("other-group", named, told, f"whole_group={topology.group} takes all of that away")
    keys = max((node.keys for node in topology.nodes), default=0)
    warned = (f"{keys:,} keys are gone with the data: is there a backup?",) if remove_data and keys else ()
    return Removal(topology.group, members, remove_data, warned)


def _refuse_one(topology: Topology, name: str) -> Refusal | None:
    for silent in topology.unread:
        # Its machine is asked as well: a way to a port that nobody listens on may be silent for other reasons.
        ended = silent.stopped or (silent.machine is not None and silent.machine.process is False)
        if silent.name == name and not ended:
            told = f"{silent.detail}; it may be the primary"
            return Refusal("node-unread", name, told, "mend that, or stop its server, then this again")
    node = topology.node(name)
    if node is None or not node.is_primary:
        return None
    if len(topology.names) == 1:
        told = "is the only node, so the whole group would be gone"
        return Refusal("last-node", name, told, f"whole_group={topology.group} says so")
    return Refusal("primary", name, "is a primary", "run switchover (or demote) first, then this again")


def _warnings(topology: Topology, name: str) -> tuple[str, ...]:
    left = [other for other in topology.names if other != name]
    if name not in topology.names:
        return (f"clients that use {name} reach nobody afterwards",)
    return (f"take {name} out of the inventory of {' and '.join(left)} and install: until then it is told as missing",)

"""Uninstall: what may be taken away, so that no group loses its primary by it.

What somebody else installed is given back as it runs, and as a whole: only what install wrote beside it goes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from keydb_runbooks.runbooks.findings import Severity, find
from keydb_runbooks.runbooks.plan import Refusal
from keydb_runbooks.runbooks.topology import Topology


@dataclass(frozen=True)
class Removal:
    """The nodes and proxies that are taken away, whether with their data, and what a person should know.

    ``given_back`` are servers of somebody else's, which go on as they run.
    """

    group: str
    members: tuple[str, ...]
    remove_data: bool
    warnings: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    given_back: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = [f"{' and '.join(self.given_back)} given back, and run on as they are"] if self.given_back else []
        if self.members:
            data = f"their data {'are removed as well' if self.remove_data else 'stay'}"
            told.append(f"{' and '.join(self.members)}; {data}")
        return f"uninstall of {self.group}: {'; '.join(told)}"


def decide(
    topology: Topology,
    node: str | None,
    whole_group: str | None,
    *,
    remove_data: bool,
    adopted: Collection[str] = (),
) -> Removal | Refusal:
    """Decide what goes.

    :param node: the node or proxy that is named
    :param whole_group: the name of the group, given once more by whoever wants all of it gone
    :param remove_data: whether the data go too
    :param adopted: the nodes and proxies that somebody else installed
    """
    proxies = [proxy.name for proxy in topology.proxies] + [proxy.name for proxy in topology.unread_proxies]
    members = (*topology.names, *sorted(proxies))
    if (node is None) is (whole_group is None):
        hint = f"add node=NAME, one of {', '.join(members)}, or whole_group={topology.group}"
        return Refusal("nothing-named", topology.group, "what goes is not said, or said twice", hint)
    if whole_group is not None:
        if whole_group == topology.group and set(adopted) & set(topology.names):
            return _give_back(topology, members, adopted, remove_data=remove_data)
        return _whole(topology, whole_group, tuple(name for name in members if name not in adopted), remove_data)
    assert node is not None
    if node not in members:
        told = f"is no node or proxy of {topology.group}"
        return Refusal("unknown-member", node, told, f"allowed are {', '.join(members)}")
    if node in adopted:
        return _refuse_adopted(topology, node)
    return _refuse_one(topology, node) or Removal(topology.group, (node,), remove_data, _warnings(topology, node))


def _give_back(
    topology: Topology, members: tuple[str, ...], adopted: Collection[str], *, remove_data: bool
) -> Removal | Refusal:
    """Whoever guards a group gives it back only when there is nothing to be guarded against."""
    nodes = topology.names
    if installed := [name for name in nodes if name not in adopted]:
        told = "was installed, and would be taken away while the others, which were there before, go on"
        return Refusal("mixed", installed[0], told, f"uninstall node={installed[0]} first")
    if remove_data:
        told = "its data were there before install, which leaves them alone"
        return Refusal("not-ours", topology.group, told, f"whole_group={topology.group} without remove_data")
    for one in find(topology):
        # Servers of somebody else's may ping each other more seldom than install's, and an idle link is silent then.
        if one.severity is not Severity.NOTICE and one.code != "link-silent":
            told = f"{one.code}: {one.sentence}"
            return Refusal("not-in-order", one.where, told, "a group is given back when status finds nothing")
    for node in topology.nodes:
        if node.paused is None:
            told = "it could not be proved whether it holds writes back"
            return Refusal("not-in-order", node.name, told, "run this again when it is less busy")
    proxies = tuple(name for name in members if name not in nodes and name not in adopted)
    warnings = (
        "from its next start on no boot guard looks whether a server's role is still its own",
        *(f"clients that use {name} reach nobody afterwards" for name in proxies),
    )
    return Removal(topology.group, proxies, False, warnings, given_back=nodes)


def _refuse_adopted(topology: Topology, name: str) -> Refusal:
    if name not in topology.names:
        told = "is somebody else's HAProxy, and nothing of install is there"
        return Refusal("adopted", name, told, "who installed it takes it away")
    told = "was there before install, which gives back a whole group and no node alone"
    return Refusal("adopted", name, told, f"whole_group={topology.group} gives all of it back, and stops nothing")


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

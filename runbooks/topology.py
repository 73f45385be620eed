"""The whole group at one moment, and who of it is the primary that all others should follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keydb_runbooks.runbooks.lineage import Kinship, Relation, descends, relate
from keydb_runbooks.runbooks.proxy import Proxy, UnreadProxy
from keydb_runbooks.runbooks.replication import Address, Link, Node, Unread
from keydb_runbooks.runbooks.service import Service, UnreadService
from keydb_runbooks.runbooks.values import changed


@dataclass(frozen=True)
class Topology:
    """Everything that was observed of a group: the nodes, proxies and Services that answered, and those that didn't.

    ``behind_proxies``: clients come through proxies that come and go; none may be there.
    ``preferred_zones`` are where the inventory wants the primary, best first.
    """

    group: str
    nodes: tuple[Node, ...]
    unread: tuple[Unread, ...] = ()
    proxies: tuple[Proxy, ...] = ()
    unread_proxies: tuple[UnreadProxy, ...] = ()
    services: tuple[Service, ...] = ()
    unread_services: tuple[UnreadService, ...] = ()
    clients_only_through_proxies: bool = False
    behind_proxies: bool = False
    preferred_zones: tuple[str, ...] = ()

    @property
    def primaries(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.is_primary)

    @property
    def names(self) -> tuple[str, ...]:
        """Every node's name, in the order of their names."""
        return tuple(sorted(node.name for node in self.everybody))

    @property
    def fronts(self) -> tuple[Proxy | Service, ...]:
        """Whatever leads clients to a node, and answered."""
        return (*self.proxies, *self.services)

    @property
    def unread_fronts(self) -> tuple[UnreadProxy | UnreadService, ...]:
        return (*self.unread_proxies, *self.unread_services)

    def node(self, name: str) -> Node | None:
        return next((node for node in self.nodes if node.name == name), None)

    def at(self, address: Address) -> Node | Unread | None:
        return next((node for node in self.everybody if node.address == address), None)

    @property
    def everybody(self) -> tuple[Node | Unread, ...]:
        """Every node, whether it answered or not."""
        return (*self.nodes, *self.unread)

    def hear_somebody_unread(self) -> Iterator[tuple[Node, Link, Unread | None]]:
        """Replicas whose link to somebody who wasn't read is alive, that link, and who it is; None is a stranger."""
        for node in self.nodes:
            if node.link is not None and not node.link.guarded and node.link.alive:
                source = self.at(node.link.primary)
                if not isinstance(source, Node):
                    yield node, node.link, source

    def relation(self, node: Node, primary: Node) -> Relation:
        """As ``lineage.relate``; a replica of a primary that holds writes back has nothing that this one lacks.

        That is known as long as it is linked to it: what it had before came from anywhere. What comes from the primary
        through other replicas was only read a moment later than the primary itself.
        """
        if node.replication_id == primary.replication_id and self._fed_by(node, primary):
            node = changed(node, offset=min(node.offset, primary.offset))
        held = any(one.is_primary and one.paused and self._fed_by(node, one) for one in self.nodes)
        return relate(node, primary, held)

    def _fed_by(self, node: Node, primary: Node) -> bool:
        """Whether links that are up lead from a node to the primary."""
        source: Node | Unread | None = node
        for _ in self.nodes:
            if not isinstance(source, Node) or source.link is None or not source.link.up:
                return False
            source = self.at(source.link.primary)
            if source is primary:
                return True
        return False

    def highest_epoch(self) -> int:
        """The highest epoch that anybody has seen; 0 if nobody has one."""
        return max((node.epoch for node in self.nodes if node.epoch is not None), default=0)

    @property
    def followed(self) -> tuple[Node | Unread, ...]:
        """Who is named by a node's links, as often as that is so; strangers are left out."""
        sources = (self.at(link.primary) for node in self.nodes for link in node.links if not link.guarded)
        return tuple(source for source in sources if source is not None)

    def newer(self, primary: Node) -> Node | None:
        """A node that holds data of a later promotion than a primary's; a missing epoch is unknown."""
        known = (node for node in self.nodes if node.epoch is not None and primary.epoch is not None)
        return next((node for node in known if (node.epoch or 0) > (primary.epoch or 0)), None)

    def survivor(self, primary: Node) -> Node | None:
        """A node with an epoch and a history of its own beside a primary that has neither; a missing epoch is unknown,
        so this alone doesn't tell which of them is right."""
        if primary.epoch is not None or primary.loading or primary.empty:
            return None
        known = (node for node in self.nodes if node.epoch is not None and not node.empty)
        return next((node for node in known if relate(node, primary).kinship is Kinship.UNRELATED), None)

    def rightful_primary(self) -> Node | None:
        """The primary that all others should follow, or None if the facts don't name exactly one.

        Lineage first, then epoch (convergence-facts, "Lineage"). A missing epoch is unknown, not 0;
        when lineage and epoch disagree, nobody is chosen.
        """
        primaries = self.primaries
        for candidate in primaries:
            others = [other for other in primaries if other is not candidate]
            if all(supersedes(candidate, other) for other in others):
                return candidate
        return None


def supersedes(newer: Node, older: Node) -> bool:
    """Whether ``newer`` took the primary role after ``older``, by lineage, then by epoch."""
    known = newer.epoch is not None and older.epoch is not None
    later = known and (newer.epoch or 0) > (older.epoch or 0)
    if descends(newer, older):
        # Every verb counts a promotion: the same epoch means that somebody else made it, perhaps by mistake, and an
        # older primary that goes on may have all the clients; that it holds writes back now may be anybody's doing.
        return later or not known
    if descends(older, newer):
        return False
    # Who came up without its data has no epoch either, and took the role after nobody.
    lost = older.empty and older.epoch is None and not older.loading
    return later or (lost and not newer.empty and newer.epoch is not None)


def told_newer(primary: Node, newer: Node) -> str:
    """What is said of ``Topology.newer``."""
    return f"is the primary of epoch {primary.epoch}, but {newer.name} holds data of epoch {newer.epoch}"

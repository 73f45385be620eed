"""What everybody saw of everybody, each item with who saw it and when; and whether that makes a primary gone.

A primary is gone if two places say so (docs/checks.md, "Evidence"): the operator's link, its replicas, the proxies'
checks, its own machine. One that a replica or a proxy still hears is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from keydb_runbooks.runbooks.anew import formers
from keydb_runbooks.runbooks.condition import Machine
from keydb_runbooks.runbooks.grounds import Evidence, Verdict
from keydb_runbooks.runbooks.plan import Refusal, Request
from keydb_runbooks.runbooks.proxy import Proxy, ProxyServer
from keydb_runbooks.runbooks.replication import LINK_ALIVE_SECONDS, SILENT, Link, Node, Unread
from keydb_runbooks.runbooks.topology import Topology

BLIND = ("forwarding-forbidden", "no-link", "not-trusted", "not-a-server")
"""Codes of a link that the operator couldn't try, or behind which something else answers."""

PLACES_NEEDED = 2


def gather(topology: Topology, primary: str | None) -> tuple[Evidence, ...]:
    """Everything that was seen: of all nodes by the operator and their machines, of the primary by the others.

    :param primary: name of the primary, or of the node that was it; without one the proxies' checks of all silent nodes
    """
    watched = {primary} if primary is not None else {node.name for node in topology.unread}
    return (
        *(_by_operator(node) for node in topology.everybody),
        *(item for node in topology.nodes for item in _by_replica(topology, node)),
        *(_by_proxy(proxy, one) for proxy in topology.proxies for one in proxy.writers if one.node in watched),
        *(item for node in topology.everybody for item in _by_machine(node)),
        *(
            Evidence("the API server", one.name, f"has a pod that {one.told}", one.when, Verdict.NEITHER)
            for one in formers(topology)
        ),
    )


def refuse_reached(topology: Topology, request: Request, evidence: tuple[Evidence, ...]) -> Refusal | None:
    """A node that a proxy still gets good answers from is not gone, whoever else hears nothing of it."""
    doubtful = {node.name for node in topology.unread if not node.stopped}
    for item in evidence:
        if item.about in doubtful and item.verdict is Verdict.ALIVE and not request.accept_split:
            told = f"still gets answers from {item.about}: it is not gone"
            hint = f"mend the way to {item.about} and use switchover; or accept_split=yes to go on without it"
            return Refusal("still-reached", item.who, told, hint, passing=True)
    return None


def refuse_few(suspects: tuple[Unread, ...], request: Request, evidence: tuple[Evidence, ...]) -> Refusal | None:
    """A primary that one place alone calls gone may be cut off from that place only."""
    for node in suspects:
        places = witnesses(node.name, evidence)
        if len(places) < PLACES_NEEDED and not request.accept_split:
            told = f"only {places[0]} says that it is gone" if places else "nobody says that it is gone"
            told += ", and two places must"
            hint = "let a replica, a proxy or its machine answer, or accept_split=yes if you know that it is"
            return Refusal("one-witness", node.name, told, hint)
    return None


def witnesses(name: str, evidence: tuple[Evidence, ...]) -> tuple[str, ...]:
    """The places that say a node is gone, each once."""
    gone = [item.who for item in evidence if item.about == name and item.verdict is Verdict.GONE]
    return tuple(dict.fromkeys(gone))


def _by_operator(seen: Node | Unread) -> Evidence:
    if isinstance(seen, Node):
        trip = seen.round_trip_seconds
        told = "answers" if trip is None else f"answers in {trip * 1000:.1f} ms"
        told += ", guarded" if seen.guarded else f" as a {seen.role.value}"
        return Evidence("the operator", seen.name, told, seen.observed_at, Verdict.ALIVE)
    verdict = Verdict.ALIVE
    if seen.code in (*SILENT, *BLIND):
        verdict = Verdict.GONE if seen.code in SILENT else Verdict.NEITHER
    return Evidence("the operator", seen.name, f"was not read: {seen.detail}", seen.observed_at, verdict)


def _by_replica(topology: Topology, node: Node) -> Iterator[Evidence]:
    for link in node.links:
        if not link.guarded:
            source = topology.at(link.primary)
            name = source.name if source is not None else str(link.primary)
            yield Evidence(node.name, name, *_link_words(link, node.observed_at))


def _link_words(link: Link, when: str) -> tuple[str, str, Verdict]:
    heard = "never heard" if link.last_io_seconds is None else f"heard {link.last_io_seconds} s ago"
    if link.alive:
        return f"is heard: link up, {heard}", when, Verdict.ALIVE
    if link.syncing:
        return "is sending all its data", when, Verdict.NEITHER
    if link.up:
        return f"is silent: link up, but {heard} ({LINK_ALIVE_SECONDS} s are allowed)", when, Verdict.GONE
    since = "" if link.down_seconds is None else f" for {link.down_seconds} s"
    return f"is not reached: link down{since}", when, Verdict.GONE


def _by_proxy(proxy: Proxy, server: ProxyServer) -> Evidence:
    verdict = Verdict.NEITHER
    if server.unreached:
        verdict = Verdict.GONE
    elif server.up and server.check.startswith("L7OK"):
        verdict = Verdict.ALIVE
    since = "" if server.since_seconds is None else f" for {server.since_seconds:,} s"
    told = f"is {server.status}{since}, last check {server.check or 'unknown'}"
    return Evidence(proxy.name, server.node, told, proxy.observed_at, verdict)


def _by_machine(seen: Node | Unread) -> Iterator[Evidence]:
    """The machine may know what the operator does not: a server that froze is there, one that ended is not."""
    machine = seen.machine or Machine()
    stopped = isinstance(seen, Unread) and seen.stopped
    if seen.machine is None and not stopped:
        if isinstance(seen, Unread):
            yield Evidence("its machine", seen.name, "could not be asked", seen.observed_at, Verdict.NEITHER)
        return
    told = "has an unknown process" if machine.process is None else "has a server process"
    if stopped or machine.process is False:
        told = "has no server process"
    verdict = Verdict.GONE if stopped else Verdict.NEITHER
    if machine.disk_free is not None and machine.disk_size:
        told += f", disk {100 - 100 * machine.disk_free // machine.disk_size} % full"
    yield Evidence("its machine", seen.name, told, seen.observed_at, verdict)

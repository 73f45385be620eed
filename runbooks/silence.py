"""Whether those who are silent can acknowledge writes, and what can be proved of nobody who isn't stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keydb_runbooks.runbooks.anew import Former, formers, hear_a_former
from keydb_runbooks.runbooks.plan import Refusal
from keydb_runbooks.runbooks.topology import Topology


@dataclass(frozen=True)
class Proof:
    """Why the silent nodes acknowledge no writes, or why that is not known.

    ``passing`` if a moment may prove it; ``blind`` if nothing that is done to them can be seen from here; ``former`` if
    what is in doubt ran in a pod that is no longer listed.
    """

    sufficient: bool
    sentence: str
    passing: bool = False
    blind: bool = False
    former: bool = False


def prove_silence(topology: Topology) -> Proof:
    """Look for one proof that holds for every node that can't be read, and for who ran in a pod's place before.

    ``stopped``: its own machine says that no server runs there (and whoever starts it starts it
    guarded). ``routes``: clients can't go around the proxies, all of these answered, and none leads there.
    """
    doubtful = [node for node in topology.unread if not node.stopped]
    if strangers := _strangers(topology):
        return Proof(
            False, f"{' and '.join(strangers)}, which is no node of {topology.group} and may still take writes"
        )
    if before := formers(topology):
        return _prove_of_formers(topology, tuple(node.name for node in doubtful), before)
    if not topology.unread:
        return Proof(True, "every node answers and none is a primary")
    if not doubtful:
        names = " and ".join(node.name for node in topology.unread)
        return Proof(True, f"no server process runs on {names}")
    names = " and ".join(node.name for node in doubtful)
    return _prove_by_routes(topology, {node.name for node in doubtful}, names)


def _prove_of_formers(topology: Topology, doubtful: tuple[str, ...], before: tuple[Former, ...]) -> Proof:
    """What the API server no longer lists can be cut off by proxies alone."""
    names = " and ".join((*doubtful, *(f"the former {former.name}" for former in before)))
    proof = _prove_by_routes(topology, {*doubtful, *(former.name for former in before)}, names)
    if proof.sufficient:
        return proof
    told = "; ".join(f"pod {former.name} {former.told}" for former in before)
    return replace(proof, sentence=f"{proof.sentence}; {told}", former=True)


def _prove_by_routes(topology: Topology, doubtful: set[str], names: str) -> Proof:
    """A server that is down keeps the sessions that nobody cut (keydb-facts, "HAProxy in front")."""
    if topology.clients_only_through_proxies and topology.proxies and not topology.unread_proxies:
        ways = [way for proxy in topology.proxies for way in proxy.writers if way.node in doubtful]
        if not any(way.up or way.sessions for way in ways):
            return Proof(True, f"clients can't go around the proxies, and none of these leads to {names}")
        if any(way.up for way in ways):
            # A check that fails has to fail more than once.
            return Proof(False, f"{names} may still take writes", passing=True)
        held = f"{sum(way.sessions for way in ways):,} sessions"
        return Proof(False, f"the proxies still hold {held} to {names}, which may take writes", passing=True)
    if topology.services or topology.unread_services:
        held = "moving the Service leaves connections that are open where they are"
        blind = any(node.name in doubtful and node.machine is None for node in topology.unread)
        return Proof(False, f"{names} may still take writes: {held}", blind=blind)
    return Proof(False, f"{names} may still take writes")


def refuse_followed(topology: Topology) -> Refusal | None:
    """A primary that any replica still hears is not gone."""
    for node, link, heard in topology.hear_somebody_unread():
        name = link.primary if heard is None else heard.name
        told = f"still follows {name} (link up, heard {link.last_io_seconds} s ago): it is not gone"
        # Switchover can't read it either: whoever is sent there is sent back.
        hint = f"mend the way from here to {name} (a pod's: the kubelet of its node), or wait 3 s and look again"
        return Refusal("still-followed", node.name, told, hint, passing=True)
    for node, link, former in hear_a_former(topology):
        told = f"hears a server (link up, {link.last_io_seconds} s ago) that is not the {former.name} which answers now"
        hint = f"end what runs on the node that {former.name} was on before; or look again in 3 s"
        return Refusal("still-followed", node.name, told, hint, passing=True)
    return None


def refuse_split(proof: Proof) -> Refusal:
    """What is said where a proof is missing, and what to do for one."""
    hint = (
        "stop its server or its machine, then this again "
        "(last resort: accept_split=yes, and its writes from now on are lost)"
    )
    if proof.blind:
        hint = (
            "mend the way to it; or switch its machine off, which can't be seen from here, and say so by "
            "accept_split=yes (if it runs, its writes from now on are lost)"
        )
    if proof.former:
        hint = (
            "make sure that the node which it ran on is off, or runs nothing of it any more, and say so by "
            "accept_split=yes (if it runs, its writes from now on are lost)"
        )
    return Refusal("not-fenced", "old primary", proof.sentence, hint, passing=proof.passing)


STOP_SOON = "stop server or machine there, now or soon"
"""Clients that wait are a reason not to wait for it; it is none to leave it."""


def when_it_wakes(topology: Topology, min_replicas: int) -> tuple[str, ...]:
    """What can be proved of nobody who is silent but not stopped: what it does when it wakes, as a sentence.

    :param min_replicas: ``min-replicas-to-write``, of the silent ones as well, as far as the inventory knows
    """
    doubtful = [node.name for node in topology.unread if not node.stopped]
    if not doubtful:
        return ()
    are, wakes = ("is", "when it wakes") if len(doubtful) == 1 else ("are", "when they wake")
    until = "until its replicas have left it, which takes milliseconds"
    if not min_replicas:
        until = "until it is demoted, since keydb_min_replicas_to_write is 0"
    elif len(doubtful) > min_replicas:
        until = "until one of them is demoted, if the others still follow it"
    elif any(node.engine == "keydb" for node in topology.nodes):
        # A script goes round min-replicas-to-write there (docs/engines.md, "Promote as one TCP segment").
        until += " (a script's on KeyDB: until it is demoted)"
    names = " and ".join(doubtful)
    told = f"{names} {are} not stopped: {wakes}, writes that get there are acknowledged, and lost, {until}"
    return (f"{told}; {STOP_SOON}",)


def _strangers(topology: Topology) -> tuple[str, ...]:
    """Who follows an address that the inventory doesn't have: a primary that was taken out of it, for instance."""
    return tuple(
        f"{node.name} follows {link.primary}"
        for node in topology.nodes
        for link in node.links
        if not link.guarded and topology.at(link.primary) is None
    )

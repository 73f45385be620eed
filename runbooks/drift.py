"""Is a group as it should be: roles, lineage, configuration and routes, each told once.

``drift`` joins what ``findings.find`` finds with what servers, proxies and their files say. It judges what was seen at
one moment; whoever moves a role meanwhile is seen half-way.
"""

from __future__ import annotations

from collections.abc import Iterator

from keydb_runbooks.runbooks.drift_proxy import ProxyState, proxy_drift
from keydb_runbooks.runbooks.drift_server import ServerState, server_drift
from keydb_runbooks.runbooks.drift_values import Drift, Verdict, unknown
from keydb_runbooks.runbooks.findings import Finding, Severity, find
from keydb_runbooks.runbooks.lineage import unrecorded
from keydb_runbooks.runbooks.proxy import UnreadProxy
from keydb_runbooks.runbooks.replication import Unread
from keydb_runbooks.runbooks.topology import Topology

UNREACHABLE = "unreachable-host"

# What to do next, for findings that don't say it.
_WAYS_OUT = {
    "diverged": "run rejoin, which says what has to be accepted",
    "empty-primary": "run failover, which promotes who holds the most",
    "link-down": "look at its log and at the way there",
    "link-silent": "look at its log and at the way there",
    "loading": "wait until it has",
    "node-loading": "wait until it has",
    "node-not-a-server": "see what listens there, or set keydb_address and keydb_port",
    "node-not-trusted": "run install, which gives it its certificate",
    "node-wrong-password": "set keydb_users.operator to what the server knows",
    "not-saved": "CONFIG REWRITE is missing: run rejoin",
    "proxy-no-answer": "look at HAProxy's log",
    "proxy-no-backend": "run install",
    "proxy-unreachable-host": "see that the machine runs and can be reached",
    "syncing": "wait until it has",
    "unrelated": "run rejoin, which says what has to be accepted",
    "unsynced-replica": "look at that replica's log if it stays so",
}


def drift(
    topology: Topology,
    servers: tuple[ServerState, ...],
    proxies: tuple[ProxyState, ...],
    beside: tuple[Drift, ...] = (),
) -> tuple[Drift, ...]:
    """Tell all that is not as it should be, and all that could not be looked at, worst first.

    :param beside: what was found of what is neither a server nor a proxy: objects of pods, the CA
    """
    # A machine that is off is told once, by the topology.
    unread: list[Unread | UnreadProxy] = [*topology.unread, *topology.unread_proxies]
    off = {one.name for one in unread if one.code == UNREACHABLE}
    found = [
        *_found(topology, proxies),
        *_records(topology),
        *(one for server in servers if server.name not in off for one in _server(topology, server)),
        *(one for proxy in proxies if proxy.name not in off for one in _proxy(topology, proxy)),
        *beside,
    ]
    order = list(Severity)
    return tuple(sorted(_once(topology, found), key=lambda one: (order.index(one.severity), one.verdict.value)))


def _found(topology: Topology, proxies: tuple[ProxyState, ...]) -> Iterator[Drift]:
    """What ``find`` finds; who couldn't be read is unknown, unless it is known that it doesn't run."""
    stopped = {proxy.name for proxy in proxies if proxy.stopped}
    silent = {node.name for node in topology.unread if not node.stopped}
    # Whoever is silent may be the primary.
    unsure = silent | ({topology.group} if silent and not topology.primaries else set())
    unsure |= {
        proxy.name for proxy in topology.unread_proxies if proxy.code != "no-backend" and proxy.name not in stopped
    }
    unsure |= {service.name for service in topology.unread_services}
    for finding in find(topology):
        is_unknown = finding.where in unsure or finding.code == "kind-unknown"
        verdict = Verdict.UNKNOWN if is_unknown else Verdict.DRIFTED
        yield Drift(finding.code, verdict, finding.severity, finding.where, _sentence(finding))


def _sentence(finding: Finding) -> str:
    way_out = _WAYS_OUT.get(finding.code)
    return f"{finding.sentence}; {way_out}" if way_out else finding.sentence


def _records(topology: Topology) -> Iterator[Drift]:
    """What the next failover has to know of the data (docs/lineage.md), and a pause that nobody could prove."""
    primary = topology.rightful_primary()
    if primary is not None and not primary.loading:
        if primary.epoch is None:
            sentence = "its data hold no epoch (FLUSHALL, eviction or a restore takes it); a switchover writes one"
            yield Drift("no-epoch", Verdict.DRIFTED, Severity.NOTICE, primary.name, sentence)
        if unrecorded(primary):
            sentence = "its promotion is not recorded: a node that comes back from before is a stranger; run rejoin"
            yield Drift("unrecorded", Verdict.DRIFTED, Severity.WARNING, primary.name, sentence)
    for node in topology.nodes:
        if node.paused is None and not node.loading:
            sentence = "it could not be proved whether it holds writes back; look again when it is less busy"
            yield unknown("pause-unknown", node.name, sentence)


def _server(topology: Topology, server: ServerState) -> Iterator[Drift]:
    if server.running is None and topology.node(server.name) is not None:
        yield unknown("running-unknown", server.name, f"what it runs with is unknown: {server.detail}; run this again")
    yield from server_drift(server)


def _proxy(topology: Topology, proxy: ProxyState) -> Iterator[Drift]:
    if proxy.running is None and proxy.name in {one.name for one in topology.proxies}:
        yield unknown("running-unknown", proxy.name, f"what it runs with is unknown: {proxy.detail}; run this again")
    primary = topology.rightful_primary()
    yield from proxy_drift(proxy, primary.name if primary is not None else None)


def _once(topology: Topology, found: list[Drift]) -> Iterator[Drift]:
    """Leave out what another drift tells with its cause or with its consequence."""
    writable = {one.where for one in found if one.code == "writable-replica"}
    held = {one.where for one in found if one.code == "server-held" and one.severity is Severity.CRITICAL}
    nobody = {proxy.name for proxy in topology.proxies if not proxy.writes_go_to}
    unsaved = {one.where for one in found if one.code == "fence-not-saved"}
    missing = {one.where for one in found if one.code == "object-missing"}
    for one in found:
        if one.where in unsaved and one.key.startswith("user ") and one.code != "extra-user":
            continue
        if one.key == "replica-read-only" and one.where in writable:
            continue
        if one.code == "wrong-route" and one.where in held & nobody:
            continue
        if one.code == "service-unread" and f"service/{one.where}" in missing:
            continue
        yield one

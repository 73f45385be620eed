"""What is wrong with a group: a list of rules, one function each, that look at the topology and tell findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from keydb_runbooks.runbooks.anew import formers
from keydb_runbooks.runbooks.kinds import kind_of
from keydb_runbooks.runbooks.lineage import Kinship
from keydb_runbooks.runbooks.made import MOVERS, UNREAD
from keydb_runbooks.runbooks.proxy import UnreadProxy
from keydb_runbooks.runbooks.replication import SILENT, Link, Node, Role, Unread
from keydb_runbooks.runbooks.topology import Topology, told_newer
from keydb_runbooks.runbooks.writable import failing_disk, full_memory


class Severity(Enum):
    """How bad a finding is, worst first."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be: a stable code, where, and a sentence with the way out."""

    code: str
    severity: Severity
    where: str
    sentence: str


def find(topology: Topology) -> tuple[Finding, ...]:
    """Tell all that is wrong with a group, worst first."""
    # The parts of a cluster have a primary each: what is right for a group is no measure for them.
    rules = (_unread, _kinds) if any(node.cluster for node in topology.nodes) else _RULES
    findings = [finding for rule in rules for finding in rule(topology)]
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _kinds(topology: Topology) -> Iterator[Finding]:
    for seen in topology.everybody:
        if kind := kind_of(seen):
            severity = Severity.CRITICAL if kind.code in ("active-replica", "multi-master") else Severity.WARNING
            yield Finding(kind.code, severity, seen.name, f"{kind.sentence}; {kind.hint}")


def _unread(topology: Topology) -> Iterator[Finding]:
    for node in topology.unread:
        if kind_of(node):
            continue
        sentence = f"{node.detail}; it may be anything, a primary among others"
        if node.stopped:
            sentence = f"{node.detail}; its machine says that no server process runs"
        way_out = _way_to(topology, node)
        yield Finding(f"node-{node.code}", Severity.WARNING, node.name, f"{sentence}{way_out and f'; {way_out}'}")
    for proxy in topology.unread_proxies:
        yield _unread_proxy(topology, proxy)


def _way_to(topology: Topology, node: Unread) -> str:
    """How a node that gave no answer comes back; "" where that is another finding's to say.

    ``start`` starts only what doesn't run, and guarded. Who hangs may wake up as a primary, so it is stopped first.
    """
    if node.code not in SILENT:
        return ""
    known = topology.rightful_primary() is not None and not any(kind_of(seen) for seen in topology.everybody)
    if not node.stopped:
        hangs = "mend the way to it; if it hangs, stop its server or its machine, then run start and rejoin"
        return hangs if known else "look at the machine and at the server's log"
    if known:
        return "run start, then rejoin"
    return "run failover first, then start and rejoin" if topology.nodes and not topology.primaries else ""


def _unread_proxy(topology: Topology, proxy: UnreadProxy) -> Finding:
    """One that doesn't run is told with the way out, and is critical where clients have no other one."""
    if proxy.code != "refused":
        return Finding(f"proxy-{proxy.code}", Severity.WARNING, proxy.name, proxy.detail)
    sentence = f"{proxy.detail}: if it doesn't run no client gets through it; run start"
    severity = Severity.WARNING if topology.proxies else Severity.CRITICAL
    return Finding(f"proxy-{proxy.code}", severity, proxy.name, sentence)


def _number_of_primaries(topology: Topology) -> Iterator[Finding]:
    primaries = topology.primaries
    if not primaries and not any(node.role is Role.ACTIVE_REPLICA for node in topology.nodes):
        yield Finding("no-primary", Severity.CRITICAL, topology.group, _no_primary(topology))
    if len(primaries) > 1:
        names = " and ".join(node.name for node in primaries)
        rightful = topology.rightful_primary()
        hint = f"{rightful.name} is the rightful one; run rejoin" if rightful else "the facts name no rightful one"
        yield Finding("several-primaries", Severity.CRITICAL, topology.group, f"{names} are primaries; {hint}")


def _no_primary(topology: Topology) -> str:
    for node, link, heard in topology.hear_somebody_unread():
        if heard is not None:
            told = f"{node.name} heard {heard.name}, which can't be read, {link.last_io_seconds} s ago"
            return f"{told}; look again in 3 s, and if that stays so, mend the way from here to {heard.name}"
    silent = [node.name for node in topology.unread if not node.stopped]
    if topology.nodes:
        doubted = [*silent, *(f"the former {former.name}" for former in formers(topology))]
        told = f"no node that answers is primary, and {' and '.join(doubted)} may be"
        return f"{told if doubted else 'nobody takes writes'}; run failover"
    may_be = f"{' and '.join(silent)} may be"
    if not silent:
        return "no server runs; run start, then failover"
    if len(silent) < len(topology.unread):
        return f"no node answers, and {may_be} primary; run start, then failover"
    return f"no node answers, and {may_be} primary; mend the way to them"


def _empty_primary(topology: Topology) -> Iterator[Finding]:
    for primary in topology.primaries:
        full = [node.name for node in topology.nodes if not node.empty]
        if primary.empty and not primary.loading and full:
            sentence = f"holds no keys, but {' and '.join(full)} do: it must be nobody's source"
            yield Finding("empty-primary", Severity.CRITICAL, primary.name, sentence)


def _lost_history(topology: Topology) -> Iterator[Finding]:
    for primary in topology.primaries:
        if survivor := topology.survivor(primary):
            sentence = f"lacks the epoch and the history that {survivor.name} has: it may have lost its data"
            yield Finding("lost-history", Severity.CRITICAL, primary.name, sentence)


def _superseded(topology: Topology) -> Iterator[Finding]:
    primary = topology.rightful_primary()
    if primary is not None and (newer := topology.newer(primary)):
        sentence = f"{told_newer(primary, newer)}; stop {primary.name}, then run failover"
        yield Finding("superseded", Severity.CRITICAL, primary.name, sentence)


def _followers(topology: Topology) -> Iterator[Finding]:
    primary = topology.rightful_primary()
    for node in topology.nodes:
        if node.role is Role.ACTIVE_REPLICA:
            continue
        if node.guarded:
            sentence = f"was started guarded and follows nobody{_way_home(topology)}"
            yield Finding("guarded", Severity.WARNING, node.name, sentence)
        elif node.link is not None and (primary is None or not node.follows(primary)):
            yield from _wrong_primary(topology, node, node.link, primary)


def _way_home(topology: Topology) -> str:
    """Which verb lets a node follow the primary; the same one as other findings of that state name."""
    primary = topology.rightful_primary()
    if primary is not None:
        return "" if topology.newer(primary) else "; run rejoin"
    return "" if topology.primaries else "; run failover"


def _wrong_primary(topology: Topology, node: Node, link: Link, primary: Node | None) -> Iterator[Finding]:
    source = topology.at(link.primary)
    if source is None:
        sentence = f"follows {link.primary}, which is no node of this group{_way_home(topology)}"
        yield Finding("follows-stranger", Severity.CRITICAL, node.name, sentence)
    elif isinstance(source, Node) and not source.is_primary:
        sentence = f"follows {source.name}, which is a replica itself{_way_home(topology)}"
        yield Finding("chained", Severity.WARNING, node.name, sentence)
    elif primary is not None:
        sentence = f"follows {source.name}, not {primary.name}{_way_home(topology)}"
        yield Finding("follows-other", Severity.WARNING, node.name, sentence)


def _lineage(topology: Topology) -> Iterator[Finding]:
    primary = topology.rightful_primary()
    if primary is None:
        return
    for node in topology.nodes:
        in_sync = node.follows(primary) and node.link is not None and node.link.up
        if node is primary or in_sync or node.loading:
            continue
        relation = topology.relation(node, primary)
        if relation.kinship is Kinship.DIVERGED and relation.lost_bytes:
            sentence = f"holds {relation.lost_bytes:,} bytes that {primary.name} never had"
            yield Finding("diverged", Severity.WARNING, node.name, sentence)
        if relation.kinship is Kinship.UNRELATED:
            sentence = f"shares no known history with {primary.name}: what it alone holds is unknown"
            yield Finding("unrelated", Severity.WARNING, node.name, sentence)


def _links(topology: Topology) -> Iterator[Finding]:
    for node in topology.nodes:
        link = node.link
        if link is None or link.guarded:
            continue
        if link.syncing:
            yield Finding("syncing", Severity.WARNING, node.name, f"is loading all data from {link.primary}")
        elif not link.up:
            yield Finding("link-down", Severity.WARNING, node.name, f"has no link to {link.primary}")
        elif not link.alive:
            heard = "unknown" if link.last_io_seconds is None else f"{link.last_io_seconds} s ago"
            yield Finding("link-silent", Severity.WARNING, node.name, f"heard of {link.primary} last: {heard}")


def _replicas(topology: Topology) -> Iterator[Finding]:
    for node in topology.nodes:
        if node.loading:
            yield Finding("loading", Severity.WARNING, node.name, "is loading its data")
        if node.role is Role.REPLICA and node.read_only is False:
            sentence = "is a replica that takes writes of its own; set replica-read-only yes"
            yield Finding("writable-replica", Severity.CRITICAL, node.name, sentence)
        for replica in node.replicas:
            if not replica.online:
                sentence = f"has a replica at {replica.address} that is not in sync yet"
                yield Finding("unsynced-replica", Severity.NOTICE, node.name, sentence)


def _lonely(topology: Topology) -> Iterator[Finding]:
    rightful = topology.rightful_primary()
    for node in topology.primaries:
        # An old primary that woke up shall get none.
        if node.good_replicas == 0 and rightful in (None, node):
            others = len(topology.nodes) > 1
            way_out = "" if rightful is None else f"; run {'rejoin' if others else 'start, then rejoin'}"
            sentence = f"refuses writes, since no replica hears it (min-replicas-to-write){way_out}"
            yield Finding("no-good-replica", Severity.CRITICAL, node.name, sentence)


def _pauses(topology: Topology) -> Iterator[Finding]:
    way_out = _way_home(topology)
    if way_out and topology.rightful_primary() is not None and len(topology.primaries) == 1:
        way_out = "; run abort"
    for node in topology.nodes:
        if node.paused:
            held = "holds all writes back" if node.is_primary else "applies nothing of what it receives"
            sentence = f"{held}: a run that died left that, or somebody paused it{way_out}"
            yield Finding("paused", Severity.CRITICAL, node.name, sentence)


def _fences(topology: Topology) -> Iterator[Finding]:
    primary = topology.rightful_primary()
    for node in topology.nodes:
        if node.fenced and node is primary:
            sentence = f"is the primary and fenced: nobody can write; run unfence node={node.name}, or switchover"
            yield Finding("fenced", Severity.CRITICAL, node.name, sentence)
        elif node.fenced:
            sentence = f"is fenced: no verb makes it the primary until unfence node={node.name}"
            yield Finding("fenced", Severity.WARNING, node.name, sentence)
        known = node.fenced is not None and node.config_fenced is not None
        if known and node.fenced is not node.config_fenced:
            state = "is fenced" if node.fenced else "is not fenced"
            verb = "fence" if node.fenced else "unfence"
            sentence = f"{state}, but its file says otherwise, for the next start; run {verb} node={node.name}"
            yield Finding("fence-not-saved", Severity.WARNING, node.name, sentence)


def _refused_writes(topology: Topology) -> Iterator[Finding]:
    """A primary that has its role and its replicas may refuse writes all the same."""
    for primary in topology.primaries:
        if sentence := failing_disk(primary.condition):
            hint = "make room on its disk (its log says what it lacks), or run switchover"
            yield Finding("save-failed", Severity.CRITICAL, primary.name, f"{sentence}; {hint}")
        if full := full_memory(primary):
            sentence = f"{full}, and refuses every write that needs more; raise keydb_maxmemory and run install"
            yield Finding("memory-full", Severity.CRITICAL, primary.name, sentence)


def _routes(topology: Topology) -> Iterator[Finding]:
    primary = topology.rightful_primary()
    if topology.behind_proxies and not topology.proxies and not topology.unread_proxies:
        sentence = "clients come through proxies, and there is none: nobody reaches it; run install"
        yield Finding("no-proxy", Severity.CRITICAL, topology.group, sentence)
    for proxy in topology.proxies:
        targets = proxy.writes_go_to
        # Proxies leave out a primary that refuses writes; rejoin alone would not mend that.
        consequence = not targets and primary is not None and primary.good_replicas == 0
        if primary is not None and targets != (primary.name,) and not consequence:
            sentence = f"sends writes to {' and '.join(targets) or 'nobody'}, not to {primary.name} alone"
            yield Finding("wrong-route", Severity.CRITICAL, proxy.name, f"{sentence}{_way_home(topology)}")


def _services(topology: Topology) -> Iterator[Finding]:
    primary = topology.rightful_primary()
    for unread in topology.unread_services:
        sentence = f"{unread.detail}; where it sends writes is unknown"
        yield Finding("service-unread", Severity.WARNING, unread.name, sentence)
    for service in topology.services:
        if primary is not None and service.writes_go_to != (primary.name,):
            sentence = f"sends writes to {service.whom}, not to {primary.name} alone"
            yield Finding("wrong-route", Severity.CRITICAL, service.name, f"{sentence}{_way_home(topology)}")
        for name in service.stragglers:
            if primary is not None and name != primary.name:
                sentence = f"still has clients from before {service.name} moved: they get -READONLY; run rejoin"
                yield Finding("stragglers", Severity.CRITICAL, name, sentence)


def _made(topology: Topology) -> Iterator[Finding]:
    """Each thing about their making once, whoever of the pods it is true of."""
    every = dict.fromkeys(one for node in topology.nodes for one in node.made if one.code != UNREAD.code)
    for one in every:
        severity = Severity.WARNING if one.code in MOVERS else Severity.NOTICE
        names = [node.name for node in topology.nodes if one in node.made]
        sentence = f"{', '.join(names)}: each {one.sentence}; {one.hint}"
        yield Finding(one.code, severity, topology.group, sentence)


def _disk(topology: Topology) -> Iterator[Finding]:
    for node in topology.nodes:
        line = node.config_replicaof
        if line is None or node.guarded:
            continue
        running = node.running_replicaof
        if len(node.links) <= 1 and line != running:
            sentence = f"runs with replicaof {running or 'none'}, but its file says {line or 'none'}"
            yield Finding("not-saved", Severity.WARNING, node.name, sentence)


_RULES = (
    _unread,
    _kinds,
    _number_of_primaries,
    _empty_primary,
    _lost_history,
    _superseded,
    _followers,
    _lineage,
    _links,
    _replicas,
    _lonely,
    _pauses,
    _fences,
    _refused_writes,
    _routes,
    _services,
    _made,
    _disk,
)

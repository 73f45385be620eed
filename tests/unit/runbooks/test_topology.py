"""A case for every finding, and who the rightful primary is."""

from dataclasses import replace

import pytest
from worlds import (
    GOOD,
    HELD,
    address,
    broken,
    codes,
    fenced,
    group,
    guarded,
    link,
    orphan,
    primary,
    promoted,
    proxy,
    replica,
    service,
    silent,
    silent_proxy,
    silent_service,
    stream,
)

from keydb_runbooks.runbooks.findings import Severity, find
from keydb_runbooks.runbooks.proxy import UnreadProxy
from keydb_runbooks.runbooks.replication import Address, Link, Replica, Role
from keydb_runbooks.runbooks.topology import supersedes

HEALTHY = (primary(1), replica(2), replica(3), proxy(1))


def stopped(number):
    return silent(number, "refused", stopped=True)


STRANGER = Link(Address("192.0.2.9", 6379), up=True, last_io_seconds=0, syncing=False)

ANYTHING = "it may be anything, a primary among others"
HANGS = f"{ANYTHING}; mend the way to it; if it hangs, stop its server or its machine, then run start and rejoin"
LOOK = f"{ANYTHING}; look at the machine and at the server's log"
STOPPED = "does not answer within 2 s; its machine says that no server process runs"
NO_SOCKET = "HAProxy does not listen on /run/haproxy/admin.sock: Connection refused"
NO_PROXY = f"{NO_SOCKET}: if it doesn't run no client gets through it; run start"

MISCONF = "refuses every write until it can"
ROOM = "make room on its disk (its log says what it lacks), or run switchover"

# (what is seen, all findings as people read them)
CASES = [
    (HEALTHY, []),
    ((primary(1, condition=replace(GOOD, saved=False, dumped=False)), replica(2)), [f"critical save-failed keydb-1: could not save its data, and {MISCONF} (stop-writes-on-bgsave-error); {ROOM}"]),
    ((primary(1, condition=replace(GOOD, saved=False, dumped=False, stops=False)), replica(2)), []),
    ((primary(1, condition=replace(GOOD, saved=False)), replica(2)), []),
    ((primary(1, condition=replace(GOOD, aof=True, logged=False)), replica(2)), [f"critical save-failed keydb-1: can't write its AOF, and {MISCONF}; {ROOM}"]),
    ((primary(1, condition=replace(GOOD, aof=False, logged=False)), replica(2)), []),
    ((primary(1), replica(2, condition=replace(GOOD, saved=False, dumped=False))), []),
    ((primary(1, memory_limit=1000, memory_used=1000), replica(2)), ["critical memory-full keydb-1: uses 1,000 bytes of 1,000, and refuses every write that needs more; raise keydb_maxmemory and run install"]),
    ((primary(1, memory_limit=1000, memory_used=999), replica(2)), []),
    ((primary(1, memory_limit=1000, memory_used=1500, condition=replace(GOOD, uncounted_bytes=501)), replica(2)), []),
    ((primary(1, memory_limit=1000, memory_used=1000, condition=replace(GOOD, evicts=True)), replica(2)), []),
    ((primary(1), replica(2, memory_limit=1000, memory_used=1000)), []),
    ((primary(1), silent(2)), [f"warning node-no-answer keydb-2: does not answer within 2 s; {HANGS}"]),
    ((primary(1), silent(2, "refused", stopped=True)), ["warning node-refused keydb-2: does not answer within 2 s; its machine says that no server process runs; run start, then rejoin"]),
    ((promoted(2), stopped(1), replica(3, 2, replication_id=stream("b"), offset=1200)), [f"warning node-refused keydb-1: {STOPPED}; run start, then rejoin"]),
    ((primary(1), silent(2, "wrong-password")), [f"warning node-wrong-password keydb-2: does not answer within 2 s; {ANYTHING}"]),
    ((primary(1), silent(2, "unreachable-host")), [f"warning node-unreachable-host keydb-2: does not answer within 2 s; {HANGS}"]),
    ((stopped(1), orphan(2)), [
        "critical no-primary demo: nobody takes writes; run failover",
        f"warning node-refused keydb-1: {STOPPED}; run failover first, then start and rejoin",
        "warning link-down keydb-2: has no link to 10.0.0.1:6379",
    ]),
    ((stopped(1), guarded(2)), [
        "critical no-primary demo: nobody takes writes; run failover",
        f"warning node-refused keydb-1: {STOPPED}; run failover first, then start and rejoin",
        "warning guarded keydb-2: was started guarded and follows nobody; run failover",
    ]),
    ((orphan(2, links=(STRANGER,)), guarded(3)), [
        "critical no-primary demo: nobody takes writes; run failover",
        "critical follows-stranger keydb-2: follows 192.0.2.9:6379, which is no node of this group; run failover",
        "warning guarded keydb-3: was started guarded and follows nobody; run failover",
    ]),
    ((stopped(1), stopped(2)), [
        "critical no-primary demo: no server runs; run start, then failover",
        f"warning node-refused keydb-1: {STOPPED}",
        f"warning node-refused keydb-2: {STOPPED}",
    ]),
    ((stopped(1), silent(2)), [
        "critical no-primary demo: no node answers, and keydb-2 may be primary; run start, then failover",
        f"warning node-refused keydb-1: {STOPPED}",
        f"warning node-no-answer keydb-2: does not answer within 2 s; {LOOK}",
    ]),
    ((silent(1), silent(2)), [
        "critical no-primary demo: no node answers, and keydb-1 and keydb-2 may be primary; mend the way to them",
        f"warning node-no-answer keydb-1: does not answer within 2 s; {LOOK}",
        f"warning node-no-answer keydb-2: does not answer within 2 s; {LOOK}",
    ]),
    ((primary(1), primary(2, good_replicas=0, paused=True), guarded(3), stopped(4)), [
        "critical several-primaries demo: keydb-1 and keydb-2 are primaries; the facts name no rightful one",
        "critical no-good-replica keydb-2: refuses writes, since no replica hears it (min-replicas-to-write)",
        "critical paused keydb-2: holds all writes back: a run that died left that, or somebody paused it",
        f"warning node-refused keydb-4: {STOPPED}",
        "warning guarded keydb-3: was started guarded and follows nobody",
    ]),
    ((orphan(2, paused=True), silent(1)), [
        "critical no-primary demo: no node that answers is primary, and keydb-1 may be; run failover",
        "critical paused keydb-2: applies nothing of what it receives: a run that died left that, or somebody paused it; run failover",
        f"warning node-no-answer keydb-1: does not answer within 2 s; {LOOK}",
        "warning link-down keydb-2: has no link to 10.0.0.1:6379",
    ]),
    ((replica(2), orphan(3), silent(1)), [
        "critical no-primary demo: keydb-2 heard keydb-1, which can't be read, 1 s ago; look again in 3 s, and if that stays so, mend the way from here to keydb-1",
        f"warning node-no-answer keydb-1: does not answer within 2 s; {LOOK}",
        "warning link-down keydb-3: has no link to 10.0.0.1:6379",
    ]),
    # Its target was promoted, and its machine rebooted before anybody else knew.
    ((primary(1, paused=True, epoch=4), guarded(2, epoch=5), replica(3, epoch=4), proxy(2)), [
        "critical superseded keydb-1: is the primary of epoch 4, but keydb-2 holds data of epoch 5; stop keydb-1, then run failover",
        "critical paused keydb-1: holds all writes back: a run that died left that, or somebody paused it",
        "critical wrong-route proxy-1: sends writes to keydb-2, not to keydb-1 alone",
        "warning guarded keydb-2: was started guarded and follows nobody",
    ]),
    # A switchover was killed after its promotion, and the old primary woke up.
    ((promoted(2), primary(1, paused=True, offset=1056, good_replicas=0), replica(3, 2, replication_id=stream("b"), offset=1200), proxy(1)), [
        "critical several-primaries demo: keydb-2 and keydb-1 are primaries; keydb-2 is the rightful one; run rejoin",
        "critical paused keydb-1: holds all writes back: a run that died left that, or somebody paused it; run rejoin",
        "critical wrong-route proxy-1: sends writes to keydb-1, not to keydb-2 alone; run rejoin",
    ]),
    ((primary(1), UnreadProxy("proxy-1", "refused", NO_SOCKET)), [f"critical proxy-refused proxy-1: {NO_PROXY}"]),
    ((primary(1), proxy(1), UnreadProxy("proxy-2", "refused", NO_SOCKET)), [f"warning proxy-refused proxy-2: {NO_PROXY}"]),
    ((primary(1), silent_proxy()), ["warning proxy-no-socket proxy-1: has no runtime socket"]),
    ((orphan(1, 9, links=(broken(2),)), orphan(2)), [
        "critical no-primary demo: nobody takes writes; run failover",
        "warning chained keydb-1: follows keydb-2, which is a replica itself; run failover",
        "warning chained keydb-2: follows keydb-1, which is a replica itself; run failover",
        "warning link-down keydb-1: has no link to 10.0.0.2:6379",
        "warning link-down keydb-2: has no link to 10.0.0.1:6379",
    ]),
    ((primary(1), promoted(2), replica(3, 2, replication_id=stream("b"), offset=1200)), [
        "critical several-primaries demo: keydb-1 and keydb-2 are primaries; keydb-2 is the rightful one; run rejoin",
    ]),
    ((primary(1), primary(2)), ["critical several-primaries demo: keydb-1 and keydb-2 are primaries; the facts name no rightful one"]),
    ((primary(1, epoch=None, replication_id=stream("f")), orphan(2)), ["critical lost-history keydb-1: lacks the epoch and the history that keydb-2 has: it may have lost its data", "warning unrelated keydb-2: shares no known history with keydb-1: what it alone holds is unknown", "warning link-down keydb-2: has no link to 10.0.0.1:6379"]),
    ((primary(1, keys=0), replica(2)), ["critical empty-primary keydb-1: holds no keys, but keydb-2 do: it must be nobody's source"]),
    ((primary(1), guarded(2)), ["warning guarded keydb-2: was started guarded and follows nobody; run rejoin"]),
    ((primary(1), replica(2, links=(STRANGER,))), ["critical follows-stranger keydb-2: follows 192.0.2.9:6379, which is no node of this group; run rejoin"]),
    ((primary(1), replica(2), replica(3, 2)), ["warning chained keydb-3: follows keydb-2, which is a replica itself; run rejoin"]),
    ((promoted(2), primary(1), replica(3, 1)), [
        "critical several-primaries demo: keydb-2 and keydb-1 are primaries; keydb-2 is the rightful one; run rejoin",
        "warning follows-other keydb-3: follows keydb-1, not keydb-2; run rejoin",
    ]),
    ((promoted(2), silent(1), orphan(3)), [
        f"warning node-no-answer keydb-1: does not answer within 2 s; {HANGS}",
        "warning follows-other keydb-3: follows keydb-1, not keydb-2; run rejoin",
        "warning link-down keydb-3: has no link to 10.0.0.1:6379",
    ]),
    ((promoted(2), guarded(1, offset=2234)), [
        "warning guarded keydb-1: was started guarded and follows nobody; run rejoin",
        "warning diverged keydb-1: holds 1,234 bytes that keydb-2 never had",
    ]),
    ((promoted(2), guarded(1, replication_id=stream("f"))), [
        "warning guarded keydb-1: was started guarded and follows nobody; run rejoin",
        "warning unrelated keydb-1: shares no known history with keydb-2: what it alone holds is unknown",
    ]),
    ((primary(1), replica(2, links=(link(1, up=False, syncing=True),))), ["warning syncing keydb-2: is loading all data from 10.0.0.1:6379"]),
    ((primary(1, replicas=(Replica(address(2), online=True, offset=1000, lag_seconds=0),)), replica(2)), []),
    # KeyDB and Redis tell a replica the new name of its stream a moment late.
    ((primary(1), replica(2, replication_id=stream("f"))), []),
    ((primary(1), orphan(2)), ["warning link-down keydb-2: has no link to 10.0.0.1:6379"]),
    ((primary(1), replica(2, links=(link(1, last_io_seconds=9),))), ["warning link-silent keydb-2: heard of 10.0.0.1:6379 last: 9 s ago"]),
    ((primary(1), replica(2, links=(link(1, last_io_seconds=None),))), ["warning link-silent keydb-2: heard of 10.0.0.1:6379 last: unknown"]),
    ((orphan(2), silent(1)), [
        "critical no-primary demo: no node that answers is primary, and keydb-1 may be; run failover",
        f"warning node-no-answer keydb-1: does not answer within 2 s; {LOOK}",
        "warning link-down keydb-2: has no link to 10.0.0.1:6379",
    ]),
    ((promoted(2), orphan(1, 2, offset=2234)), [
        "warning diverged keydb-1: holds 1,234 bytes that keydb-2 never had",
        "warning link-down keydb-1: has no link to 10.0.0.2:6379",
    ]),
    ((promoted(2), primary(1, paused=True, offset=1056)), [
        "critical several-primaries demo: keydb-2 and keydb-1 are primaries; keydb-2 is the rightful one; run rejoin",
        "critical paused keydb-1: holds all writes back: a run that died left that, or somebody paused it; run rejoin",
    ]),
    ((primary(1), replica(2, loading=True)), ["warning loading keydb-2: is loading its data"]),
    ((primary(1), replica(2, read_only=False)), ["critical writable-replica keydb-2: is a replica that takes writes of its own; set replica-read-only yes"]),
    ((primary(1, replicas=(Replica(address(2), online=False, offset=0, lag_seconds=0),)), replica(2)), ["notice unsynced-replica keydb-1: has a replica at 10.0.0.2:6379 that is not in sync yet"]),
    ((primary(1, good_replicas=0), guarded(2)), [
        "critical no-good-replica keydb-1: refuses writes, since no replica hears it (min-replicas-to-write); run rejoin",
        "warning guarded keydb-2: was started guarded and follows nobody; run rejoin",
    ]),
    ((primary(1, good_replicas=0), stopped(2)), [
        "critical no-good-replica keydb-1: refuses writes, since no replica hears it (min-replicas-to-write); run start, then rejoin",
        f"warning node-refused keydb-2: {STOPPED}; run start, then rejoin",
    ]),
    # A proxy that leads nowhere because of that is no finding of its own.
    ((primary(1, good_replicas=0), stopped(2), proxy()), [
        "critical no-good-replica keydb-1: refuses writes, since no replica hears it (min-replicas-to-write); run start, then rejoin",
        f"warning node-refused keydb-2: {STOPPED}; run start, then rejoin",
    ]),
    ((primary(1, good_replicas=0), guarded(2), proxy(2)), [
        "critical no-good-replica keydb-1: refuses writes, since no replica hears it (min-replicas-to-write); run rejoin",
        "critical wrong-route proxy-1: sends writes to keydb-2, not to keydb-1 alone; run rejoin",
        "warning guarded keydb-2: was started guarded and follows nobody; run rejoin",
    ]),
    ((primary(1, good_replicas=1), replica(2), proxy()), ["critical wrong-route proxy-1: sends writes to nobody, not to keydb-1 alone; run rejoin"]),
    ((primary(1, paused=True), replica(2)), ["critical paused keydb-1: holds all writes back: a run that died left that, or somebody paused it; run abort"]),
    ((fenced(primary(1)), replica(2)), ["critical fenced keydb-1: is the primary and fenced: nobody can write; run unfence node=keydb-1, or switchover"]),
    ((primary(1), fenced(replica(2))), ["warning fenced keydb-2: is fenced: no verb makes it the primary until unfence node=keydb-2"]),
    ((primary(1), replica(2, config_clients=HELD)), ["warning fence-not-saved keydb-2: is not fenced, but its file says otherwise, for the next start; run unfence node=keydb-2"]),
    ((primary(1), replica(2, clients=HELD)), [
        "warning fenced keydb-2: is fenced: no verb makes it the primary until unfence node=keydb-2",
        "warning fence-not-saved keydb-2: is fenced, but its file says otherwise, for the next start; run fence node=keydb-2",
    ]),
    ((primary(1, clients=None), replica(2, config_clients=None)), []),
    ((primary(1), replica(2), proxy(2)), ["critical wrong-route proxy-1: sends writes to keydb-2, not to keydb-1 alone; run rejoin"]),
    ((primary(1), replica(2), proxy(1, 2)), ["critical wrong-route proxy-1: sends writes to keydb-1 and keydb-2, not to keydb-1 alone; run rejoin"]),
    ((primary(1), replica(2), proxy()), ["critical wrong-route proxy-1: sends writes to nobody, not to keydb-1 alone; run rejoin"]),
    ((primary(1, config_replicaof="10.0.0.2 6379"), replica(2, config_replicaof="10.0.0.1 6379")), ["warning not-saved keydb-1: runs with replicaof none, but its file says 10.0.0.2 6379"]),
    ((primary(1), replica(2, links=(link(1), link(3)), config_replicaof="10.0.0.1 6379")), ["critical multi-master keydb-2: replicates 2 primaries (multi-master); leave one with REPLICAOF REMOVE host port first"]),
    ((primary(1), replica(2, role=Role.ACTIVE_REPLICA), guarded(3)), [
        "critical active-replica keydb-2: runs in active-replica mode, where every node takes writes; set active-replica no and restart it first",
        "warning guarded keydb-3: was started guarded and follows nobody; run rejoin",
    ]),
    ((primary(1), silent(2, "sentinel-process"), silent(3)), [
        f"warning node-no-answer keydb-3: does not answer within 2 s; {LOOK}",
        "warning sentinel-process keydb-2: does not answer within 2 s; let keydb_port name the server that it watches",
    ]),
    ((primary(1), replica(2), service(1)), []),
    ((primary(1), replica(2), service(2, stragglers=("keydb-1",))), ["critical wrong-route keydb-write: sends writes to keydb-2, not to keydb-1 alone; run rejoin"]),
    ((primary(1), replica(2), service(None)), ["critical wrong-route keydb-write: sends writes to nobody, not to keydb-1 alone; run rejoin"]),
    ((primary(1), replica(2), service(1, stragglers=("keydb-2",))), ["critical stragglers keydb-2: still has clients from before keydb-write moved: they get -READONLY; run rejoin"]),
    ((orphan(2), service(2, stragglers=("keydb-2",))), ["critical no-primary demo: nobody takes writes; run failover", "critical follows-stranger keydb-2: follows 10.0.0.1:6379, which is no node of this group; run failover", "warning link-down keydb-2: has no link to 10.0.0.1:6379"]),
    ((primary(1), replica(2), silent_service()), ["warning service-unread keydb-write: context c of k lacks a right (RBAC): services is forbidden; where it sends writes is unknown"]),
    ((primary(1, config_replicaof=None), replica(2, config_replicaof="")), ["warning not-saved keydb-2: runs with replicaof 10.0.0.1 6379, but its file says none"]),
    ((primary(1, config_replicaof=""), replica(2, config_replicaof="")), ["warning not-saved keydb-2: runs with replicaof 10.0.0.1 6379, but its file says none"]),
]  # fmt: skip


def told(topology):
    return [
        f"{finding.severity.value} {finding.code} {finding.where}: {finding.sentence}" for finding in find(topology)
    ]


@pytest.mark.parametrize("members, expected", CASES)
def test_all_that_is_wrong_is_told_and_nothing_else(members, expected):
    assert told(group(*members)) == expected


NOBODY = "critical no-proxy demo: clients come through proxies, and there is none: nobody reaches it; run install"


def test_without_any_proxy_nobody_reaches_the_primary_where_clients_come_through_some():
    assert told(group(primary(1), replica(2), behind_proxies=True)) == [NOBODY]
    assert told(group(primary(1), replica(2), proxy(1, nodes=2), behind_proxies=True)) == []
    assert "no-proxy" not in str(told(group(primary(1), replica(2), silent_proxy(), behind_proxies=True)))


def test_every_finding_that_can_be_told_has_a_case():
    cases = {line.split()[1] for _, expected in (*CASES, ((), [NOBODY])) for line in expected}
    missing = {
        code for code in codes("Finding", "findings") if not any(case.startswith(code.rstrip("*")) for case in cases)
    }
    assert missing == set()


def test_findings_come_worst_first():
    order = list(Severity)
    seen = group(primary(1, paused=True), silent(2), replica(3, loading=True, read_only=False), proxy(3))
    ranks = [order.index(finding.severity) for finding in find(seen)]
    assert ranks == sorted(ranks) and len(set(ranks)) > 1


def test_a_guarded_node_is_not_told_that_its_file_says_something_else():
    assert "not-saved" not in " ".join(told(group(primary(1), guarded(2, config_replicaof=""))))


def test_what_cannot_be_read_of_a_file_is_no_finding():
    assert told(group(primary(1, config_replicaof=None), replica(2, config_replicaof=None))) == []


def test_a_sibling_that_was_read_later_and_is_further_has_not_diverged():
    assert told(group(primary(1), replica(2, offset=1040))) == []


def test_while_a_node_cannot_be_read_nobody_claims_that_nobody_takes_writes():
    assert "nobody takes writes" not in " ".join(told(group(orphan(2), silent(1))))


def test_nobody_claims_that_nobody_takes_writes_where_every_node_does():
    pair = group(replica(1, 2, role=Role.ACTIVE_REPLICA), replica(2, 1, role=Role.ACTIVE_REPLICA))
    assert "nobody takes writes" not in " ".join(told(pair))


OLD, NEW = primary(1, epoch=1), promoted(2)

# (primaries, name of the rightful one)
RIGHTFUL = [
    ((), None),
    ((OLD,), "keydb-1"),
    ((OLD, NEW), "keydb-2"),
    ((NEW, OLD), "keydb-2"),
    ((replace(OLD, epoch=None), replace(NEW, epoch=None)), "keydb-2"),  # lineage alone
    ((replace(OLD, epoch=2), NEW), None),  # promoted, and not counted: by no verb, perhaps by mistake
    ((replace(OLD, epoch=2, paused=None), NEW), None),
    ((replace(OLD, epoch=2, paused=True), NEW), None),  # anybody may have paused it
    ((replace(OLD, epoch=3), NEW), None),  # lineage and epoch disagree
    ((primary(1, epoch=4), primary(2, epoch=5)), "keydb-2"),  # epoch alone
    ((primary(1, epoch=5), primary(2, epoch=5)), None),
    ((primary(1, epoch=None), primary(2, epoch=5)), None),  # a missing epoch is unknown, not 0
    ((primary(1, epoch=None), primary(2, epoch=None)), None),
    ((OLD, NEW, primary(3, replication_id=stream("c"), previous_replication_id=stream("b"), epoch=3)), "keydb-3"),
    ((OLD, NEW, primary(3, replication_id=stream("c"), epoch=None)), None),
    ((primary(1, epoch=0), primary(2, epoch=0)), None),  # 0 is an epoch like any other
    ((primary(1, epoch=0), primary(2, epoch=1)), "keydb-2"),
    ((replace(OLD, epoch=0), replace(NEW, epoch=0)), None),
    ((replace(OLD, epoch=0, paused=True), replace(NEW, epoch=0)), None),
    ((replace(OLD, epoch=1), replace(NEW, epoch=0)), None),
]


@pytest.mark.parametrize("primaries, name", RIGHTFUL)
def test_the_rightful_primary_is_the_one_that_took_over_from_all_others(primaries, name):
    rightful = group(*primaries, replica(9)).rightful_primary()
    assert (rightful.name if rightful else None) == name


@pytest.mark.parametrize("newer, older, holds", [(1, 2, False), (0, 1, False), (2, 1, True), (1, 1, False)])
def test_whoever_was_promoted_earlier_supersedes_nobody_though_its_lineage_says_so(newer, older, holds):
    assert supersedes(promoted(2, epoch=newer), primary(1, epoch=older, paused=True)) is holds


@pytest.mark.parametrize("one", [OLD, NEW, primary(3, epoch=7), primary(4, epoch=None)])
@pytest.mark.parametrize("other", [OLD, NEW, primary(3, epoch=7), primary(4, epoch=None)])
def test_two_primaries_never_supersede_each_other(one, other):
    assert not (supersedes(one, other) and supersedes(other, one))


def test_names_are_those_of_all_nodes_in_order():
    assert group(primary(3), silent(1), replica(2)).names == ("keydb-1", "keydb-2", "keydb-3")


def test_the_highest_epoch_counts_and_nobodys_is_none():
    assert group(primary(1, epoch=3), primary(2, epoch=None)).highest_epoch() == 3
    assert group(primary(1, epoch=None)).highest_epoch() == 0


@pytest.mark.parametrize(
    "link_1, link_3, lost",
    [
        (link(2), link(1), 0),
        (link(2, up=False), link(1), 20),
        (link(2), link(1, up=False), 20),
        (link(9), link(1), 20),
        (link(3), link(1), 20),
    ],
)
def test_what_comes_through_another_replica_was_only_read_later(link_1, link_3, lost):
    chained = replica(3, links=(link_3,), offset=1020)
    seen = group(primary(2), replica(1, links=(link_1,)), chained)
    assert seen.relation(chained, seen.primaries[0]).lost_bytes == lost


def test_who_went_on_in_spite_of_a_promotion_that_nobody_saw_is_not_superseded_by_it():
    """Nor the other way round: only a person can tell which of the two has more to lose."""
    went_on, promoted_unseen = primary(1, epoch=3), promoted(2, epoch=2)
    assert not supersedes(promoted_unseen, went_on)
    assert not supersedes(went_on, promoted_unseen)

"""The table of faults in the middle of the verbs that move no role by themselves, or for another end.

They have one of their own, since more is looked at: a backup is whole or none, what a restore replaced is saved,
old and new passwords log in as long as they should, and a node that joins or leaves is known or gone everywhere.
"""

from __future__ import annotations

import redis
from disturbing import OF_PROXIES, disturbed, is_whole, operators_passwords
from kit import NODES, WRITES_PER_SECOND, Sandbox, writing
from moments import Moment
from pairs import Row
from tables import Table
from verbs import OTHERS, VERBS, Verb, places_of

PROMOTE = (
    "target: CONFIG SET min-replicas-to-write 0 + REPLICAOF NO ONE + SET runbook:epoch"
    " + CONFIG SET min-replicas-to-write 1 #1"
)
RESTORED = (
    "target: CONFIG SET min-replicas-to-write 0 + REPLICAOF NO ONE + SET runbook:epoch + SET runbook:restored"
    " + CONFIG SET min-replicas-to-write 1 #1"
)
STARTED = "sibling: sh ... server sibling/keydb.conf --set-proc-title no #1"
PROXY_STARTED = "proxy: sh ... haproxy -D -f proxy/haproxy.cfg #1"
PROXY_WRITTEN = "proxy: sh ... proxy/haproxy.cfg.new proxy/haproxy.cfg #1"
FORGOTTEN = "primary: sh ... primary/keydb.conf primary/monitoring.auth primary/operator.auth #1"

MOMENTS = {
    "start": {
        "before": Moment(STARTED, "before"),
        "within": Moment(STARTED, "answered"),
        "behind": Moment(PROXY_STARTED, "answered"),
    },
    "upgrade": {
        "before": Moment("target: REPLICAOF primary + CONFIG REWRITE #1", "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #2", "before"),
    },
    "add-node": {
        "before": Moment("sibling: sh mkdir -p sibling/data #1", "before"),
        "within": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "answered"),
        "behind": Moment(PROXY_WRITTEN, "before"),
    },
    "remove-node": {
        "before": Moment(PROXY_WRITTEN, "before"),
        "within": Moment("sibling: BGSAVE #1", "answered"),
        "behind": Moment("primary: sh ... primary/boot-guard.env.new primary/boot-guard.env #1", "before"),
    },
    "backup": {
        "before": Moment("sibling: BGSAVE #1", "before"),
        "within": Moment("sibling: BGSAVE #1", "answered"),
        "behind": Moment("sibling: sh ... sibling/data/backup-sibling-<when>.rdb 0 #1", "answered"),
    },
    "restore": {
        "before": Moment("target: REPLICAOF second-server #1", "before"),
        "within": Moment(RESTORED, "before"),
        "behind": Moment("sibling: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "rotate": {
        "before": Moment("target: ACL #1", "before"),
        "within": Moment("target: CONFIG SET masterauth #1", "before"),
        "behind": Moment(PROXY_STARTED, "answered"),
    },
    "rotate-finish": {
        "before": Moment("target: ACL #1", "before"),
        "within": Moment("target: ACL #3", "answered"),
        "behind": Moment(FORGOTTEN, "before"),
    },
}
DEAD = {
    ("start", "before"): ("sibling", "proxy"),
    ("start", "within"): ("proxy",),
    ("add-node", "before"): ("sibling",),
    ("remove-node", "behind"): ("sibling",),
}
"""Who doesn't run at a moment, not yet or no more: nothing but the way to it can go wrong."""

OF_NETWORK = ("cut off", "slow")

OLD_PROXY_SECONDS = 40
"""A connection that is older than a reload stays with HAProxy's old process, which ends behind 30 s (docs/members.md)."""


def possible(row: Row) -> bool:
    verb, where, fault, moment = row
    if where in DEAD.get((verb, moment), ()):
        return fault in OF_NETWORK
    return where != "proxy" or fault in OF_PROXIES


def verb_of(row: Row) -> Verb:
    return {**VERBS, **OTHERS}[row[0]]


def writers_at_once(group: Sandbox) -> list[str]:
    """The servers that take writes for all they know: primaries in which nobody holds them back."""
    return [node for node in NODES if group.pid(node) and is_open(group, node)]


def is_open(group: Sandbox, node: str) -> bool:
    for password in operators_passwords(group):
        client = group.client(node)
        client.connection_pool.connection_kwargs["password"] = password
        try:
            is_primary = client.info("replication")["role"] == "master"
            if is_primary:
                client.pfcount("runbook:probe:none")
            return bool(is_primary)
        except redis.AuthenticationError:
            continue
        except redis.TimeoutError:
            return False
        finally:
            client.connection_pool.disconnect()
    raise AssertionError(f"{node} takes no password of the operator")


def disturb(group: Sandbox, row: Row) -> None:
    verb, (name, where, fault, moment) = verb_of(row), row
    verb.before(group)
    with writing(group, 50 if verb.slowly else WRITES_PER_SECOND) as writer:
        world = verb.world(group, places_of(group))
        result, person = disturbed(group, verb.deploy, world, MOMENTS[name][moment], where, fault)
        verb.always(group, world)
        assert len(writers_at_once(group)) <= 1, result.text
        person.insist(verb.deploy, world.data)
        behind = verb.behind(world)
        if not behind:
            person.insist("rejoin", {})
        verb.kept(group, world)
        for deploy, data in (*behind, ("rejoin", {})):
            person.insist(deploy, data)
        is_whole(group, writer, world, person, OLD_PROXY_SECONDS)


TABLE = Table(MOMENTS, possible, disturb)

"""The table of faults in the middle of the verbs that move a role, guard it or bring nodes back to it."""

from __future__ import annotations

from disturbing import OF_PROXIES, disturbed, is_whole
from kit import WRITES_PER_SECOND, Sandbox, writing
from moments import Moment
from pairs import Row
from tables import Table
from verbs import VERBS, places_of

PROMOTE = (
    "target: CONFIG SET min-replicas-to-write 0 + REPLICAOF NO ONE + SET runbook:epoch"
    " + CONFIG SET min-replicas-to-write 1 #1"
)
GUARD = "primary: CONFIG SET replica-read-only yes + REPLICAOF 255.255.255.255 1 + CONFIG REWRITE #1"
TRIAL = "primary: SET runbook:verify + EVAL return 1 0 #1"

MOMENTS = {
    "switchover": {
        "before": Moment("primary: CLIENT PAUSE 1500 WRITE #1", "before"),
        "within": Moment("primary: CLIENT PAUSE 1000000000000 WRITE #1", "answered"),
        "behind": Moment(PROMOTE, "answered"),
    },
    "failover": {
        "before": Moment(PROMOTE, "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("sibling: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "failover-empty": {
        "before": Moment("primary: CLIENT PAUSE 1000000000000 WRITE #1", "before"),
        "within": Moment(PROMOTE, "before"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "rejoin": {
        "before": Moment("primary: CLIENT UNPAUSE #1", "before"),
        "within": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "before"),
        "behind": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "answered"),
    },
    "rejoin-diverged": {
        "before": Moment("sibling: BGSAVE #1", "before"),
        "within": Moment("sibling: BGSAVE #1", "answered"),
        "behind": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "answered"),
    },
    "rejoin-two-primaries": {
        "before": Moment(GUARD, "before"),
        "within": Moment("primary: BGSAVE #1", "answered"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "promote": {
        "before": Moment(PROMOTE, "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("target: CONFIG REWRITE #1", "answered"),
    },
    "demote": {
        "before": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "before"),
        "within": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "answered"),
        "behind": Moment("primary: CLIENT UNPAUSE #1", "answered"),
    },
    "demote-alone": {
        "before": Moment(GUARD, "before"),
        "within": Moment(GUARD, "answered"),
        "behind": Moment("primary: INFO #3", "answered"),
    },
    "restart": {
        "before": Moment("target: REPLICAOF primary + CONFIG REWRITE #1", "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #2", "before"),
    },
    "fence": {
        "before": Moment("primary: ACL + CONFIG REWRITE #1", "before"),
        "within": Moment("primary: ACL + CONFIG REWRITE #1", "answered"),
        "behind": Moment(TRIAL, "answered"),
    },
    "unfence": {
        "before": Moment("primary: ACL + CONFIG REWRITE #1", "before"),
        "within": Moment("primary: ACL + CONFIG REWRITE #1", "answered"),
        "behind": Moment(TRIAL, "answered"),
    },
    "abort": {
        "before": Moment("primary: CLIENT UNPAUSE #1", "before"),
        "within": Moment("primary: CLIENT UNPAUSE #1", "answered"),
        "behind": Moment("proxy: SET runbook:verify #1", "answered"),
    },
}
DEAD = {"failover": ("primary",), "promote": ("primary",), "demote-alone": ("target", "sibling")}
"""Who is dead already in the world that a verb finds."""


STAYS = ("promote", "demote", "restart", "fence", "unfence")
"""Whose promise still holds when everybody is back, unless the fault itself moved the role."""


def possible(row: Row) -> bool:
    verb, where, fault, _ = row
    if where == "proxy":
        return fault in OF_PROXIES
    return where not in DEAD.get(verb, ())


def disturb(group: Sandbox, row: Row) -> None:
    name, where, fault, moment = row
    verb = VERBS[name]
    with writing(group, 50 if verb.slowly else WRITES_PER_SECOND) as writer:
        world = verb.world(group, places_of(group))
        _, person = disturbed(group, verb.deploy, world, MOMENTS[name][moment], where, fault)
        for deploy, _ in verb.behind(world):
            if deploy == "start":
                group.run("start").ok()
        person.finish(verb.deploy, world.data)
        if name in STAYS and group.primaries() == [world.primary]:
            verb.kept(group, world)
        for deploy, data in verb.behind(world):
            if deploy == "unfence":
                person.run(deploy, **data).ok()
        is_whole(group, writer, world, person, 20)


TABLE = Table(MOMENTS, possible, disturb)

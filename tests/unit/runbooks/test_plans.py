"""Whole plans and some refusals, word for word: plans.yaml beside this file is what a person gets to read.

After a change that is meant: ``python tests/unit/runbooks/test_plans.py`` writes it anew; read the difference.
"""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from worlds import (
    GOOD,
    ROOMY,
    fenced,
    group,
    guarded,
    orphan,
    primary,
    promoted,
    proxy,
    replica,
    service,
    silent,
    silent_proxy,
    stream,
    virgin,
)

from keydb_runbooks.runbooks import (
    abort,
    backup,
    demote,
    failover,
    fence,
    founding,
    promote,
    rejoin,
    restart,
    restore,
    switchover,
    unfence,
    upgrade,
)
from keydb_runbooks.runbooks.grounds import Evidence, Place
from keydb_runbooks.runbooks.plan import Plan, Refusal, Request, Since
from keydb_runbooks.runbooks.restore import Held, Source
from keydb_runbooks.runbooks.shelf import Backup, Shelf
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.upgrade import Program
from keydb_runbooks.runbooks.verified import Check, truths, verify

PAGE = Path(__file__).with_name("plans.yaml")
TO_2, NODE_1, NODE_2 = Request(to="keydb-2"), Request(node="keydb-1"), Request(node="keydb-2")
FULL = replace(GOOD, saved=False, dumped=False)
LACKING, CLOSE = replace(GOOD, behind_bytes=50), replace(GOOD, behind_bytes=0)
SOURCE = Source("demo.rdb", "5" * 64, 1000, 50, "keydb", "6.3.4", "2026-01-02T03:04:05Z")
GONE = silent(1, "refused", stopped=True)
SINCE = Request(since=Since(1000.0, "2026-01-02T03:04:05Z"))
AGED = replace(GOOD, uptime_seconds=990, began_seconds=10.0)
NEW = {f"keydb-{number}": Program("/opt/keydb-server", "keydb", "6.3.5", 9, 9) for number in (1, 2)}
OUTDATED = frozenset({"keydb-3"})

CASES = {
    "abort": (abort, group(primary(1, paused=True), replica(2), orphan(3, 2), proxy(1)), Request()),
    "backup": (backup, group(primary(1), replica(2), replica(3), proxy(1)), Request(keep=1, keep_days=30)),
    "backup, of the primary": (backup, group(primary(1), replica(2), proxy(1)), NODE_1),
    "demote, guarded": (demote, group(primary(1), silent(2, stopped=True), proxy(1)), NODE_1),
    "demote, beside another": (demote, group(primary(1, epoch=1), promoted(2, epoch=2), replica(3, 2), proxy(2)), NODE_1),
    "failover": (failover, group(GONE, orphan(2, round_trip_seconds=0.1), orphan(3, machine=replace(ROOMY, disk_free=ROOMY.disk_size)), proxy(), silent_proxy(2)), Request(allow_unread=frozenset({"proxy-2"}))),
    "failover, the last node": (failover, group(GONE, orphan(2), silent(3, "refused", stopped=True), proxy()), Request()),
    "failover, a split accepted": (failover, group(silent(1), orphan(2), orphan(3), proxy()), Request(accept_split=True)),
    "failover, a loss accepted": (failover, group(GONE, orphan(2), orphan(3, offset=1500), proxy()), Request(to="keydb-2", accept_loss=frozenset({"keydb-3"}))),
    "failover, three losses accepted": (failover, group(GONE, orphan(2), orphan(3, replication_id=stream("d")), orphan(4, offset=1500), orphan(5, replication_id=stream("f")), proxy(nodes=5)), Request(to="keydb-2", accept_loss=frozenset({"keydb-3", "keydb-4", "keydb-5"}))),
    "failover, an empty replica": (failover, group(GONE, orphan(2), orphan(3, replication_id=stream("d"), keys=0), proxy()), Request()),
    "failover, an empty primary": (failover, group(primary(1, keys=0, epoch=None, replication_id=stream("e"), offset=0), orphan(2, epoch=1), orphan(3, epoch=1), proxy(1)), Request()),
    "failover, warned": (failover, group(GONE, orphan(2), orphan(3, version="6.2.9"), orphan(4, loading=True, engine="redis"), proxy(nodes=4)), Request(to="keydb-2", accept_loss=frozenset({"keydb-4"}))),
    "failover, refused by a check": (failover, group(GONE, orphan(2, condition=FULL), orphan(3, version="6.2.9", condition=FULL), silent(4), proxy(nodes=4), clients_only_through_proxies=True), Request()),
    "failover, refused for who lacks data": (failover, group(GONE, orphan(2), orphan(3, offset=1500), proxy()), TO_2),
    "failover, refused for who answers": (failover, group(primary(1), replica(2), silent(3), proxy(1)), TO_2),
    "fence": (fence, group(primary(1), replica(2), proxy(1)), NODE_1),
    "fence, little known": (fence, group(primary(1, config_replicaof=None, paused=None), silent(2), silent_proxy()), NODE_1),
    "founding": (founding, group(virgin(1), virgin(2), proxy(1)), None),
    "promote": (promote, group(guarded(1), guarded(2), guarded(3), proxy()), TO_2),
    "promote, the last node": (promote, group(GONE, orphan(2), silent(3, "refused", stopped=True), proxy()), TO_2),
    "promote, the rest of one": (promote, group(guarded(1), promoted(2, ancestors=(), config_replicaof="255.255.255.255 1"), guarded(3)), TO_2),
    "rejoin": (rejoin, group(primary(1), replica(2), orphan(3, of=2), proxy(2)), Request()),
    "rejoin, a loss accepted": (rejoin, group(promoted(2), guarded(1, offset=1002), replica(3, 2), proxy(2)), Request(accept_loss=frozenset({"keydb-1"}))),
    "restart": (restart, group(primary(1, condition=AGED), replica(2, condition=AGED), replica(3, condition=AGED), proxy(1)), SINCE),
    "restart, two nodes with an AOF": (restart, group(primary(1, condition=replace(AGED, aof=True)), replica(2, condition=replace(AGED, aof=True)), proxy(1, nodes=2)), SINCE),
    "restart, the only node": (restart, group(primary(1, condition=replace(AGED, saves=False)), proxy(1, nodes=1)), SINCE),
    "restart, behind a run that died": (restart, group(primary(1, condition=AGED, paused=True, config_replicaof="10.0.0.2 6379"), replica(2, condition=AGED, paused=True, config_replicaof=""), guarded(3, condition=AGED, paused=True), proxy(1)), SINCE),
    "restore": (restore, group(primary(1), replica(2), replica(3), proxy(1)), Request(accept_replace=True)),
    "restore, by the primary itself": (restore, group(primary(1), orphan(2), proxy(1)), Request(accept_replace=True)),
    "restore, into an empty group": (restore, group(virgin(1), virgin(2), virgin(3), proxy()), Request()),
    "restore, refused for its keys": (restore, group(primary(1), replica(2), proxy(1)), Request()),
    "switchover": (switchover, group(primary(1), replica(2), replica(3), proxy(1)), TO_2),
    "switchover, looked at twice": (switchover, group(primary(1), replica(2, condition=LACKING), replica(3, offset=990, condition=CLOSE), proxy(1)), Request()),
    "switchover, refused for everybody": (switchover, group(primary(1), replica(2, condition=replace(LACKING, saved=False, dumped=False)), replica(3, offset=990, condition=replace(CLOSE, saved=False, dumped=False)), proxy(1)), Request()),
    "switchover, refused by a check": (switchover, group(primary(1), replica(2, condition=FULL), replica(3), proxy(1)), TO_2),
    "switchover, a fenced primary": (switchover, group(fenced(primary(1)), replica(2), orphan(3, 2), proxy(1)), TO_2),
    "unfence": (unfence, group(fenced(primary(1)), replica(2), proxy(1)), NODE_1),
    "unfence, a replica": (unfence, group(primary(1), fenced(replica(2)), proxy(1)), NODE_2),
    "upgrade": (lambda *asked: upgrade.planned(NEW)(*asked), group(primary(1), replica(2), proxy(1, nodes=2)), Request()),
    "upgrade, the only node": (lambda *asked: upgrade.planned(NEW)(*asked), group(primary(1, condition=AGED), proxy(1, nodes=1)), Request()),
    "upgrade, of a pod": (lambda *asked: upgrade.of_pods(OUTDATED)(*asked), group(primary(1), replica(2), replica(3), service(1)), Request()),
}  # fmt: skip


def told(name: str) -> dict[str, object]:
    """An answer as plain values; of a plan also what would be told if nothing of it were carried out."""
    module, topology, request = CASES[name]
    if module is founding:
        answer = founding.plan(topology, "keydb-1", min_replicas=1)
    elif module is backup:
        answer = backup.plan(
            topology, request, 1, Shelf("backups", (Backup("demo-20260101T000000Z-from-keydb-2", 31.0),))
        )
    elif module is restore:
        held = {node.name: Held(node.keys, None, None) for node in topology.nodes}
        answer = restore.plan(topology, request, 1, SOURCE, held, "keydb-1")
    else:
        answer = (module if callable(module) else module.plan)(topology, request, 1)
    assert isinstance(answer, Plan) is ("refused" not in name), f"{name}: {answer}"
    grounds = {
        "evidence": [_plain(item) for item in answer.evidence],
        "ranking": [_plain(place) for place in answer.ranking],
    }
    if isinstance(answer, Refusal):
        return {"refused": str(answer).splitlines(), **grounds}
    return {**_told_of(answer), **grounds, **_seen_afterwards(answer, topology)}


def _told_of(plan: Plan) -> dict[str, object]:
    words = ("verb", "group", "primary", "former", "node", "about", "afterwards", "gap", "proof")
    return {
        **{word: getattr(plan, word) for word in words},
        "loss": str(plan.loss),
        "warnings": list(plan.warnings),
        "needs": list(plan.needs),
        "steps": [_step(step) for step in plan.steps],
        "undo": [_step(step) for step in plan.undo],
    }


def _seen_afterwards(plan: Plan, topology: Topology) -> dict[str, object]:
    seen = verify(plan, topology)
    return {
        "now": list(truths(topology)),
        "verified": [_check(check) for check in seen.verified],
        "not verified": [_check(check) for check in seen.not_verified],
        "wrong": list(seen.wrong),
    }


def _check(check: Check) -> str:
    return f"{check.where}: {check.what}: {check.told}"


def _plain(item: Evidence | Place) -> str:
    return " | ".join(str(getattr(value, "value", value)) for value in asdict(item).values())


def _step(step) -> str:
    return f"{step.where}: {step.sentence}{''.join(f' | {chr(32).join(command)}' for command in step.commands)}"


@pytest.mark.parametrize("name", CASES)
def test_an_answer_is_told_word_for_word(name):
    assert told(name) == yaml.safe_load(PAGE.read_text())[name]


if __name__ == "__main__":
    PAGE.write_text(
        yaml.safe_dump({name: told(name) for name in CASES}, sort_keys=False, width=120, allow_unicode=True)
    )

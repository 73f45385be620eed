"""Whole plans, one of each kind, word for word: plans.yaml beside this file is what a person gets to read before agreeing.

After a change that is meant: ``python tests/unit/runbooks/test_plans.py`` writes it anew; read the difference.
"""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from worlds import (
    fenced,
    group,
    guarded,
    orphan,
    primary,
    promoted,
    proxy,
    replica,
    silent,
    silent_proxy,
    stream,
    virgin,
)

from keydb_runbooks.runbooks import abort, demote, failover, fence, founding, promote, rejoin, switchover, unfence
from keydb_runbooks.runbooks.plan import Plan, Request
from keydb_runbooks.runbooks.verified import truths, verify

PAGE = Path(__file__).with_name("plans.yaml")
TO_2, NODE_1, NODE_2 = Request(to="keydb-2"), Request(node="keydb-1"), Request(node="keydb-2")
GONE = silent(1, "refused", stopped=True)

CASES = {
    "abort": (abort, group(primary(1, paused=True), replica(2), orphan(3, 2), proxy(1)), Request()),
    "demote, guarded": (demote, group(primary(1), silent(2, stopped=True), proxy(1)), NODE_1),
    "demote, beside another": (demote, group(primary(1, epoch=1), promoted(2, epoch=2), replica(3, 2), proxy(2)), NODE_1),
    "failover": (failover, group(GONE, orphan(2), orphan(3), proxy(), silent_proxy(2)), Request(allow_unread=frozenset({"proxy-2"}))),
    "failover, the last node": (failover, group(GONE, orphan(2), silent(3, "refused", stopped=True), proxy()), Request()),
    "failover, a split accepted": (failover, group(silent(1), orphan(2), orphan(3), proxy()), Request(accept_split=True)),
    "failover, a loss accepted": (failover, group(GONE, orphan(2), orphan(3, offset=1500), proxy()), Request(to="keydb-2", accept_loss=frozenset({"keydb-3"}))),
    "failover, two losses accepted": (failover, group(GONE, orphan(2), orphan(3, offset=1500), orphan(4, replication_id=stream("d")), proxy(nodes=4)), Request(to="keydb-2", accept_loss=frozenset({"keydb-3", "keydb-4"}))),
    "failover, an empty replica": (failover, group(GONE, orphan(2), orphan(3, replication_id=stream("d"), keys=0), proxy()), Request()),
    "failover, an empty primary": (failover, group(primary(1, keys=0, epoch=None, replication_id=stream("e"), offset=0), orphan(2, epoch=1), orphan(3, epoch=1), proxy(1)), Request()),
    "fence": (fence, group(primary(1), replica(2), proxy(1)), NODE_1),
    "fence, little known": (fence, group(primary(1, config_replicaof=None, paused=None), silent(2), silent_proxy()), NODE_1),
    "founding": (founding, group(virgin(1), virgin(2), proxy(1)), None),
    "promote": (promote, group(guarded(1), guarded(2), guarded(3), proxy()), TO_2),
    "promote, the last node": (promote, group(GONE, orphan(2), silent(3, "refused", stopped=True), proxy()), TO_2),
    "promote, the rest of one": (promote, group(guarded(1), promoted(2, ancestors=(), config_replicaof="255.255.255.255 1"), guarded(3)), TO_2),
    "rejoin": (rejoin, group(primary(1), replica(2), orphan(3, of=2), proxy(2)), Request()),
    "rejoin, a loss accepted": (rejoin, group(promoted(2), guarded(1, offset=1002), replica(3, 2), proxy(2)), Request(accept_loss=frozenset({"keydb-1"}))),
    "switchover": (switchover, group(primary(1), replica(2), replica(3), proxy(1)), TO_2),
    "switchover, a fenced primary": (switchover, group(fenced(primary(1)), replica(2), orphan(3, 2), proxy(1)), TO_2),
    "unfence": (unfence, group(fenced(primary(1)), replica(2), proxy(1)), NODE_1),
    "unfence, a replica": (unfence, group(primary(1), fenced(replica(2)), proxy(1)), NODE_2),
}  # fmt: skip


def planned(name: str) -> Plan:
    module, topology, request = CASES[name]
    if module is founding:
        answer = founding.plan(topology, "keydb-1", min_replicas=1)
    else:
        answer = module.plan(topology, request, 1)
    assert isinstance(answer, Plan), f"{name}: {answer}"
    return answer


def told(name: str) -> dict[str, object]:
    """A plan as plain values, and what would be told if nothing of it were carried out."""
    plan = planned(name)
    seen = verify(plan, CASES[name][1])
    return {
        **{
            field: getattr(plan, field)
            for field in ("verb", "group", "primary", "former", "node", "about", "afterwards")
        },
        **{field: getattr(plan, field) for field in ("gap", "proof")},
        "loss": str(plan.loss),
        **{field: list(getattr(plan, field)) for field in ("warnings", "needs")},
        "steps": [_step(step) for step in plan.steps],
        "undo": [_step(step) for step in plan.undo],
        "ranking": [str(asdict(place)) for place in plan.ranking],
        "now": list(truths(CASES[name][1])),
        "verified": [f"{check.where}: {check.what}: {check.told}" for check in seen.verified],
        "not verified": [f"{check.where}: {check.what}: {check.told}" for check in seen.not_verified],
        "wrong": list(seen.wrong),
    }


def _step(step) -> str:
    return f"{step.where}: {step.sentence}{''.join(f' | {chr(32).join(command)}' for command in step.commands)}"


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_told_word_for_word(name):
    assert told(name) == yaml.safe_load(PAGE.read_text())[name]


if __name__ == "__main__":
    PAGE.write_text(
        yaml.safe_dump({name: told(name) for name in CASES}, sort_keys=False, width=120, allow_unicode=True)
    )

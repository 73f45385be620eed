"""Pods made anew: what of who ran there before is proved, and what is refused since nothing tells."""

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from worlds import group, guarded, link, orphan, primary, proxy, replica, service, silent

from keydb_runbooks.runbooks import failover, promote, restore
from keydb_runbooks.runbooks.anew import ENDED, WORD, anew_from_pod, formers, was_told, word_of_end
from keydb_runbooks.runbooks.findings import find
from keydb_runbooks.runbooks.plan import Plan, Refusal, Request
from keydb_runbooks.runbooks.replication import Anew, Replica
from keydb_runbooks.runbooks.silence import Proof, prove_silence

MADE = "2026-11-30T12:00:00Z"
NEVER = Anew(MADE, "was never ready since", ours=True)
FOREIGN = Anew(MADE, "was never ready since")
NEW = guarded(1, anew=NEVER)
SPLIT = Request(accept_split=True)
TOLD = (
    "pod keydb-1 was made at 2026-11-30T12:00:00Z and was never ready since: "
    "nothing tells whether the server that ran before it has ended"
)


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def later(after: float) -> str:
    return datetime.fromtimestamp(seconds(MADE) + after, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(ready: str = "False", moved: float = 0, *, ours: bool = True, **changes) -> dict:
    """A pod as the API server tells of it: whether it is ready, and since when, in seconds behind its first moment."""
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": MADE},
        {"type": "Initialized", "status": "True", "lastTransitionTime": MADE},
        {"type": "Ready", "status": ready, "lastTransitionTime": later(moved)},
    ]
    labels = {"app.kubernetes.io/managed-by": "keydb-runbooks"} if ours else None
    whole = {
        "metadata": {"creationTimestamp": MADE, "labels": labels},
        "status": {"conditions": conditions},
    }
    return {**whole, **changes}


# (the pod, what it leaves open)
PODS = [
    (pod("True", 8), None),
    (pod("True", 0), None),
    # It was ready and is no more: the server that is gone was its own.
    (pod("False", 3), None),
    # Told in whole seconds: these may be one moment.
    (pod("False", 2), NEVER),
    (pod("False", 0), NEVER),
    (pod("False", 0, ours=False), FOREIGN),
    (pod(status={}), NEVER),
    (pod(status={"conditions": pod()["status"]["conditions"][:2]}), NEVER),
    (pod(status={"conditions": pod("True")["status"]["conditions"][2:]}), NEVER),
    (pod(metadata={}, status={}), Anew("", "was never ready since")),
    (pod(status={"conditions": [{"type": "Ready", "status": "False"}, {"type": "Initialized"}]}), NEVER),
    (pod("True", 8, ours=False), Anew(MADE, "", 90.0)),
    (pod("True", 8, metadata={"labels": {}}), Anew("", "is of an unknown age")),
]


@pytest.mark.parametrize("seen, anew", PODS)
def test_what_a_pod_leaves_open_of_the_one_before_it(seen, anew):
    assert anew_from_pod(seen, seconds(later(90)), seconds) == anew


def test_an_age_that_is_not_known_is_unknown():
    assert anew_from_pod(pod("True", 8, ours=False), None, seconds) == Anew(MADE, "is of an unknown age")


TERMINATED = {"reason": "OOMKilled", "exitCode": 137}
BACKING_OFF = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": TERMINATED}}
LOST_SIGHT_OF = {**BACKING_OFF, "lastState": {"terminated": {"reason": "ContainerStatusUnknown"}}}


def waiting(*containers: dict, was_ready: bool = False, word: str = "", ours: bool = True, **metadata) -> dict:
    """A pod whose containers are so, and that was ready since it was made, or never."""
    made = pod("False", 3 if was_ready else 0, ours=ours)
    made["metadata"] |= {"uid": "first", **({"annotations": {WORD: word}} if word else {}), **metadata}
    made["status"]["containerStatuses"] = list(containers)
    return made


# (the pod that is deleted, what the next one is told)
WORDS = [
    (waiting(BACKING_OFF, was_ready=True), ENDED),
    (waiting(BACKING_OFF), "first ended"),
    (waiting(BACKING_OFF, word=ENDED), ENDED),
    (waiting(BACKING_OFF, word="another ended"), "first ended"),
    # It may run, or nobody has said that it doesn't.
    (waiting({"state": {"running": {}}, "lastState": {"terminated": TERMINATED}}, was_ready=True), ""),
    (waiting({"state": {"waiting": {"reason": "ContainerCreating"}}}, was_ready=True), ""),
    (waiting(BACKING_OFF, {"state": {"running": {}}}, was_ready=True), ""),
    (waiting(LOST_SIGHT_OF, was_ready=True), ""),
    (waiting(was_ready=True), ""),
    ({**waiting(), "status": None}, ""),
    # Whoever deletes it may do so by force.
    (waiting(BACKING_OFF, was_ready=True, deletionTimestamp=MADE), ""),
    (waiting(BACKING_OFF, was_ready=True, ours=False), ""),
]


@pytest.mark.parametrize("seen, word", WORDS)
def test_what_is_told_of_a_pod_that_waits_for_its_next_start(seen, word):
    assert word_of_end(seen, seconds) == word


# (what a pod was told, what it found on its volume, whether everybody before it has ended)
TELLINGS = [
    ("", "second ended", True),
    ("", "second ended first unknown", True),
    ("", "second runs first ended", False),
    ("", "third ended", False),
    ("", "", False),
    (ENDED, "", True),
    (ENDED, "second runs first runs", True),
    # It never had a role, and what it had found is all that it knows.
    ("first ended", "second runs first ended", True),
    ("first ended", "second runs first runs", False),
    ("first ended", "second runs other ended", False),
    ("first ended", "third runs first ended", False),
    ("first ended", "", False),
]


@pytest.mark.parametrize("word, found, told", TELLINGS)
def test_whether_everybody_before_a_pod_has_ended(word, found, told):
    metadata = {"uid": "second", **({"annotations": {WORD: word}} if word else {})}
    assert was_told({"metadata": metadata}, found) is told


def test_a_pod_without_a_name_of_its_own_was_told_nothing():
    assert not was_told({"metadata": {}}, "")
    assert not was_told({"metadata": {}}, " ended")


def lost(seconds: int | None):
    return link(1, up=False, last_io_seconds=None, down_seconds=seconds)


# (members, what is told of those who ran before)
OPEN = [
    ((NEW, orphan(2)), [TOLD]),
    ((replace(silent(1, "refused", stopped=True), anew=NEVER), orphan(2)), [TOLD]),
    ((guarded(1), orphan(2)), []),
    # Who was the primary before the present one was asked for when that was promoted.
    ((NEW, primary(2), replica(3, 2)), []),
    ((guarded(1, anew=Anew("", "is of an unknown age")), orphan(2)), ["pod keydb-1 was made and is of an unknown age: nothing tells whether the server that ran before it has ended"]),
    # A pod of somebody else's that was there when the primary went was it.
    ((guarded(1, anew=Anew(MADE, "", 152.0)), orphan(2, links=(lost(90),)), orphan(3)), []),
    ((guarded(1, anew=Anew(MADE, "", 152.0)), guarded(2), orphan(3, 4, links=(link(4, up=False, down_seconds=200),))), []),
    ((guarded(1, anew=Anew(MADE, "", 152.0)), orphan(2), orphan(3, links=(lost(91),))), ["pod keydb-1 was made at 2026-11-30T12:00:00Z, after keydb-3 lost its primary: nothing tells whether the server that ran before it has ended"]),
    # It began guarded, and a verb or its boot guard gave it a primary: a later one than whoever ran there before.
    ((orphan(1, 2, anew=NEVER), silent(2)), []),
    ((orphan(1, 2, anew=FOREIGN), silent(2)), [TOLD]),
    # A link that is silent, and not yet told to be down.
    ((guarded(1, anew=Anew(MADE, "", 95.0)), orphan(2, links=(link(1, last_io_seconds=34),))), ["pod keydb-1 was made at 2026-11-30T12:00:00Z, after keydb-2 lost its primary: nothing tells whether the server that ran before it has ended"]),
    ((guarded(1, anew=Anew(MADE, "", 96.0)), orphan(2, links=(link(1, last_io_seconds=34),))), []),
]  # fmt: skip


@pytest.mark.parametrize("members, told", OPEN)
def test_who_may_still_run(members, told):
    assert [f"pod {former.name} {former.told}" for former in formers(group(*members))] == told


# (members, changes, sufficient, sentence)
SILENCE = [
    ((NEW, orphan(2)), {}, False, f"the former keydb-1 may still take writes; {TOLD}"),
    ((NEW, orphan(2), silent(3)), {}, False, f"keydb-3 and the former keydb-1 may still take writes; {TOLD}"),
    ((NEW, orphan(2), service(1)), {}, False, "the former keydb-1 may still take writes: moving the Service leaves connections that are open where they are; " + TOLD),
    ((NEW, orphan(2), proxy()), {"clients_only_through_proxies": True}, True, "clients can't go around the proxies, and none of these leads to the former keydb-1"),
    ((NEW, orphan(2), proxy(sessions=2)), {"clients_only_through_proxies": True}, False, "the proxies still hold 2 sessions to the former keydb-1, which may take writes; " + TOLD),
    ((NEW, orphan(2), proxy()), {}, False, f"the former keydb-1 may still take writes; {TOLD}"),
]  # fmt: skip


@pytest.mark.parametrize("members, changes, sufficient, sentence", SILENCE)
def test_that_the_next_pod_answers_proves_nothing_of_the_one_before_it(members, changes, sufficient, sentence):
    proof = prove_silence(group(*members, **changes))
    assert (proof.sufficient, proof.sentence, proof.former) == (sufficient, sentence, not sufficient)


def test_an_end_that_is_known_is_a_proof():
    assert prove_silence(group(guarded(1), orphan(2))) == Proof(True, "every node answers and none is a primary")


@pytest.mark.parametrize("verb, request_", [(failover.plan, Request()), (promote.plan, Request(to="keydb-2"))])
def test_nobody_is_promoted_beside_a_server_that_may_still_run(verb, request_):
    seen = group(NEW, orphan(2), orphan(3))
    refusal = verb(seen, request_, 1)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.sentence) == ("not-fenced", f"the former keydb-1 may still take writes; {TOLD}")
    assert refusal.hint == (
        "make sure that the node which it ran on is off, or runs nothing of it any more, and say so by "
        "accept_split=yes (if it runs, its writes from now on are lost)"
    )
    told = f"the API server: keydb-1 has a pod that {TOLD.removeprefix('pod keydb-1 ')}"
    assert told in [str(item) for item in refusal.evidence]
    plan = verb(seen, replace(request_, accept_split=True), 1)
    assert isinstance(plan, Plan) and f"accepted by accept_split: {refusal.sentence}" in plan.warnings


def test_status_doesnt_say_that_nobody_takes_writes_beside_a_server_that_may_still_run():
    told = {one.code: one.sentence for one in find(group(NEW, orphan(2), orphan(3)))}
    assert told["no-primary"] == "no node that answers is primary, and the former keydb-1 may be; run failover"
    told = {one.code: one.sentence for one in find(group(NEW, orphan(2), silent(3)))}
    assert "and keydb-3 and the former keydb-1 may be; run failover" in told["no-primary"]


def test_a_backup_takes_nobodys_place_beside_a_server_that_may_still_run():
    source = restore.Source("b.rdb", "5" * 64, 1000, 50, "keydb", "6.3.4", "2026-01-02T03:04:05Z")

    def plan(*members, split=False, **changes):
        seen = group(*members, **changes)
        held = {node.name: restore.Held(node.keys, None, 10**6) for node in seen.nodes}
        return restore.plan(seen, Request(accept_replace=True, accept_split=split), 1, source, held, "keydb-1")

    refusal = plan(NEW, orphan(2), orphan(3))
    assert isinstance(refusal, Refusal) and "say so by accept_split=yes" in str(refusal.hint)
    assert (refusal.code, refusal.sentence) == ("not-fenced", f"the former keydb-1 may still take writes; {TOLD}")
    accepted = plan(NEW, orphan(2), orphan(3), split=True)
    assert isinstance(accepted, Plan) and f"accepted by accept_split: {refusal.sentence}" in accepted.warnings
    cut_off = plan(NEW, orphan(2), proxy(), clients_only_through_proxies=True)
    assert isinstance(cut_off, Plan) and "accept_split" not in str(cut_off.warnings)
    assert isinstance(plan(guarded(1), orphan(2), orphan(3)), Plan)


def test_a_replica_that_hears_the_former_says_that_it_lives():
    refusal = failover.plan(group(NEW, replica(2), orphan(3)), SPLIT, 1)
    assert isinstance(refusal, Refusal) and refusal.passing
    assert (refusal.code, refusal.where) == ("still-followed", "keydb-2")
    assert refusal.sentence == "hears a server (link up, 1 s ago) that is not the keydb-1 which answers now"
    assert refusal.hint == "end what runs on the node that keydb-1 was on before; or look again in 3 s"


def test_a_replica_of_the_one_that_answers_hears_no_former():
    heard = Replica(replica(2).address, online=True, offset=1000, lag_seconds=0)
    assert isinstance(failover.plan(group(replace(NEW, replicas=(heard,)), replica(2), orphan(3)), SPLIT, 1), Plan)

"""Founding: the first primary of a group that never had one, and nobody else's role."""

import pytest
from worlds import (
    World,
    codes,
    fenced,
    group,
    guarded,
    lines,
    orphan,
    primary,
    promoted,
    proxy,
    replica,
    service,
    silent,
    silent_proxy,
    virgin,
)

from keydb_runbooks.runbooks import founding
from keydb_runbooks.runbooks.before import Before
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal
from keydb_runbooks.runbooks.steps import Promote

NEW = (virgin(1), virgin(2), virgin(3), proxy())


def test_the_service_of_a_group_that_was_installed_anew_leads_to_its_primary():
    plan = decide(primary(2), replica(1), service(1), first="keydb-1")
    assert lines(plan) == ["MoveService keydb-write", "ServiceLeads keydb-write"]
    assert isinstance(decide(primary(2), replica(1), service(2), first="keydb-1"), NothingToDo)


def test_a_new_group_on_pods_is_led_to_and_labelled():
    told = lines(decide(virgin(1), virgin(2), service(1)))
    assert told[-2:] == ["ServiceLeads keydb-write", "LabelPods keydb-write"]


def decide(*members, first="keydb-1", **given):
    return founding.plan(group(*members), first, min_replicas=1, **given)


def test_the_order_of_a_founding():
    assert lines(decide(*NEW)) == [
        "Promote keydb-1",
        "SaveConfiguration keydb-1",
        "Follow keydb-2",
        "Follow keydb-3",
        "Route proxy-1",
        "InSync keydb-2",
        "InSync keydb-3",
        "VerifyWrite proxy-1",
    ]


def test_what_a_founding_says_of_itself():
    plan = decide(*NEW, first="keydb-3")
    assert (plan.verb, plan.group) == ("install", "demo")
    assert (plan.primary, plan.former, plan.warnings) == ("keydb-3", None, ())
    assert Promote("keydb-3", 1, 1) in plan.steps
    assert str(plan.loss) == "0 bytes (no node holds anything yet)"
    assert (plan.proof, plan.gap) == ("no node ever was a primary", "none: nobody writes yet")


def test_new_nodes_are_attached_to_a_founded_group():
    plan = decide(primary(1), replica(2), virgin(3), proxy(1))
    assert lines(plan)[:2] == ["Follow keydb-3", "InSync keydb-3"]
    assert (plan.primary, plan.warnings) == ("keydb-1", ("keydb-3 needs a full resync: it holds nothing",))
    assert (plan.verb, plan.group, plan.former) == ("install", "demo", "keydb-1")
    assert str(plan.loss) == "0 bytes (the new nodes hold nothing)"
    assert (plan.proof, plan.gap) == ("keydb-1 stays the primary", "none")


FOUNDED = "is the primary; install moves no role"
# (members, what is said)
NOTHING = [
    ((primary(1), replica(2)), f"nothing to do: founded demo: keydb-1 {FOUNDED}"),
    ((promoted(2), replica(1, 2)), f"nothing to do: founded demo: keydb-2 {FOUNDED}"),
    ((promoted(2), guarded(1)), f"nothing to do: founded demo: keydb-2 {FOUNDED}"),  # rejoin decides about its data
    ((primary(1), silent(2)), f"nothing to do: founded demo: keydb-1 {FOUNDED}"),
    ((guarded(1), guarded(2)), "left without a primary: no-primary demo: had a primary before and has none now; install moves no role, run failover"),
    ((primary(1), primary(2)), "nothing to do: two-primaries demo: keydb-1 and keydb-2 are primaries; install moves no role, run rejoin"),
    ((virgin(1), orphan(2)), "left without a primary: no-primary demo: had a primary before and has none now; install moves no role, run failover"),
]  # fmt: skip


@pytest.mark.parametrize("members, sentence", NOTHING)
def test_install_moves_no_role(members, sentence):
    answer = decide(*members)
    assert isinstance(answer, NothingToDo) and str(answer) == sentence


REFUSALS = [
    (NEW, "keydb-9", "refused: unknown-first-primary keydb-9: is no node of this group; allowed are keydb-1, keydb-2, keydb-3"),
    ((virgin(1), silent(2)), "keydb-1", "refused: node-no-answer keydb-2: does not answer within 2 s; mend that, or allow_unread=keydb-2 if you know that it is no primary"),
    ((virgin(1), silent_proxy()), "keydb-1", "refused: proxy-no-socket proxy-1: has no runtime socket; mend that, or allow_unread=proxy-1 to leave it to its own checks"),
    ((virgin(1), silent(2, "refused", stopped=True)), "keydb-1", "refused: node-refused keydb-2: does not answer within 2 s, and it may hold the data of a group that was founded before; start it, or take it out of the inventory"),
    ((virgin(1), virgin(2, loading=True)), "keydb-1", "refused: loading keydb-2: is loading its data; run install again when it is done"),
    ((silent(1),), "keydb-1", "refused: no-node-answers demo: keydb-1: does not answer within 2 s; run start, which starts guarded what doesn't run, or mend the way to them; then this again"),
    ((virgin(1, cluster=True),), "keydb-1", "refused: cluster-mode keydb-1: runs in cluster mode; use CLUSTER FAILOVER there"),
    ((fenced(virgin(1)), virgin(2)), "keydb-1", "refused: target-fenced keydb-1: is fenced: as the primary it would refuse every write; run unfence node=keydb-1, then install again"),
    ((primary(1, keys=0), virgin(2)), "keydb-1", "refused: empty-primary keydb-1: holds nothing, not even an epoch; run status"),
]  # fmt: skip


@pytest.mark.parametrize("members, first, sentence", REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(members, first, sentence):
    answer = decide(*members, first=first)
    assert isinstance(answer, Refusal) and str(answer) == sentence


RUNS = "lease tells of a run on the group at 10 already, and keydb-1 was made later, 11"
FOUNDED_BEFORE = (
    f"refused: founded-before demo: {RUNS}: all of them hold nothing, and a server of a pod before them may still take "
    "writes, on a node that is out of reach; look for the volumes that have the data; or make sure that no such server "
    "runs, and say so by accept_split=yes (if one does, its writes are lost)"
)


def test_a_group_that_other_pods_were_of_is_founded_only_if_somebody_says_that_none_of_them_runs():
    assert str(decide(*NEW, before=Before(RUNS))) == FOUNDED_BEFORE
    plan = decide(*NEW, before=Before(RUNS), accept_split=True)
    assert isinstance(plan, Plan) and plan.warnings == (f"accepted by accept_split: {RUNS}",)
    assert lines(plan) == lines(decide(*NEW))


def test_whoever_is_silent_is_told_first():
    answer = decide(virgin(1), silent(2), before=Before(RUNS), accept_split=True)
    assert isinstance(answer, Refusal) and answer.code == "node-no-answer"
    answer = decide(virgin(1), silent(2), before=Before(RUNS))
    assert isinstance(answer, Refusal) and answer.code == "node-no-answer"


def test_a_cluster_that_tells_nothing_of_the_time_before_keeps_nobody_from_the_first_install():
    plan = decide(*NEW, before=Before(unread="no right"))
    assert isinstance(plan, Plan)
    assert plan.warnings == ("whether the group had other servers before is not known: no right",)


def test_where_there_is_a_primary_nothing_before_it_matters():
    assert str(decide(primary(1), replica(2), before=Before(RUNS))) == f"nothing to do: founded demo: keydb-1 {FOUNDED}"
    plan = decide(primary(1), replica(2), virgin(3), before=Before(RUNS))
    assert isinstance(plan, Plan) and plan.warnings == ("keydb-3 needs a full resync: it holds nothing",)


def test_every_refusal_of_a_founding_has_a_case():
    cases = {sentence.split()[1] for _, _, sentence in REFUSALS} | {FOUNDED_BEFORE.split()[1]}
    told = codes("Refusal", "founding")
    assert {code for code in told if not any(case.startswith(code.rstrip("*")) for case in cases)} == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": 1},
        {"epoch": 1},
        {"second_offset": 0},
        {"second_offset": 5},
        {"links": ()},
        {"links": (orphan(2).links[0],)},
    ],
)
def test_a_node_with_any_trace_of_a_past_is_not_virgin(changes):
    assert founding.virgin(virgin(1)) and not founding.virgin(virgin(1, **changes))


def test_a_group_is_not_founded_while_a_node_is_stopped_that_may_hold_the_data():
    answer = decide(virgin(1), virgin(2), silent(3, "refused", stopped=True))
    assert isinstance(answer, Refusal)


def test_a_first_primary_that_is_stopped_is_not_called_unknown():
    answer = decide(virgin(2), silent(1, "refused", stopped=True))
    assert isinstance(answer, Refusal) and "is no node of this group" not in answer.sentence


def test_new_nodes_wait_for_a_primary_that_is_still_loading():
    answer = decide(primary(1, loading=True), virgin(2))
    assert not isinstance(answer, Plan)


STEPS = lines(decide(*NEW))
DEATHS = [pytest.param(done, id=f"{done}-then-dead-before-{step}") for done, step in enumerate([*STEPS, "the end"])]


@pytest.mark.parametrize("done", DEATHS)
def test_install_run_again_after_any_death_ends_with_one_founded_group(done):
    world = World(virgin(1), virgin(2), virgin(3))
    decision = founding.plan(world.topology(), "keydb-1", min_replicas=1)
    world.perform(decision.steps[:done])
    again = founding.plan(world.topology(), "keydb-1", min_replicas=1)
    if isinstance(again, Plan):
        # HAProxy's own check finds the founded primary; install alone never has to move a route back.
        world.route = {"keydb-1"}
        world.perform(again.steps)
    assert isinstance(founding.plan(world.topology(), "keydb-1", min_replicas=1), NothingToDo)
    assert world.writers == ["keydb-1"]
    assert all(world.servers[name].disk == "10.0.0.1 6379" for name in ("keydb-2", "keydb-3"))

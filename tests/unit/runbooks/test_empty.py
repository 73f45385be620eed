"""A primary that came up without its data: nobody follows it, and the best of the others takes its role."""

from dataclasses import replace

import pytest
from worlds import World, codes, group, guarded, lines, orphan, primary, proxy, silent, stream

from keydb_runbooks.runbooks import failover, rejoin, switchover
from keydb_runbooks.runbooks.findings import find
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.proxy import Proxy, ProxyServer
from keydb_runbooks.runbooks.steps import Guard, Promote, RecordLineage, Unpause
from keydb_runbooks.runbooks.steps_save import StillHolds

ANY = Request()


def empty(number=1, **changes):
    """A primary that was started on an empty disk: another stream, no epoch."""
    fields = {"keys": 0, "epoch": None, "replication_id": stream("e"), "offset": 0, "run_id": "run-e"}
    return primary(number, **{**fields, **changes})


LOST = (empty(), orphan(2), orphan(3), proxy(1))


def decide(*members, request=ANY, **changes):
    return failover.plan(group(*members, **changes), request, 1)


def test_whoever_would_follow_it_is_sent_nowhere_before_the_role_moves():
    """And it is looked at once more when its clients have to wait: a write since would be one that only it has."""
    assert lines(decide(*LOST)) == [
        "Pause keydb-1",
        "StillHolds keydb-1",
        "Guard keydb-2",
        "Guard keydb-3",
        "StillHolds keydb-2",
        "Promote keydb-2",
        "RecordLineage keydb-2",
        "SaveConfiguration keydb-2",
        "Follow keydb-3",
        "Follow keydb-1",
        "Route proxy-1",
        "EndSessions keydb-1",
        "Unpause keydb-1",
        "InSync keydb-1",
        "InSync keydb-3",
        "VerifyWrite proxy-1",
    ]


def test_what_such_a_failover_says_of_itself():
    plan = decide(*LOST)
    assert (plan.verb, plan.group, plan.primary, plan.former) == ("failover", "demo", "keydb-2", "keydb-1")
    assert (plan.undo, plan.warnings) == ((Unpause("keydb-1"),), ())
    assert str(plan.loss) == "unknown (what keydb-1 acknowledged last before it lost its data can't be counted)"
    assert plan.proof == (
        "keydb-1 holds no keys, and holds writes back until it is a replica; every node answers and none is a primary"
    )
    assert plan.gap == "since the primary lost its data; it ends when the routes have moved"
    assert plan.steps[1] == StillHolds("keydb-1", "run-e", keys=False)
    assert StillHolds("keydb-2", "run-2", keys=True) in plan.steps
    assert Promote("keydb-2", 2, 1) in plan.steps


def test_whoever_it_promotes_passes_the_same_checks_as_in_any_failover():
    unfit = orphan(2)
    unfit = replace(unfit, condition=replace(unfit.condition, config_file=""))
    told = decide(empty(), unfit, request=Request(to="keydb-2"))
    assert isinstance(told, Plan) and told.warnings[0].startswith("no-config-file keydb-2")
    servers = (ProxyServer("keydb-1", True, "UP", "L7OK", 0), ProxyServer("keydb-2", False, "DOWN", "L4TOUT", 0))
    out_of_reach = Proxy("proxy-1", "demo-write", "demo-read", servers, (), round_trip_seconds=0.002)
    refused = decide(empty(), unfit, out_of_reach)
    assert isinstance(refused, Refusal) and refused.code == "target-unreached" and refused.ranking
    assert refused.warnings[0].startswith("no-config-file keydb-2")


def test_it_tells_what_the_old_primary_needs_to_follow():
    assert [one.split(":")[0] for one in decide(*LOST).needs] == ["full resync of keydb-1 from keydb-2"]


def test_who_is_given_up_without_a_look_is_told_here_as_well():
    given_up = Request(accept_split=True, accept_loss=frozenset({"keydb-3"}))
    plan = decide(empty(), guarded(2), silent(3), request=given_up)
    assert any(one.startswith("keydb-3 may follow keydb-2 already: ") for one in plan.warnings)


def test_who_is_guarded_already_or_empty_too_is_in_no_danger():
    plan = decide(empty(), guarded(2), orphan(3, keys=0), orphan(4))
    assert [step.where for step in plan.steps if isinstance(step, Guard)] == ["keydb-4"]


def test_paused_replicas_are_released_and_loading_ones_left_for_rejoin():
    plan = decide(
        empty(), orphan(2, paused=True), orphan(3, loading=True), request=Request(accept_loss=frozenset({"keydb-3"}))
    )
    assert lines(plan)[0] == "Unpause keydb-2"
    assert not [line for line in lines(plan) if "keydb-3" in line]


def test_who_holds_more_than_the_one_that_was_chosen_is_left_out():
    request = Request(to="keydb-2", accept_loss=frozenset({"keydb-3"}))
    plan = decide(empty(), orphan(2), orphan(3, offset=1100), request=request)
    assert "Follow keydb-3" not in lines(plan) and "InSync keydb-3" not in lines(plan)
    assert "keydb-3 is left out" in plan.warnings[0]


def test_everybody_who_holds_more_than_the_one_that_was_chosen_is_left_out():
    request = Request(to="keydb-2", accept_loss=frozenset({"keydb-4"}))
    plan = decide(empty(), orphan(2), orphan(3), orphan(4, offset=1100), request=request)
    assert "Follow keydb-3" in lines(plan) and "Follow keydb-4" not in lines(plan)
    assert RecordLineage("keydb-2", 1) in plan.steps


def test_a_refusal_shows_who_else_could_have_taken_the_role():
    assert [place.node for place in decide(empty(), orphan(2, priority=0)).ranking] == ["keydb-1", "keydb-2"]


# (members, request, the refusal)
REFUSALS = [
    ((empty(replication_id=stream("a"), offset=1000), orphan(2)), ANY, "refused: emptied-primary keydb-1: holds no keys, but knows the history of keydb-2, which holds 5: a command emptied it; if that was a mistake, stop it, then run failover; if not, empty keydb-2 as well"),
    ((empty(loading=True), orphan(2)), ANY, "refused: loading keydb-1: is loading its data; wait until status says that it is done"),
    ((empty(), orphan(2), silent(3)), ANY, "refused: not-fenced old primary: keydb-3 may still take writes; stop its server or its machine, then this again (last resort: accept_split=yes, and its writes from now on are lost)"),
    ((empty(), orphan(2, priority=0)), ANY, "refused: target-never-primary keydb-2: has replica-priority 0: it must never be the primary; choose another target, or change its priority"),
    ((empty(), orphan(2)), Request(to="keydb-1"), "refused: target-empty keydb-1: holds no keys, but keydb-2 does; use to=keydb-2"),
]  # fmt: skip


@pytest.mark.parametrize("members, request_, sentence", REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(members, request_, sentence):
    answer = decide(*members, request=request_)
    assert isinstance(answer, Refusal) and str(answer) == sentence


def test_every_refusal_about_an_empty_primary_has_a_case():
    assert codes("Refusal", "empty") <= {sentence.split()[1] for *_, sentence in REFUSALS}


@pytest.mark.parametrize("verb, request_", [(rejoin, ANY), (switchover, Request(to="keydb-1"))])
def test_no_other_verb_has_it_followed(verb, request_):
    answer = verb.plan(group(*LOST), request_, 1)
    assert isinstance(answer, Refusal) and answer.code == "empty-primary"


def test_a_node_may_be_chosen_by_name():
    assert decide(*LOST, request=Request(to="keydb-3")).primary == "keydb-3"


STEPS = lines(decide(*LOST))
DEATHS = [pytest.param(done, id=f"{done}-then-dead-before-{step}") for done, step in enumerate([*STEPS, "the end"])]


@pytest.mark.parametrize("done", DEATHS)
def test_run_again_after_any_death_it_ends_with_one_writer_that_has_all_data(done):
    world = World(empty(), orphan(2), orphan(3), route="keydb-1")
    world.servers["keydb-1"].log = ()
    world.perform(failover.plan(world.topology(), ANY, 1).steps[:done], clients=False)
    for _ in range(3):
        answer = failover.plan(world.topology(), ANY, 1)
        if isinstance(answer, NothingToDo):
            break
        assert isinstance(answer, Plan), answer
        world.perform(answer.steps, clients=False)
    assert (world.writers, world.route) == (["keydb-2"], {"keydb-2"})
    assert [server.log for server in world.servers.values()] == [("first",)] * 3
    assert find(world.topology()) == ()

"""Rejoin: everybody follows the primary, and nothing is destroyed silently."""

import re
from dataclasses import replace

import pytest
from worlds import (
    codes,
    group,
    guarded,
    lines,
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

from keydb_runbooks.runbooks import failover, rejoin, switchover
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.replication import Role
from keydb_runbooks.runbooks.rescue import Room, file_name, refuse_room
from keydb_runbooks.runbooks.steps import RecordLineage, Reinstate, Route, Unpause
from keydb_runbooks.runbooks.steps_save import Compare, SaveData, SaveIfMore

ANY = Request()


def decide(*members, request=ANY):
    return rejoin.plan(group(*members), request, 1)


def follower(number, **changes):
    return replica(number, 2, **{"replication_id": stream("b"), "offset": 1200, **changes})


def test_the_order_of_a_rejoin():
    plan = decide(promoted(2), primary(1), orphan(3, 1), proxy(1))
    assert lines(plan) == [
        "Follow keydb-3",  # replicas before primaries: nobody is sent to a source that refuses it
        "Guard keydb-1",
        "Route proxy-1",
        "EndSessions keydb-1",
        "SaveIfMore keydb-1",
        "Follow keydb-1",
        "InSync keydb-1",
        "InSync keydb-3",
        "VerifyWrite proxy-1",
    ]


def test_a_guarded_node_comes_back_without_a_warning_if_its_resync_is_partial():
    plan = decide(promoted(2), guarded(1), proxy(2))
    assert (lines(plan)[:1], plan.warnings) == (["Follow keydb-1"], ())
    assert str(plan.loss) == "0 bytes (nobody who is attached holds anything that the primary lacks)"


# (the node that comes back, the warning)
WARNINGS = [
    (guarded(1, offset=1), "keydb-1 needs a full resync: it holds an earlier state of the primary's history"),
    (virgin(1), "keydb-1 needs a full resync: it holds nothing"),
]


@pytest.mark.parametrize("node, warning", WARNINGS)
def test_a_full_resync_is_said_before_with_its_reason(node, warning):
    assert decide(promoted(2, backlog_first=100), node).warnings == (warning,)


LIKE_PINGS = (promoted(2), primary(1, offset=1056, paused=True))


def test_what_looks_like_pings_of_a_primary_that_holds_writes_back_is_saved_and_told():
    """One write in fourteen is as long as some PINGs are, and a pause may be anybody's."""
    plan = decide(*LIKE_PINGS)
    assert lines(plan) == ["Guard keydb-1", "SaveIfMore keydb-1", "Follow keydb-1", "Unpause keydb-1", "InSync keydb-1"]
    assert plan.steps[1] == SaveIfMore("keydb-1", "node", "saved", 1000)
    assert plan.warnings == (
        "keydb-1 needs a full resync: it holds bytes that the primary never had, as many as PINGs are",
        "the data of keydb-1 are replaced, 56 bytes of which keydb-2 never had; 5 keys are there and 5 on keydb-2; "
        "they are saved on the node first",
    )
    assert str(plan.loss) == (
        "56 bytes (as many as PINGs are, and keydb-1 holds writes back; its data are saved first all the same)"
    )


@pytest.mark.parametrize("verb", [switchover, failover, rejoin], ids=lambda verb: verb.__name__.rpartition(".")[2])
def test_every_verb_saves_and_tells_what_looks_like_pings(verb):
    plan = verb.plan(group(*LIKE_PINGS), Request(to="keydb-2", accept_split=True), 1)
    assert "SaveIfMore keydb-1" in lines(plan)
    assert "they are saved on the node first" in plan.warnings[1]
    assert plan.loss.bytes == 56


def test_what_looks_like_pings_needs_somebody_s_word_if_it_is_not_to_be_saved():
    assert decide(*LIKE_PINGS, request=Request(save="no")).code == "diverged"
    given_up = decide(*LIKE_PINGS, request=asked(save="no"))
    assert lines(given_up)[:2] == ["Guard keydb-1", "Unpause keydb-1"]
    assert "SaveIfMore keydb-1" not in lines(given_up)
    assert str(given_up.loss) == "56 bytes (accepted by you, counted from the offsets)"


def test_what_a_pause_can_not_explain_needs_somebody_s_word():
    """49,000 bytes of writes that were acknowledged before somebody typed CLIENT PAUSE."""
    answer = decide(promoted(2), primary(1, offset=50_001, paused=True))
    assert str(answer) == f"refused: diverged keydb-1: holds 49,001 bytes that keydb-2 never had; {SAVE}"


def test_one_that_a_run_which_died_had_guarded_holds_back_what_it_held_and_is_saved_as_well():
    plan = decide(promoted(2), guarded(1, offset=1056, paused=True))
    assert lines(plan)[:3] == ["SaveIfMore keydb-1", "Follow keydb-1", "Unpause keydb-1"]


@pytest.mark.parametrize("paused", [False, True, None])
def test_a_primary_steps_down_before_it_is_looked_at_for_the_last_time(paused):
    """What it acknowledges between the look and its step down would be lost."""
    plan = decide(promoted(2), primary(1, paused=paused), proxy(2))
    assert lines(plan)[0] == "Guard keydb-1"
    saves, follows = lines(plan).index("SaveIfMore keydb-1"), lines(plan).index("Follow keydb-1")
    assert saves + 1 == follows
    assert plan.steps[saves].until == 1000
    assert (lines(plan)[follows + 1] == "Unpause keydb-1") is (paused is True)


def test_a_primary_that_held_nothing_is_looked_at_for_keys():
    plan = decide(promoted(2), primary(1, keys=0, epoch=None, replication_id=stream("f")))
    assert next(step for step in plan.steps if step.code == "SaveIfMore").until is None


ACCEPTED = Request(accept_loss=frozenset({"keydb-1"}))


def asked(**changes):
    return replace(ACCEPTED, **changes)


def test_what_only_a_node_holds_is_saved_and_listed_once_nobody_waits_any_more():
    """It takes no writes from then on, and its replicas are sent elsewhere before it steps down."""
    plan = decide(promoted(2), primary(1, offset=1234), orphan(3, 1), proxy(1), request=ACCEPTED)
    assert lines(plan) == [
        "Follow keydb-3",
        "Guard keydb-1",
        "Route proxy-1",
        "EndSessions keydb-1",
        "SaveData keydb-1",
        "Compare keydb-1",
        "Follow keydb-1",
        "InSync keydb-1",
        "InSync keydb-3",
        "VerifyWrite proxy-1",
    ]


# (what was asked for, the steps before the attach, the end of the warning)
SAVES = [
    (ACCEPTED, ["SaveData keydb-1", "Compare keydb-1"], "they are saved on the node first"),
    (asked(save="fetch", save_to="there"), ["SaveData keydb-1", "Compare keydb-1"], "they are saved into there of this machine first"),
    (asked(save="no"), ["Compare keydb-1"], "nothing of them is saved (save=no)"),
    (asked(compare=False), ["SaveData keydb-1"], "they are saved on the node first"),
    (asked(save="no", compare=False), [], "nothing of them is saved (save=no)"),
]  # fmt: skip


@pytest.mark.parametrize("request_, before, kept", SAVES)
def test_data_are_saved_and_compared_as_far_as_it_was_asked_for(request_, before, kept):
    plan = decide(promoted(2), guarded(1, offset=1234), request=request_)
    steps = lines(plan)
    assert steps[: steps.index("Follow keydb-1")] == before
    told = "the data of keydb-1 are replaced, 234 bytes of which keydb-2 never had; 5 keys are there and 5 on keydb-2"
    assert plan.warnings[-1] == f"{told}; {kept}"


def test_where_and_how_many_are_what_was_asked_for():
    plan = decide(promoted(2), guarded(1, offset=1234), request=asked(save="fetch", save_to="there", listed=7))
    assert plan.steps[:2] == (SaveData("keydb-1", "fetch", "there"), Compare("keydb-1", "keydb-2", 7))


def test_data_of_an_unknown_history_are_called_that():
    plan = decide(promoted(2), guarded(1, replication_id=stream("f")), request=ACCEPTED)
    assert "the data of keydb-1 are replaced, which share no known history with keydb-2's" in plan.warnings[-1]


# (room, whether it is refused)
ROOMS = [
    (Room(100, 99), True),
    (Room(100, 100), False),
    (Room(None, 99), False),
    (Room(100, None), False),
]


@pytest.mark.parametrize("room, refused", ROOMS)
def test_data_that_do_not_fit_are_a_refusal_before_anything_is_done(room, refused):
    plan = decide(promoted(2), guarded(1, offset=1234), request=ACCEPTED)
    answer = refuse_room(plan, {"keydb-1": room})
    told = "refused: no-room keydb-1: saving its data needs up to 100 bytes, and its data directory has 99; make room there; or save=no, and what only it holds is gone"
    assert (str(answer) == told) if refused else answer is None


def test_data_that_do_not_fit_on_this_machine_are_refused_by_its_name():
    plan = decide(promoted(2), guarded(1, offset=1234), request=asked(save="fetch", save_to="there"))
    assert "there of this machine has 99" in str(refuse_room(plan, {"keydb-1": Room(100, 99)}))
    assert refuse_room(plan, {}) is None


@pytest.mark.parametrize(
    "node, name", [("keydb-1", "keydb-1-T-8ac1-7"), (".../a b", "_a_b-T-8ac1-7"), ("XY.z", "XY.z-T-8ac1-7")]
)
def test_a_saved_file_is_named_by_node_time_and_state(node, name):
    assert file_name(node, "T", "8ac1", 7) == name


LOST = primary(1, epoch=None, replication_id=stream("f"))


@pytest.mark.parametrize("survivor", [orphan(2), guarded(2), orphan(2, 3)])
def test_a_primary_that_lost_its_history_is_followed_by_nobody_whatever_is_accepted(survivor):
    request = Request(accept_loss=frozenset({"keydb-2"}))
    for verb in (rejoin, failover):
        assert verb.plan(group(LOST, survivor), request, 1).code == "lost-history"


def test_whoever_says_by_name_that_the_primary_is_right_has_it_followed():
    request = Request(to="keydb-1", accept_loss=frozenset({"keydb-2"}))
    assert "SaveData keydb-2" in lines(rejoin.plan(group(LOST, guarded(2)), request, 1))


# A primary that has an epoch, or that nobody has more than.
RIGHT = [(replace(LOST, epoch=1), guarded(2)), (LOST, guarded(2, epoch=None)), (LOST, virgin(2, epoch=1))]


@pytest.mark.parametrize("members", RIGHT)
def test_a_primary_lost_nothing_if_nobody_knows_more(members):
    request = Request(accept_loss=frozenset({"keydb-2"}))
    assert "Follow keydb-2" in lines(rejoin.plan(group(*members), request, 1))


def test_an_empty_primary_is_refused_even_if_those_that_hold_data_are_about_to_follow_it():
    answer = decide(primary(1, keys=0, epoch=None, replication_id=stream("f")), orphan(2))
    assert answer.code == "empty-primary"


# (who is attached with accept_loss, the predicted loss)
LOSSES = [
    ((guarded(1, offset=1234),), "234 bytes (accepted by you, counted from the offsets)"),
    ((guarded(1, offset=1234), guarded(3, offset=1001)), "235 bytes (accepted by you, counted from the offsets)"),
    ((guarded(1, offset=1234), guarded(3, replication_id=stream("f"))), "unknown (accepted by you: no known history tells how much)"),
]  # fmt: skip


@pytest.mark.parametrize("nodes, loss", LOSSES)
def test_what_was_accepted_is_predicted_in_bytes_or_as_unknown(nodes, loss):
    plan = decide(promoted(2), *nodes, request=Request(accept_loss=frozenset({"keydb-1", "keydb-3"})))
    assert str(plan.loss) == loss


# (members, the steps that change something)
LEFT_OVERS = [
    ((promoted(2, paused=True), follower(1)), ["Unpause keydb-2"]),
    ((promoted(2, config_replicaof="10.0.0.1 6379"), follower(1)), ["SaveConfiguration keydb-2"]),
    ((promoted(2), follower(1), proxy(1)), ["Route proxy-1"]),
    ((promoted(2), follower(1), proxy(1, 2)), ["Route proxy-1"]),
    ((promoted(2, ancestors=()), follower(1), proxy(2)), ["RecordLineage keydb-2"]),
    ((promoted(2), primary(1, paused=True)), ["Guard keydb-1", "Follow keydb-1", "Unpause keydb-1"]),
    ((promoted(2), follower(1, paused=True)), ["Unpause keydb-1"]),
]


@pytest.mark.parametrize("members, expected", LEFT_OVERS)
def test_whatever_a_dead_run_left_is_finished(members, expected):
    plan = decide(*members)
    assert isinstance(plan, Plan), plan
    assert [f"{step.code} {step.where}" for step in plan.steps if step.changes] == expected


@pytest.mark.parametrize("verb", [switchover, failover, rejoin], ids=lambda verb: verb.__name__.rpartition(".")[2])
def test_each_verb_finishes_what_a_dead_run_left_and_says_the_same_of_it(verb):
    left = group(promoted(2, ancestors=()), guarded(1), proxy(2))
    plan = verb.plan(left, Request(to="keydb-2"), 7)
    assert lines(plan) == ["RecordLineage keydb-2", "Follow keydb-1", "InSync keydb-1", "VerifyWrite proxy-1"]
    assert plan.steps[0] == RecordLineage("keydb-2", 7)
    assert (plan.verb, plan.group) == (verb.__name__.rpartition(".")[2], "demo")
    assert (plan.primary, plan.former) == ("keydb-2", "keydb-2")
    assert (plan.proof, plan.gap) == ("keydb-2 is the only rightful primary", "none for clients of the primary")


def test_a_primary_that_is_alone_keeps_taking_writes_while_its_lineage_is_recorded():
    assert decide(promoted(2, ancestors=())).steps == (RecordLineage("keydb-2", 0),)


def test_who_does_not_answer_makes_nothing_unknown_while_the_primary_takes_writes():
    assert decide(promoted(2), guarded(1), silent(3)).loss.bytes == 0


def test_a_primary_that_a_dead_switchover_left_paused_is_released_first():
    plan = decide(primary(1, paused=True), orphan(2))
    assert plan.steps[0] == Unpause("keydb-1")


@pytest.mark.parametrize("request_", [ANY, Request(accept_loss=frozenset({"keydb-2"}))])
def test_nobody_is_sent_to_a_primary_that_is_still_loading(request_):
    """It would refuse the handshake, and KeyDB would close a descriptor (keydb-facts, "KeyDB closes file descriptor 0")."""
    answer = decide(primary(1, loading=True, keys=3, offset=0), virgin(2), request=request_)
    assert isinstance(answer, Refusal) and answer.code == "loading"


def test_nodes_and_proxies_that_do_not_answer_are_left_alone():
    plan = decide(promoted(2), guarded(1), silent(3), silent_proxy())
    assert [line for line in lines(plan) if "keydb-3" in line or "proxy" in line] == []


def test_a_whole_group_is_nothing_to_do():
    answer = decide(primary(1), replica(2), silent(3), proxy(1))
    assert answer == NothingToDo("already-joined", "demo", "every node that answers follows keydb-1")
    assert str(answer) == "nothing to do: already-joined demo: every node that answers follows keydb-1"


@pytest.mark.parametrize("read_only, steps", [(True, []), (None, []), (False, ["Guard keydb-1"])])
def test_what_a_guarded_node_acknowledges_is_not_missed_by_what_is_saved(read_only, steps):
    request = Request(accept_loss=frozenset({"keydb-1"}))
    plan = decide(promoted(2), guarded(1, offset=2234, read_only=read_only), request=request)
    assert lines(plan)[: len(steps) + 1] == [*steps, "SaveData keydb-1"]


OTHER = "is the primary, and keydb-1 is not: rejoin moves no role; leave to= out; switchover to=keydb-1 moves it"


@pytest.mark.parametrize(
    "to, sentence",
    [
        ("keydb-1", f"refused: other-primary keydb-2: {OTHER}"),
        ("keydb-9", "refused: unknown-target keydb-9: is no node of demo; allowed are keydb-1, keydb-2"),
    ],
)
def test_the_data_of_another_node_than_the_primary_are_not_called_the_right_ones(to, sentence):
    assert str(decide(promoted(2), guarded(1), request=Request(to=to))) == sentence


SAVE = "rejoin accept_loss=keydb-1 saves them, tells what differs, and attaches it"
REFUSALS = [
    ((promoted(2), primary(1, role=Role.ACTIVE_REPLICA)), "refused: active-replica keydb-1: runs in active-replica mode, where every node takes writes; set active-replica no and restart it first"),
    ((silent(1),), "refused: no-node-answers demo: keydb-1: does not answer within 2 s; run start, which starts guarded what doesn't run, or mend the way to them; then this again"),
    ((primary(1), primary(2)), "refused: two-primaries demo: keydb-1 and keydb-2 are primaries, and neither lineage nor epoch tells which is the rightful one; stop the one whose writes you can spare, then rejoin"),
    ((orphan(1, 2), guarded(2)), "refused: no-primary demo: there is nobody to follow; run failover first"),
    ((promoted(2), guarded(1, offset=1002)), f"refused: diverged keydb-1: holds 2 bytes that keydb-2 never had; {SAVE}"),
    ((promoted(2), guarded(1, replication_id=stream("f"))), f"refused: unrelated keydb-1: shares no known history with keydb-2, so what it alone holds is unknown; {SAVE}"),
    ((promoted(2), guarded(1, loading=True)), "refused: loading keydb-1: is loading its data; wait until status says that it is done"),
    ((promoted(2, keys=0), guarded(1)), "refused: empty-primary keydb-2: holds no keys, but keydb-1 holds 5; following would wipe them; run failover, which promotes who holds the most"),
]  # fmt: skip


@pytest.mark.parametrize("members, sentence", REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(members, sentence):
    answer = decide(*members)
    assert isinstance(answer, Refusal) and str(answer) == sentence


def test_every_refusal_of_a_rejoin_has_a_case():
    assert codes("Refusal", "rejoin") <= {sentence.split()[1] for _, sentence in REFUSALS} | {"other-primary"}


@pytest.mark.parametrize("line", [None, "10.0.0.9 6379"], ids=["unknown", "another"])
def test_a_role_that_its_file_does_not_tell_is_saved_again(line):
    plan = decide(primary(1), replica(2, config_replicaof=line))
    assert lines(plan)[0] == "SaveConfiguration keydb-2"


def test_a_replica_of_a_paused_old_primary_is_sent_away_at_once_and_its_source_is_saved():
    old, sibling = primary(1, paused=True, offset=1028), replica(3, offset=1028)
    told = lines(decide(promoted(2), old, sibling))
    assert told[:3] == ["Follow keydb-3", "Guard keydb-1", "SaveIfMore keydb-1"]
    assert "SaveIfMore keydb-3" not in told


def test_a_replica_of_a_paused_old_primary_that_took_writes_is_not_repointed_silently():
    old, sibling = primary(1, paused=True, offset=1030), replica(3, offset=1030)
    assert decide(promoted(2), old, sibling).code == "diverged"


def test_a_replica_of_an_old_primary_that_took_writes_on_is_not_repointed_silently():
    old, sibling = primary(1, offset=1028), replica(3, offset=1028)
    assert decide(promoted(2), old, sibling).code == "diverged"


PAUSED = primary(1, paused=True)
STOPPED = silent(3, "refused", stopped=True)


@pytest.mark.parametrize("gone", [silent(3), STOPPED], ids=["silent", "stopped"])
def test_a_primary_that_a_dead_switchover_paused_is_not_released_while_the_target_may_be_promoted(gone):
    answer = decide(PAUSED, replica(2), gone)
    assert str(answer) == (
        "refused: perhaps-superseded keydb-1: holds writes back for a switchover that died, and keydb-3 may have been "
        "promoted by it; start or reach keydb-3, or allow_unread=keydb-3 if you can spare what it acknowledged"
    )


def test_a_primary_is_not_followed_while_a_silent_node_that_somebody_was_sent_to_may_be_promoted_over_it():
    members = (primary(1), orphan(3, of=2), silent(2))
    assert str(decide(*members)) == (
        "refused: perhaps-superseded keydb-1: may be superseded: keydb-3 follows keydb-2, which can't be read; "
        "start or reach keydb-2, or allow_unread=keydb-2 if you can spare what it acknowledged"
    )
    goes_on = decide(*members, request=Request(allow_unread=frozenset({"keydb-2"})))
    assert goes_on.steps[0] == Reinstate("keydb-1", ("keydb-2",), 3, 1)
    assert decide(primary(1), orphan(3, of=2), silent(4), silent(2)).code == "perhaps-superseded"
    others = Request(allow_unread=frozenset({"keydb-4"}))
    assert decide(primary(1), orphan(3, of=2), silent(4), silent(2), request=others).code == "perhaps-superseded"


def test_who_follows_the_silent_old_primary_is_sent_to_the_one_that_was_promoted_over_it():
    assert "Follow keydb-3" in lines(decide(promoted(2), orphan(3, of=1), silent(1)))


def test_what_a_silent_target_acknowledged_is_unknown_and_never_nothing():
    plan = decide(PAUSED, replica(2), STOPPED, request=Request(allow_unread=frozenset({"keydb-3"})))
    assert plan.loss.bytes is None


def test_a_pause_that_could_not_be_disproved_is_ended_with_the_rest():
    assert "Unpause keydb-1" in lines(decide(primary(1, paused=None), guarded(2)))


def test_a_primary_that_came_back_is_nobody_to_follow_for_those_of_a_newer_promotion():
    answer = decide(primary(1, epoch=1), orphan(2, of=3, epoch=2))
    assert str(answer) == (
        "refused: superseded keydb-1: is the primary of epoch 1, but keydb-2 holds data of epoch 2; "
        "stop keydb-1, then run failover"
    )


GOES_TO_1 = proxy(1, nodes=2)

# (what is seen, the gap)
GAPS = [
    ((promoted(2), guarded(1), proxy(2)), "none for clients of the primary"),
    ((promoted(2), guarded(1)), "none for clients of the primary"),
    ((primary(1, paused=True), replica(2), proxy(1)), "writers wait already; it ends with step 1"),
    # A switchover died behind its promotion: the old primary holds back what the proxy still sends to it.
    ((promoted(2), primary(1, paused=True), GOES_TO_1), "writers wait already; it ends with step 2"),
    ((promoted(2, paused=True), primary(1), GOES_TO_1), "writers wait already; it ends with step 3"),
    ((promoted(2), primary(1), GOES_TO_1), "not every writer reaches the primary now; all do from step 2 on"),
    ((promoted(2), primary(1, paused=True), proxy(1, 2)), "not every writer reaches the primary now; all do from step 2 on"),
    ((promoted(2), guarded(1), proxy()), "not every writer reaches the primary now; all do from step 2 on"),
    ((promoted(2), guarded(1, paused=True), proxy(2)), "none for clients of the primary"),
]  # fmt: skip


@pytest.mark.parametrize("members, gap", GAPS)
def test_writers_that_wait_already_are_told_when_that_ends(members, gap):
    plan = decide(*members)
    assert plan.gap == gap
    if "step" in gap:
        step = plan.steps[int(re.search(r"step (\d+)", gap)[1]) - 1]
        assert isinstance(step, Route) or step == Unpause(plan.primary)

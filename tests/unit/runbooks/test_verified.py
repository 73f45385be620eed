"""What is told of a group when a run is over: what was verified, what was not, and what is wrong."""

from dataclasses import replace

import pytest
from worlds import broken, group, guarded, primary, proxy, replica, service, silent, silent_proxy, stream

from keydb_runbooks.runbooks import fence, founding, switchover
from keydb_runbooks.runbooks.plan import Plan, Request
from keydb_runbooks.runbooks.steps import Unpause
from keydb_runbooks.runbooks.verified import Check, can_be_read, left, truths, verify, whose_reads

PLAN = switchover.plan(group(primary(1), replica(2), replica(3), proxy(1)), Request(to="keydb-2"), 1)
AFTER = (replica(1, of=2), primary(2), replica(3, of=2), proxy(2))


def test_a_group_that_is_as_promised_is_verified_in_every_part():
    seen = verify(PLAN, group(*AFTER))
    assert [(check.what, check.where) for check in seen.verified] == [
        *((what, f"keydb-{number}") for number in (1, 2, 3) for what in ("role", "lineage", "file")),
        ("route", "proxy-1"),
    ]
    assert [check.told for check in seen.verified][:4] == [
        "INFO: follows keydb-2",
        "INFO: its stream is aaaaaaaa, as keydb-2's",
        "its configuration file says 10.0.0.2 6379",
        "INFO: is a primary",
    ]
    assert seen.verified[5].told == "its configuration file says no replicaof"
    assert seen.verified[-1].told == "its statistics: writes go to keydb-2 alone"
    assert seen.not_verified == ()
    assert seen.wrong == ()


def test_what_could_not_be_read_is_named_and_nothing_is_wrong_with_it():
    seen = verify(PLAN, group(silent(1), primary(2), silent_proxy()))
    told = [(check.what, check.where) for check in seen.not_verified]
    assert told == [("everything", "keydb-1"), ("everything", "proxy-1")]
    assert seen.wrong == ()
    unknown = verify(PLAN, group(replica(1, of=2, config_replicaof=None), primary(2, paused=None), replica(3, of=2)))
    assert [(check.what, check.where) for check in unknown.not_verified] == [("file", "keydb-1"), ("pause", "keydb-2")]
    assert ("file", "keydb-1") not in [(check.what, check.where) for check in unknown.verified]


def test_a_verb_that_sends_no_write_through_a_proxy_says_so():
    plan = fence.plan(group(primary(1), replica(2), proxy(1)), Request(node="keydb-1"), 1)
    assert isinstance(plan, Plan)
    seen = verify(plan, group(primary(1), replica(2), proxy(1)))
    assert seen.not_verified == (Check("a write", "proxy-1", "fence sends none through it"),)


def test_another_stream_another_file_and_another_route_are_not_called_verified():
    seen = verify(
        PLAN, group(replica(1, of=2, replication_id=stream("c"), config_replicaof=""), primary(2), proxy(3), service(3))
    )
    assert [(check.what, check.where) for check in seen.verified] == [
        ("role", "keydb-1"),
        ("role", "keydb-2"),
        ("lineage", "keydb-2"),
        ("file", "keydb-2"),
    ]


@pytest.mark.parametrize(
    ("node", "told", "good"),
    [
        (replica(1, of=2), "keydb-1 answers them and follows keydb-2", True),
        (primary(2), "keydb-2 answers them and is a primary", True),
        (replica(1, of=2, links=(broken(2),)), "keydb-1 answers them and follows keydb-2 (no link)", False),
        (replica(1, of=9, replication_id=stream("c")), "keydb-1 answers them and follows 10.0.0.9:6379", False),
    ],
)
def test_reads_are_verified_if_who_answers_them_gets_what_the_primary_gives_on(node, told, good):
    world = group(*(one for one in AFTER if one.name != node.name), node)
    check, seen = whose_reads(world, "proxy-1", node.run_id, "")
    assert (check.what, check.where, check.told, seen) == ("reads", "proxy-1", told, good)


def test_reads_of_nobody_of_a_stranger_and_without_a_primary_are_not_verified():
    check, good = whose_reads(group(*AFTER), "proxy-1", None, "the link broke")
    told = "a read through its port for reads was not answered: the link broke"
    assert (check, good) == (Check("reads", "proxy-1", told), False)
    check, good = whose_reads(group(*AFTER), "proxy-1", "f" * 40, "")
    assert (check, good) == (Check("reads", "proxy-1", "a server that is no node of the group answers reads"), False)
    assert whose_reads(group(replica(1), replica(2)), "proxy-1", replica(1).run_id, "")[1] is False


def test_reads_are_looked_for_only_where_a_replica_is_there():
    assert can_be_read(group(*AFTER))
    assert not can_be_read(group(primary(2), guarded(1)))
    assert not can_be_read(group(replica(1), replica(2)))


def test_roles_that_are_not_as_promised_are_wrong():
    assert verify(PLAN, group(primary(1), replica(2), replica(3, of=2))).wrong == (
        "keydb-2 follows keydb-1 now",
        "keydb-1 is a primary now",
    )
    assert verify(PLAN, group(replica(1, of=2), primary(2, paused=True))).wrong == ("keydb-2 holds writes back",)
    assert verify(PLAN, group(guarded(1), primary(2))).wrong == ("keydb-1 follows nobody now",)
    assert verify(PLAN, group(primary(1), silent(2))).wrong == ()


def test_who_was_left_alone_may_be_what_it_likes():
    plan = founding.plan(group(primary(1), replica(2), replica(3), proxy(1)), "keydb-1", min_replicas=1)
    assert not isinstance(plan, Plan)
    released = replace(PLAN, steps=(Unpause("keydb-2"),))
    assert verify(released, group(primary(1), replica(2, paused=True), guarded(3))).wrong == ()


def test_the_truth_is_a_sentence_for_each_node_and_proxy():
    world = group(
        primary(1, paused=True),
        replica(2, paused=None, links=(broken(1),)),
        guarded(3),
        replica(4, of=9),
        silent(5),
        proxy(1),
    )
    assert list(truths(world)) == [
        "keydb-1 is a primary at offset 1,000, holds writes back",
        "keydb-2 follows keydb-1 (no link) at offset 1,000, whether it holds writes back is unknown",
        "keydb-3 follows nobody at offset 1,000",
        "keydb-4 follows 10.0.0.9:6379 at offset 1,000",
        f"keydb-5 can't be read: {silent(5).detail}",
        "proxy-1 sends writes to keydb-1",
    ]
    assert list(truths(group(silent_proxy()))) == [f"proxy-1 can't be read: {silent_proxy().detail}"]
    nobody = replace(proxy(1), writers=())
    assert list(truths(group(nobody))) == ["proxy-1 sends writes to nobody"]


def test_a_replica_without_any_link_follows_nobody():
    assert list(truths(group(replica(1, links=())))) == ["keydb-1 follows nobody at offset 1,000"]


def test_who_has_to_come_back_is_told_with_the_verbs_that_do_it():
    away = (silent(1, "refused", stopped=True), silent(3), silent(4, "wrong-password"))
    assert list(left(group(primary(2), *away), "keydb-2")) == [
        "left: keydb-1 does not run; run start, then rejoin",
        "left: keydb-3 does not answer and may wake up as a primary; stop its server or its machine, "
        "then run start and rejoin",
    ]
    assert list(left(group(primary(2), replica(3, of=2)), "keydb-2")) == []
    # Where the role is somewhere else, status says what comes first.
    assert list(left(group(primary(2), *away), "keydb-5")) == []
    assert list(left(group(replica(2), *away), None)) == []

"""Add-node: a node joins alone, with room for it, and what only it holds is never thrown away."""

from dataclasses import replace

import pytest
from worlds import (
    GOOD,
    ROOMY,
    World,
    address,
    codes,
    group,
    guarded,
    lines,
    link,
    primary,
    promoted,
    proxy,
    replica,
    silent,
    silent_proxy,
    stream,
    virgin,
)

from keydb_runbooks.runbooks.add_node import Joining, Place, plan, welcome
from keydb_runbooks.runbooks.condition import Machine
from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.replication import Replica
from keydb_runbooks.runbooks.steps import Follow
from keydb_runbooks.runbooks.steps_restart import BackInSync

ROOM = Place(memory_limit=10**9, data=(), aof=False)
NEW = replace(silent(4, "refused", stopped=True), machine=ROOMY)
OLD = (primary(1), replica(2), replica(3), proxy(1))
ASKED = Request(node="keydb-4")


def asked(*members, place=ROOM, **changes):
    return welcome(group(*members), replace(ASKED, **changes), place)


def test_a_node_that_is_not_there_yet_joins_and_is_told_what_it_needs():
    answer = asked(*OLD, NEW)
    assert isinstance(answer, Joining)
    assert str(answer) == (
        "add-node of demo: keydb-4 becomes a replica of keydb-1; when it is in sync, "
        "keydb-1 and keydb-2 and keydb-3 ask it too and proxies lead to it; no role moves"
    )
    assert answer.needs == (
        "full resync of keydb-4 from keydb-1: 1,000,000 bytes; about 2 s at 500,000 bytes/s (its last save or sync); "
        "up to 0 bytes of memory on keydb-1 while it forks; up to 1,000,000 bytes of disk on keydb-4",
    )
    assert answer.warnings == ()


def test_a_node_that_was_there_before_needs_but_a_part():
    assert asked(*OLD, guarded(4)).needs == ("partial resync of keydb-4 from keydb-1: it has most of the data",)


def test_a_node_that_is_in_sync_needs_nothing_more():
    answer = asked(primary(1, condition=replace(GOOD, dataset_bytes=10**12), machine=None), replica(2), replica(4))
    assert (answer.needs, answer.warnings) == ((), ())


def test_whoever_does_not_answer_is_not_told_of_it():
    answer = asked(primary(1), replica(2), silent(3, "refused", stopped=True), silent_proxy(2), NEW, allow_unread=frozenset({"proxy-2"}))  # fmt: skip
    assert answer.others == ("keydb-1", "keydb-2")
    assert answer.warnings == (
        "keydb-3 is not told of keydb-4, since its server doesn't answer: run install when it is back",
        "proxy-2 may not be told of keydb-4: run install when it is back",
    )


# (the primary, what is said of its memory or its backlog)
TIGHT = [
    ({"machine": None}, "how much memory keydb-1's machine has for a fork is unknown"),
    ({"memory_used": 10**10}, None),
    ({"memory_used": 2 * 10**10}, "keydb-1 uses 20,000,000,000 bytes, and its machine has 10,000,000,000 more: a full resync may run out of memory at worst"),
    ({"condition": replace(GOOD, input_bytes_per_second=600_000)}, "keydb-1 gets 1,200,000 bytes while it sends its data, and its backlog has 1,000,000: if the link breaks meanwhile it begins again; do it when less is written"),
    ({"condition": replace(GOOD, input_bytes_per_second=500_000)}, None),
    ({"condition": replace(GOOD, input_bytes_per_second=600_000, save_seconds=None)}, None),
]  # fmt: skip


@pytest.mark.parametrize("changes, told", TIGHT)
def test_what_a_full_resync_may_meet_is_told(changes, told):
    assert asked(primary(1, **changes), replica(2), NEW).warnings == ((told,) if told else ())


def with_data(size):
    return replace(GOOD, dataset_bytes=size)


# (code: members, place, what the request has besides, a part of what is said)
REFUSED = {
    "nothing-named": ((*OLD, NEW), ROOM, {"node": None}, "which node joins is not said; add node=NAME, one of keydb-1, keydb-2, keydb-3, keydb-4: its host is in the inventory first"),
    "unknown-member": ((*OLD, NEW), ROOM, {"node": "keydb-5"}, "is no node of demo's inventory"),
    "no-primary": ((guarded(1), guarded(2), NEW), ROOM, {}, "run failover first; of a group that never had one, install makes the first"),
    "two-primaries": ((primary(1), primary(2), NEW), ROOM, {}, "neither lineage nor epoch tells"),
    "node-no-answer": ((primary(1), silent(2), NEW), ROOM, {}, "allow_unread=keydb-2"),
    "paused": ((primary(1, paused=True), replica(2), NEW), ROOM, {}, "holds all writes back: a run that died left that, or somebody paused it; run abort first"),
    "empty-primary": ((primary(1, keys=0), NEW), ROOM, {}, "holds nothing, not even an epoch; run status"),
    "loading": ((primary(1, loading=True), NEW), ROOM, {}, "is loading its data"),
    "superseded": ((primary(1), guarded(2, epoch=2), NEW), ROOM, {}, "keydb-2 holds data of epoch 2"),
    "primary": ((*OLD, primary(4, epoch=None, replication_id=stream("d"))), ROOM, {}, "is a primary: clients may have written to it; if it is to follow keydb-1, run demote node=keydb-4 first"),
    "follows-other": ((*OLD, replica(4, 2)), ROOM, {}, "follows 10.0.0.2:6379, not keydb-1; run rejoin"),
    "unrelated": ((*OLD, guarded(4, replication_id=stream("d"))), ROOM, {}, "rejoin accept_loss=keydb-4 saves them"),
    "node-wrong-password": ((*OLD, silent(4, "wrong-password")), ROOM, {}, "mend that; a new node's machine is reached, and nothing else listens at its port"),
    "data-unknown": ((*OLD, NEW), replace(ROOM, data=None), {}, "its data directory can't be looked at"),
    "data-unread": ((*OLD, NEW), replace(ROOM, data=("dump.rdb",), aof=True), {}, "its data directory has dump.rdb, which its server would not read; move them away, or let keydb_persistence be what wrote them"),
    "resync-running": ((primary(1), replica(2, links=(link(1, up=False, syncing=True),)), NEW), ROOM, {}, "is loading all data"),
    "no-room": ((primary(1, condition=with_data(2 * 10**9)), replica(2), NEW), ROOM, {}, "may use 1,000,000,000 bytes of memory, and keydb-1 holds 2,000,000,000 bytes of data; raise its keydb_maxmemory, or accept=no-room"),
}  # fmt: skip


@pytest.mark.parametrize("code", REFUSED)
def test_a_refusal_names_the_fact_and_the_way_on(code):
    members, place, changes, told = REFUSED[code]
    answer = asked(*members, place=place, **changes)
    assert isinstance(answer, Refusal)
    assert answer.code == code
    assert told in str(answer)


def test_every_refusal_has_a_case():
    told = codes("Refusal", "add_node")
    assert {code for code in told if not any(case.startswith(code.rstrip("*")) for case in REFUSED)} == set()


@pytest.mark.parametrize(
    "data, aof, refused",
    [
        (("dump.rdb",), False, False),
        (("dump.rdb", "appendonlydir"), False, True),
        (("appendonly.aof",), False, True),
        (("dump.rdb", "appendonly.aof"), True, False),
        (("appendonlydir",), True, False),
        ((), True, False),
    ],
)
def test_files_that_its_server_reads_are_judged_when_it_runs(data, aof, refused):
    answer = asked(*OLD, NEW, place=replace(ROOM, data=data, aof=aof))
    assert isinstance(answer, Refusal) is refused
    # Whoever runs has read what it reads.
    assert isinstance(asked(*OLD, virgin(4), place=replace(ROOM, data=data, aof=aof)), Joining)


FULL = Machine(disk_free=10, disk_size=10**11, memory_available=10**10)
ENOUGH = replace(FULL, disk_free=GOOD.dataset_bytes)


@pytest.mark.parametrize(
    "members, place, where",
    [
        ((primary(1), replace(NEW, machine=FULL)), ROOM, "keydb-4"),
        ((primary(1), virgin(4, machine=FULL)), ROOM, "keydb-4"),
        ((primary(1), replace(NEW, machine=ENOUGH)), ROOM, None),
        ((primary(1), NEW), replace(ROOM, memory_limit=1), "keydb-4"),
        ((primary(1, machine=FULL), NEW), ROOM, None),
        ((primary(1, machine=ENOUGH, condition=replace(GOOD, diskless_sync=False)), NEW), ROOM, None),
        ((primary(1, machine=FULL, condition=replace(GOOD, diskless_sync=False)), NEW), ROOM, "keydb-1"),
        ((primary(1, condition=replace(GOOD, diskless_sync=False)), NEW), ROOM, None),
        ((primary(1, machine=None, condition=replace(GOOD, diskless_sync=False)), NEW), ROOM, None),
        ((primary(1, condition=with_data(None)), replace(NEW, machine=FULL)), ROOM, None),
        ((primary(1), replace(NEW, machine=None)), ROOM, None),
        ((primary(1, condition=with_data(2 * 10**9)), NEW), replace(ROOM, memory_limit=0), None),
        ((primary(1, condition=with_data(10**9)), NEW), ROOM, None),
    ],
)
def test_room_that_is_known_to_be_too_little_is_refused_unless_accepted(members, place, where):
    answer = asked(*members, place=place)
    assert (answer.where if isinstance(answer, Refusal) else None) == where
    assert isinstance(asked(*members, place=place, accept=frozenset({"no-room"})), Joining)


def test_whose_disk_is_too_small_is_told():
    of_the_new_one = asked(primary(1), replace(NEW, machine=FULL))
    told = "its disk has 10 bytes free for 1,000,000 bytes of data; make room, or accept=no-room"
    assert str(of_the_new_one) == f"refused: no-room keydb-4: {told}"
    of_the_primary = asked(primary(1, machine=FULL, condition=replace(GOOD, diskless_sync=False)), NEW)
    told = (
        "writes 1,000,000 bytes of data to its disk for a new replica, which has 10 free; make room, or accept=no-room"
    )
    assert str(of_the_primary) == f"refused: no-room keydb-1: {told}"


def test_its_own_resync_is_no_other_one():
    answer = asked(primary(1), replica(4, links=(link(1, up=False, syncing=True),), keys=0))
    assert isinstance(answer, Joining)


# The part that is a plan


def decided(*members):
    return plan(group(*members), ASKED)


def test_it_follows_and_has_everything_before_anybody_is_told():
    answer = decided(*OLD, virgin(4))
    assert answer.steps == (Follow("keydb-4", "keydb-1", address(1)), BackInSync("keydb-4", "keydb-1", address(1)))
    assert (answer.verb, answer.group) == ("add-node", "demo")
    assert (answer.primary, answer.former, answer.node) == ("keydb-1", "keydb-1", "keydb-4")
    assert answer.outcome == "keydb-4 is a replica of keydb-1, in sync"
    assert str(answer.loss) == "0 bytes (keydb-4 holds nothing that keydb-1 lacks)"
    assert (answer.proof, answer.gap) == ("keydb-1 stays the primary", "none")


def test_whoever_follows_already_is_waited_for():
    syncing = replica(4, links=(link(1, up=False, syncing=True),), keys=0)
    assert lines(decided(*OLD, syncing)) == ["BackInSync keydb-4"]
    assert lines(decided(*OLD, replace(syncing, loading=True))) == ["BackInSync keydb-4"]
    not_counted = primary(1, replicas=(Replica(replica(4).address, False, 0, None),))
    assert lines(decided(not_counted, replica(4))) == ["BackInSync keydb-4"]


def test_whoever_is_in_sync_has_joined():
    counted = primary(1, replicas=(Replica(replica(4).address, True, 0, 0),))
    for one in (primary(1), counted):
        assert (
            str(decided(one, replica(4))) == "nothing to do: already-joined keydb-4: is a replica of keydb-1, in sync"
        )


@pytest.mark.parametrize(
    "members, code",
    [
        ((*OLD, NEW), "node-refused"),
        ((*OLD, silent(4)), "node-no-answer"),
        ((guarded(1), virgin(4)), "no-primary"),
        ((*OLD, guarded(4, replication_id=stream("d"))), "unrelated"),
        ((*OLD, virgin(4, loading=True)), "loading"),
        ((promoted(1), guarded(4, offset=1100)), "diverged"),
        ((primary(1), replica(2, loading=True), virgin(4)), "resync-running"),
    ],
)
def test_what_changed_since_it_was_asked_for_is_refused(members, code):
    answer = decided(*members)
    assert isinstance(answer, Refusal)
    assert answer.code == code


def test_a_new_node_that_was_not_started_is_told_with_its_reason():
    told = (
        "refused: node-no-answer keydb-4: was not started: does not answer within 2 s; look at its log; then this again"
    )
    assert str(decided(*OLD, silent(4))) == told


def test_another_run_finishes_what_a_dead_one_began():
    for done in (0, 1):
        world = World(primary(1), replica(2), virgin(4), route="keydb-1")
        first = plan(world.topology(), ASKED)
        assert isinstance(first, Plan)
        world.perform(first.steps[:done])
        again = plan(world.topology(), ASKED)
        if isinstance(again, Plan):
            world.perform(again.steps[:1])
        assert isinstance(plan(world.topology(), ASKED), NothingToDo)

"""keydb-facts, "Rejoin: what happens to an ex-primary", and docs/lineage.md as rows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import guarded, orphan, primary, promoted, stream

from keydb_runbooks.runbooks.lineage import PING_BYTES, Kinship, Relation, descends, may_hold_until, relate, unrecorded
from keydb_runbooks.runbooks.replication import Ancestor

SAME, FORKED, DIVERGED = Kinship.SAME, Kinship.FORKED, Kinship.DIVERGED
EMPTY, UNRELATED, PINGED = Kinship.EMPTY, Kinship.UNRELATED, Kinship.PINGED

# The primary took over stream a up to 1000 (second_repl_offset 1001), is at 1200 in stream b now, and its data
# remember stream 9 up to 400. Its backlog begins at 500.
PRIMARY = promoted(1, backlog_first=500, ancestors=(Ancestor(stream("a"), 1000), Ancestor(stream("9"), 400)))

# stream, offset, changes of the node        -> kinship, bytes lost, partial
ROWS = [
    ("b", 1200, {}, SAME, 0, True),
    ("b", 900, {}, SAME, 0, True),
    ("b", 499, {}, SAME, 0, True),
    ("b", 498, {}, SAME, 0, False),  # its next byte, 499, is no longer in the backlog
    ("b", 1201, {}, DIVERGED, 1, False),
    ("b", 1214, {"paused": True}, PINGED, 14, False),
    ("b", 1215, {"paused": True}, DIVERGED, 15, False),
    ("a", 1000, {}, FORKED, 0, True),
    ("a", 499, {}, FORKED, 0, True),
    ("a", 498, {}, FORKED, 0, False),
    ("a", 1001, {}, DIVERGED, 1, False),
    ("a", 1051, {}, DIVERGED, 51, False),
    ("a", 1056, {"paused": True}, PINGED, 56, False),
    (
        "a",
        1055,
        {"paused": True},
        DIVERGED,
        55,
        False,
    ),  # no number of PINGs is as long: somebody paused it behind a write
    ("a", 1000, {"paused": True}, FORKED, 0, True),
    ("a", 1056, {"paused": None}, DIVERGED, 56, False),  # unknown is not paused
    ("9", 400, {}, FORKED, 0, False),  # known from the data alone: the server asks for everything
    ("9", 401, {}, DIVERGED, 1, False),
    ("c", 1000, {}, UNRELATED, None, False),
    ("c", 1000, {"paused": True}, UNRELATED, None, False),
    ("0", 1000, {}, UNRELATED, None, False),
    ("c", 1000, {"keys": 0}, EMPTY, 0, False),
]


@pytest.mark.parametrize("letter, offset, changes, kinship, lost, partial", ROWS)
def test_a_node_beside_the_primary(letter, offset, changes, kinship, lost, partial):
    node = primary(2, **{"replication_id": stream(letter), "offset": offset, **changes})
    relation = relate(node, PRIMARY)
    assert (relation.kinship, relation.lost_bytes, relation.partial) == (kinship, lost, partial)


@pytest.mark.parametrize("changes, kinship", [({}, DIVERGED), ({"paused": True}, PINGED)])
def test_a_node_that_a_dead_run_had_guarded_already_is_told_by_its_pause(changes, kinship):
    assert relate(guarded(2, offset=1028, **changes), PRIMARY).kinship is kinship


def test_the_pause_of_a_replica_tells_nothing_of_what_it_got():
    assert relate(orphan(2, offset=1028, paused=True), PRIMARY).kinship is DIVERGED


@pytest.mark.parametrize("kinship", Kinship)
def test_only_what_is_harmless_or_looks_like_pings_needs_nobody_s_word(kinship):
    relation = Relation(kinship, 0 if kinship in (SAME, FORKED, EMPTY) else 14, partial=False)
    assert relation.explained is (kinship not in (DIVERGED, UNRELATED))


def test_a_ping_has_the_length_that_servers_send():
    assert len(b"*1\r\n$4\r\nPING\r\n") == PING_BYTES


# (stream, offset, changes) -> the last offset at which nothing is lost
UNTIL = [("a", 900, {}, 1000), ("9", 100, {}, 400), ("b", 1190, {}, 1190), ("a", 900, {"keys": 0}, None)]


@pytest.mark.parametrize("letter, offset, changes, until", UNTIL)
def test_up_to_where_a_node_may_get_more_and_lose_nothing(letter, offset, changes, until):
    node = primary(2, **{"replication_id": stream(letter), "offset": offset, **changes})
    assert may_hold_until(node, PRIMARY) == until


def test_forty_zeros_are_nobodys_former_id():
    never = primary(1, previous_replication_id="0" * 40)
    node = primary(2, replication_id="0" * 40)
    assert (relate(node, never).kinship, descends(never, node)) == (UNRELATED, False)


def test_without_a_backlog_no_resync_is_partial():
    assert not relate(primary(2, replication_id=stream("b")), replace(PRIMARY, backlog_first=None)).partial


def test_a_promoted_node_descends_from_the_node_whose_stream_it_took_over():
    old = primary(2)
    assert (descends(PRIMARY, old), descends(old, PRIMARY)) == (True, False)


@pytest.mark.parametrize(
    "node, missing",
    [
        (primary(1), False),
        (promoted(1), False),
        (promoted(1, ancestors=()), True),
        (promoted(1, ancestors=(Ancestor(stream("9"), 400),)), True),
    ],
)
def test_a_promotion_that_is_missing_in_the_data_is_noticed(node, missing):
    assert unrecorded(node) is missing


NODES = st.builds(
    primary,
    st.integers(2, 9),
    replication_id=st.sampled_from([stream(letter) for letter in "0abc9"]),
    previous_replication_id=st.sampled_from([stream(letter) for letter in "0ab"]),
    offset=st.integers(0, 2000),
    second_offset=st.integers(-1, 2000),
    backlog_first=st.none() | st.integers(0, 2000),
    keys=st.integers(0, 2),
    paused=st.sampled_from([None, True, False]),
    ancestors=st.lists(st.builds(Ancestor, st.sampled_from([stream("a"), stream("9")]), st.integers(0, 2000))).map(
        tuple
    ),
)


@given(NODES, NODES)
def test_harmless_means_no_byte_is_lost_and_unknown_is_never_harmless(node, other):
    relation = relate(node, other)
    assert relation.harmless == (relation.lost_bytes == 0)
    assert (relation.kinship is UNRELATED) == (relation.lost_bytes is None)
    assert relation.lost_bytes is None or relation.lost_bytes >= 0


@given(NODES, NODES)
def test_a_partial_resync_never_throws_anything_away(node, other):
    relation = relate(node, other)
    assert not relation.partial or relation.harmless


@given(NODES, NODES)
def test_partial_exactly_as_the_servers_decide_it(node, other):
    """The formula of keydb-facts, word for word; a node without keys is never promised one."""
    next_byte = node.offset + 1
    follows_id = other.replication_id == node.replication_id and node.offset <= other.offset
    knows_id = other.previous_replication_id == node.replication_id != stream("0") and next_byte <= other.second_offset
    kept = other.backlog_first is not None and next_byte >= other.backlog_first
    same_id_ahead = other.replication_id == node.replication_id and node.offset > other.offset
    expected = not node.empty and kept and (follows_id or knows_id) and not same_id_ahead
    assert relate(node, other).partial == expected


@given(NODES)
def test_a_node_has_its_own_data(node):
    assert relate(node, node).kinship in (SAME, EMPTY)

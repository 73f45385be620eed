"""What differs between two data sets: how keys are compared, counted, and told."""

import pytest

from keydb_runbooks.runbooks.differences import (
    ONLY_HERE,
    OTHER_EXPIRY,
    OTHER_LENGTH,
    OTHER_TYPE,
    OTHER_VALUE,
    Difference,
    Differences,
    Seen,
    canonical,
    compared_by_looks,
    escaped,
    other_expiry,
    shorten,
)

# (on the node, on the primary, what differs)
LOOKS = [
    (Seen("string", 3), Seen("none"), ONLY_HERE),
    (Seen("string", 3), Seen("list", 3), OTHER_TYPE),
    (Seen("string", 3), Seen("string", 4), OTHER_LENGTH),
    (Seen("string", 3), Seen("string", 3), None),
]


@pytest.mark.parametrize("here, there, what", LOOKS)
def test_type_and_length_tell_most_of_what_differs(here, there, what):
    assert compared_by_looks(here, there) == what


# (expiry on the node, on the primary, whether they differ)
EXPIRIES = [
    (None, None, False),
    (None, 5, True),
    (5, None, True),
    (10_000, 12_000, False),
    (10_000, 12_001, True),
    (12_001, 10_000, True),
]


@pytest.mark.parametrize("here, there, differ", EXPIRIES)
def test_expiries_differ_beyond_what_two_looks_explain(here, there, differ):
    assert other_expiry(Seen("string", 1, here), Seen("string", 1, there)) is differ


# (type, two answers, whether they are the same value)
VALUES = [
    ("set", ["a", "b"], ["b", "a"], True),
    ("set", ["a"], ["b"], False),
    ("hash", ["f", "1", "g", "2"], ["g", "2", "f", "1"], True),
    ("hash", ["f", "1", "g", "2"], ["f", "2", "g", "1"], False),
    ("list", ["a", "b"], ["b", "a"], False),
    ("string", "a", "a", True),
]


@pytest.mark.parametrize("kind, one, other, same", VALUES)
def test_sets_and_hashes_have_no_order_and_lists_have_one(kind, one, other, same):
    assert (canonical(kind, one) == canonical(kind, other)) is same


# (key, as it is told)
KEYS = [
    (b"lock: 1", '"lock: 1"'),
    (b'a"b\\c', '"a\\"b\\\\c"'),
    (b"\n\r\t\x00\x1b[2J\x7f", '"\\n\\r\\t\\x00\\x1b[2J\\x7f"'),
    ("\u00e9".encode(), '"\\xc3\\xa9"'),
    (b"\xff", '"\\xff"'),
]


@pytest.mark.parametrize("key, told", KEYS)
def test_a_key_is_told_by_plain_characters_only(key, told):
    assert escaped(key.decode("utf-8", "surrogateescape")) == told


def test_a_long_key_is_cut_and_says_how_long_it_is():
    assert (shorten("a" * 5, 5), shorten("a" * 6, 5)) == ("aaaaa", "aaaaa... (6 characters)")


def found(count, limit=1000):
    differences = Differences("keydb-1", "keydb-2", limit, compared=count)
    for number in range(count):
        what = OTHER_VALUE if number else ONLY_HERE
        differences.add(Difference(number % 2, f"k{number}", what, "string", 3))
    return differences


def test_each_kind_is_counted():
    differences = Differences("keydb-1", "keydb-2", 10)
    for what in (ONLY_HERE, ONLY_HERE, OTHER_VALUE, OTHER_VALUE, OTHER_VALUE):
        differences.add(Difference(0, "k", what, "string", 3))
    assert (differences.only_here, differences.other) == (2, 3)


def test_all_are_counted_and_the_first_are_listed():
    differences = found(5, limit=2)
    differences.only_there = 7
    assert differences.sentence == (
        "of 5 keys beside runbook:* 1 are only on keydb-1 and 4 differ from keydb-2's; 7 are only on keydb-2"
    )
    assert differences.json() == {
        "format": 1,
        "node": "keydb-1",
        "primary": "keydb-2",
        "compared": 5,
        "only_on_node": 1,
        "other": 4,
        "only_on_primary": 7,
        "limit": 2,
        "listed": [
            {"database": 0, "key": '"k0"', "what": "only on the node", "type": "string", "length": 3},
            {"database": 1, "key": '"k1"', "what": "another value", "type": "string", "length": 3},
        ],
    }
    assert differences.lines == ['only on the node  0 string  "k0"', 'another value     1 string  "k1"', "and 3 more"]


def test_a_screen_shows_twenty_of_them():
    assert (len(found(20).lines), found(21).lines[-1]) == (20, "and 1 more")


def test_all_that_can_be_said_of_a_key_has_a_word():
    assert len({ONLY_HERE, OTHER_TYPE, OTHER_LENGTH, OTHER_VALUE, OTHER_EXPIRY}) == 5
    assert (Seen("none").there, Seen("string").there) == (False, True)

"""Which verb comes first when several things are wrong: a case for each row, and what outranks what."""

from dataclasses import replace

import pytest
from worlds import GOOD, fenced, group, guarded, orphan, primary, promoted, proxy, replica, silent, stream

from keydb_runbooks.runbooks.findings import find
from keydb_runbooks.runbooks.incident import ROWS, next_verb
from keydb_runbooks.runbooks.proxy import UnreadProxy

NO_PROXY = UnreadProxy("proxy-1", "refused", "is not there")


def stopped(number):
    return silent(number, "refused", stopped=True)


CASES = [
    ((primary(1), replica(2), proxy(1)), None),
    ((primary(1), replica(2), NO_PROXY), ("start", None)),
    ((stopped(1), orphan(2), NO_PROXY), ("start", None)),
    ((stopped(1), stopped(2)), ("start", None)),
    ((stopped(1), silent(2)), ("start", None)),
    ((silent(1), silent(2)), None),
    ((silent(1), replica(2), orphan(3)), None),
    ((stopped(1), orphan(2)), ("failover", None)),
    ((primary(1, keys=0, epoch=None, replication_id=stream("f")), orphan(2), orphan(3)), ("failover", None)),
    ((primary(1, epoch=None, replication_id=stream("f")), orphan(2), orphan(3)), None),
    ((primary(1, paused=True, epoch=4), guarded(2, epoch=5), replica(3, epoch=4)), None),
    ((primary(1), primary(2)), None),
    ((promoted(2), primary(1, paused=True, good_replicas=0)), ("rejoin", None)),
    ((primary(1, paused=True), replica(2)), ("abort", None)),
    ((fenced(primary(1)), replica(2)), ("unfence", "keydb-1")),
    ((primary(1), fenced(replica(2))), None),
    ((primary(1, condition=replace(GOOD, saved=False, dumped=False)), replica(2)), ("switchover", None)),
    ((primary(1, memory_limit=9, memory_used=9), replica(2)), None),
    ((primary(1), replica(2), proxy(2)), ("rejoin", None)),
    ((primary(1), replica(2), stopped(3)), ("start", None)),
    ((primary(1, good_replicas=0), guarded(2)), ("rejoin", None)),
    ((primary(1, good_replicas=0), silent(2, "unreachable-host")), ("start", None)),
    ((primary(1), replica(2), silent(3)), None),
    ((primary(1), replica(2), guarded(3)), ("rejoin", None)),
]


@pytest.mark.parametrize("members, verb", CASES)
def test_the_verb_of_the_first_row_that_is_there_comes_next(members, verb):
    assert next_verb(find(group(*members))) == verb


def test_each_row_can_be_the_first():
    """A row that another one above always hides would say something that nobody is told."""
    met = set()
    for members, _ in CASES:
        told = [(one.code, f"{one.severity.value}: {one.sentence}") for one in find(group(*members))]
        met |= {
            next((row for row in ROWS if any(row.code == code and row.part in words for code, words in told)), None)
        }
    assert {row.code for row in ROWS if row not in met} == {"follows-other"}

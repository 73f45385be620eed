"""A replica that its primary lists by an address which no node has, and who else may be meant by it."""

from dataclasses import replace

import pytest
from worlds import address, broken, guarded, orphan, primary, replica

from keydb_runbooks.runbooks.listed import may_join, only_stranger, row_of
from keydb_runbooks.runbooks.replication import Address, Replica

GATEWAY = Address("172.17.0.1", 6379)
KNOWN = {address(1), address(2), address(3)}


def row(where=GATEWAY, online=False, offset=0):
    return Replica(where, online, offset, 0)


def listing(*rows):
    return replace(primary(1), replicas=rows)


def test_a_replica_is_found_by_its_address():
    mine = row(address(2))
    assert row_of(listing(row(), row(address(3)), mine), address(2)) is mine
    assert row_of(listing(row()), address(2)) is None


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ((), None),
        ((row(),), row()),
        ((row(), row(address(3))), row()),
        ((row(online=True, offset=7), row(online=True)), row(online=True)),
        ((row(online=True, offset=7),), None),
        ((row(address(3)),), None),
        ((row(), row()), None),
    ],
)
def test_the_only_one_in_a_full_resync_that_is_nobody_else_is_the_stranger(rows, found):
    assert only_stranger(listing(*rows), KNOWN) == found


@pytest.mark.parametrize(
    ("node", "may"),
    [
        (replica(3, of=1), False),
        (replica(3, of=1, loading=True), True),
        (orphan(3, of=1, links=(broken(1),)), True),
        (orphan(3, of=1, links=(replace(broken(1), up=True, syncing=True),)), True),
        (orphan(3, of=2, links=(broken(2),)), False),
        (guarded(3), False),
        (primary(3), False),
    ],
)
def test_by_its_own_word_a_node_is_in_a_full_resync_or_not(node, may):
    assert may_join(node, address(1)) is may

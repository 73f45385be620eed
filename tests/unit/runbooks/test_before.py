"""The time before a group's pods, as its Lease remembers it."""

import pytest

from keydb_runbooks.runbooks.before import ENDED, Before, before_pods

FIRST, LATER, LAST = "2026-11-30T12:00:00Z", "2026-11-30T12:00:01Z", "2026-12-01T00:00:00Z"


def lease(annotations=None):
    told = {"name": "keydb-runbooks-demo", "creationTimestamp": LATER}
    return {"metadata": told if annotations is None else {**told, "annotations": annotations}}


def pod(number, made):
    return {"metadata": {"name": f"keydb-{number}", "creationTimestamp": made}}


@pytest.mark.parametrize(
    "found, pods",
    [
        (None, [pod(0, FIRST), pod(1, LAST)]),
        (lease(), []),
        (lease({}), [pod(0, FIRST), pod(1, LATER)]),
        (lease({ENDED: LAST}), [pod(0, LAST)]),
        (lease(), [{"metadata": {"name": "keydb-0"}}]),
    ],
)
def test_pods_that_every_run_was_on_had_nobody_before_them(found, pods):
    assert before_pods(found, pods) == Before("", "")


@pytest.mark.parametrize(
    "pods, told",
    [
        ([pod(0, FIRST), pod(1, LAST)], f"keydb-1 was made later, {LAST}"),
        ([pod(0, LAST), pod(1, LAST)], f"keydb-0 and keydb-1 were made later, {LAST}"),
        ([pod(0, LAST), pod(1, "2026-11-30T12:00:02Z")], f"keydb-0 and keydb-1 were made later, {LAST}"),
    ],
)
def test_a_pod_that_is_younger_than_the_groups_first_run_had_somebody_before_it(pods, told):
    kept = f"keydb-runbooks-demo tells of a run on the group at {LATER} already"
    assert before_pods(lease(), pods) == Before(f"{kept}, and {told}", "")
    assert before_pods(lease({"other": "x"}), pods).runs


def test_a_lease_of_which_nobody_knows_since_when_it_is_there_is_older_than_any_pod():
    found = {"metadata": {"name": "lease"}}
    assert before_pods(found, [pod(0, FIRST)]).runs == (
        f"lease tells of a run on the group at an unknown time already, and keydb-0 was made later, {FIRST}"
    )

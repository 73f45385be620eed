"""Servers of another kind: each has one word, whoever says it, and no verb touches a group that has one."""

from dataclasses import replace

import pytest
from worlds import WRITES, group, guarded, link, orphan, primary, promoted, replica, silent, virgin

from keydb_runbooks.runbooks import failover, founding, rejoin, steps, steps_fence, switchover
from keydb_runbooks.runbooks.findings import Severity, find
from keydb_runbooks.runbooks.kinds import CONTAINERS, HINTS, NEEDED, OLDEST, kind_of, name_of
from keydb_runbooks.runbooks.plan import Refusal, Request
from keydb_runbooks.runbooks.replication import Address, Rights, Role

UPGRADE = "upgrade it first: Redis 6.2.6, KeyDB 6.2.1 and every Valkey have what verbs need"
SENTINEL = "use SENTINEL FAILOVER there, or take the group from every Sentinel with SENTINEL REMOVE first"
SERVICE = "a managed service has tools of its own"
ACTIVE = "runs in active-replica mode, where every node takes writes; set active-replica no and restart it first"
UNKNOWN = "did not tell whether Sentinels watch it, or which commands it permits; run this again, and look at the server if that stays"

# (what differs at keydb-2, what is said of it)
ANSWERING = [
    ({"version": "6.2.0"}, f"too-old keydb-2: runs keydb 6.2.0; {UPGRADE}"),
    ({"engine": "redis", "version": "6.2.5"}, f"too-old keydb-2: runs redis 6.2.5; {UPGRADE}"),
    ({"engine": "redis", "version": "5.0.10"}, f"too-old keydb-2: runs redis 5.0.10; {UPGRADE}"),
    ({"version": ""}, f"too-old keydb-2: runs keydb of an unknown version; {UPGRADE}"),
    ({"cluster": True}, "cluster-mode keydb-2: runs in cluster mode; use CLUSTER FAILOVER there"),
    ({"links": (link(1), link(3))}, "multi-master keydb-2: replicates 2 primaries (multi-master); leave one with REPLICAOF REMOVE host port first"),
    ({"role": Role.ACTIVE_REPLICA}, f"active-replica keydb-2: {ACTIVE}"),
    ({"active_replica": True}, f"active-replica keydb-2: {ACTIVE}"),
    ({"role": Role.ACTIVE_REPLICA, "links": (link(1), link(3))}, "multi-master keydb-2: replicates 2 primaries (multi-master); leave one with REPLICAOF REMOVE host port first"),
    ({"sentinels": 1}, f"sentinel-watched keydb-2: is watched by a Sentinel, which would promote a node of its own choice soon after a verb; {SENTINEL}"),
    ({"sentinels": 3}, f"sentinel-watched keydb-2: is watched by 3 Sentinels, which would promote a node of their own choice soon after a verb; {SENTINEL}"),
    ({"rights": Rights(missing=("CONFIG SET", "REPLICAOF"), forbidden=("GET",))}, f"command-missing keydb-2: does not know CONFIG SET, REPLICAOF: renamed or disabled there; take rename-command out of its file and restart it; {SERVICE}"),
    ({"rights": Rights(forbidden=("CONFIG REWRITE", "SET"))}, f"not-permitted keydb-2: does not permit the operator CONFIG REWRITE, SET; give its user the operator's rules (docs/users.md); {SERVICE}"),
    ({"sentinels": None}, f"kind-unknown keydb-2: {UNKNOWN}"),
    ({"rights": None}, f"kind-unknown keydb-2: {UNKNOWN}"),
    ({"active_replica": None}, f"kind-unknown keydb-2: {UNKNOWN}"),
    ({"sentinels": None, "rights": Rights(forbidden=("PUBSUB NUMSUB",))}, f"not-permitted keydb-2: does not permit the operator PUBSUB NUMSUB; give its user the operator's rules (docs/users.md); {SERVICE}"),
]  # fmt: skip

SILENT = [
    (silent(2, "sentinel-process"), "sentinel-process keydb-2: does not answer within 2 s; let keydb_port name the server that it watches"),
    (silent(2, "too-old"), f"too-old keydb-2: does not answer within 2 s; {UPGRADE}"),
    (silent(2, "command-missing"), f"command-missing keydb-2: does not answer within 2 s; take rename-command out of its file and restart it; {SERVICE}"),
    (silent(2, "not-permitted"), f"not-permitted keydb-2: does not answer within 2 s; give its user the operator's rules (docs/users.md); {SERVICE}"),
]  # fmt: skip

ROWS = [*((replica(2, **changes), told) for changes, told in ANSWERING), *SILENT]
ALL_ACCEPTED = Request(to="keydb-3", allow_unread=frozenset({"keydb-2"}), accept_loss=frozenset({"keydb-2"}), accept_split=True)  # fmt: skip
EACH = pytest.mark.parametrize("node, told", ROWS, ids=[told.split(":")[0].replace(" ", "-") for _, told in ROWS])


@EACH
@pytest.mark.parametrize("verb", [switchover, failover, rejoin], ids=lambda verb: verb.__name__.rpartition(".")[2])
def test_no_verb_touches_a_group_with_a_server_of_another_kind_whatever_is_accepted(verb, node, told):
    for first in (primary(1), silent(1, "refused", stopped=True)):
        answer = verb.plan(group(first, node, replica(3)), ALL_ACCEPTED, 1)
        assert isinstance(answer, Refusal) and str(answer) == f"refused: {told}"


@EACH
def test_install_founds_nothing_and_attaches_nobody_there(node, told):
    for first in (primary(1), orphan(1), virgin(1)):
        answer = founding.plan(group(first, node, virgin(3)), "keydb-1", min_replicas=1)
        assert str(answer) == f"refused: {told}"


@EACH
def test_status_finds_it_by_the_same_word_and_sentence(node, told):
    found = [finding for finding in find(group(primary(1), node, replica(3))) if finding.where == "keydb-2"]
    assert [f"{finding.code} {finding.where}: {finding.sentence}" for finding in found] == [told]
    several_writers = found[0].code in ("active-replica", "multi-master")
    assert found[0].severity is (Severity.CRITICAL if several_writers else Severity.WARNING)


def test_every_kind_has_a_row_and_every_row_a_kind():
    assert {told.split()[0] for _, told in ROWS} == set(HINTS)


@pytest.mark.parametrize(
    "engine, version",
    [("keydb", "6.2.1"), ("keydb", "6.3.4"), ("keydb", "255.255.255"), ("redis", "6.2.6"), ("redis", "6.2.14"), ("redis", "7.0.15"), ("redis", "8.0-rc1"), ("valkey", "7.2.4-rc1"), ("valkey", "9.1.2")],
)  # fmt: skip
def test_a_version_that_is_not_older_than_the_oldest_is_no_kind(engine, version):
    assert kind_of(primary(1, engine=engine, version=version)) is None


def test_the_oldest_version_of_every_engine_is_known():
    assert set(OLDEST) == {"keydb", "redis", "valkey"}


@pytest.mark.parametrize("code", ["no-answer", "refused", "wrong-password", "unreachable-host"])
def test_who_cannot_be_read_is_of_no_kind(code):
    assert kind_of(silent(1, code)) is None


@pytest.mark.parametrize("node", [primary(1), replica(2), orphan(2), guarded(2), promoted(2), virgin(3)])
def test_an_ordinary_server_is_of_no_kind(node):
    assert kind_of(node) is None


def test_a_loading_server_is_not_called_unknown_since_it_cannot_be_asked():
    assert kind_of(replica(2, loading=True, sentinels=None, active_replica=None, rights=None)) is None


def test_the_parts_of_a_cluster_are_not_compared_as_a_group():
    found = find(group(primary(1, cluster=True), primary(2, cluster=True, keys=0), silent(3)))
    assert sorted(finding.code for finding in found) == ["cluster-mode", "cluster-mode", "node-no-answer"]


STEPS = [
    steps.Pause("keydb-1", 1),
    steps.Unpause("keydb-1"),
    steps.Reinstate("keydb-1", ("keydb-2",), 3, 1),
    steps.Promote("keydb-1", 1, 1),
    steps.RecordLineage("keydb-1", 1),
    steps.Follow("keydb-1", "keydb-2", Address("10.0.0.2", 6379)),
    steps.SaveConfiguration("keydb-1"),
    steps.VerifyWrite("proxy-1", "keydb-1", "run", 1),
    # Where users have a file of their own, its ACL SAVE is asked for by nobody (docs/users.md).
    steps_fence.Fence("keydb-1", WRITES, acl_file=False),
    steps_fence.Unfence("keydb-1", (replace(WRITES[0], known=False, kept=True),), acl_file=False),
    steps.Guard("keydb-1"),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.code)
def test_every_command_that_a_step_sends_was_tried_before(step):
    tried = {name_of(command) for command in NEEDED} | {"INFO"}  # INFO was answered, or nothing would be known
    assert {name_of(command) for command in step.commands} <= tried


def test_every_step_that_sends_commands_to_a_server_is_among_these():
    defined = (*vars(steps).values(), *vars(steps_fence).values())
    kinds = {kind for kind in defined if isinstance(kind, type) and issubclass(kind, steps.Step)}
    others = {steps.Step, steps.Route, steps.CatchUp, steps.ComeClose, steps.InSync, steps_fence.TryWrites}
    assert kinds - others == {type(step) for step in STEPS}


def test_a_command_in_a_container_is_called_by_two_words():
    assert [name_of(("CONFIG", "SET", "a", "b")), name_of(("SET", "a", "b"))] == ["CONFIG SET", "SET"]
    assert set(CONTAINERS) == {name_of(command).split()[0] for command in NEEDED if " " in name_of(command)}

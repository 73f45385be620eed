"""What of a pod's making is told to undo roles, in the shapes of charts that people run, and what is not."""

from dataclasses import replace

import pytest
from worlds import codes, group, primary, replica

from keydb_runbooks.runbooks import checks_group, switchover
from keydb_runbooks.runbooks.checks import CHECKS
from keydb_runbooks.runbooks.checks_server import Found, Situation
from keydb_runbooks.runbooks.findings import find
from keydb_runbooks.runbooks.made import HINTS, MOVERS, UNREAD, Undoing, judge
from keydb_runbooks.runbooks.plan import Plan, Refusal, Request

SET = {"kind": "StatefulSet", "name": "keydb"}
VOLUMES = [
    {"name": "data", "persistentVolumeClaim": {"claimName": "data-keydb-0"}},
    {"name": "conf", "emptyDir": {}},
    {"name": "scripts", "configMap": {"name": "keydb"}},
]
DATA = {"name": "data", "mountPath": "/data"}


def pod(server: dict | None = None, *beside: dict, **spec) -> dict:
    container = {"name": "server", "command": ["keydb-server", "/data/keydb.conf"], "volumeMounts": [DATA]}
    return {"spec": {"containers": [{**container, **(server or {})}, *beside], "volumes": VOLUMES, **spec}}


def told(made: dict, *owners: dict, directory: str = "/data", **texts: str) -> list[str]:
    files = {f"keydb/{name.replace('_', '.')}": text for name, text in texts.items()}
    return [f"{one.code}: {one.sentence}" for one in judge(made, "server", owners or (SET,), files, directory)]


def test_a_plain_pod_with_its_configuration_on_a_volume_undoes_nothing():
    assert told(pod(), keydb_conf="# replicaof <host> <port>\n  # replicaof <host> <port>\nmaxmemory 1gb\n") == []


@pytest.mark.parametrize("made, texts, expected", [
    # As a chart with one StatefulSet for each role does it: by the environment.
    (pod({"env": [{"name": "REDIS_REPLICATION_MODE"}, {"name": "REDIS_MASTER_HOST"}, {"name": "OTHER"}]}), {},
     "role-at-start: is told a role by REDIS_REPLICATION_MODE and REDIS_MASTER_HOST whenever it starts"),
    (pod({"args": ["--replicaof", "keydb-0.keydb", "6379"]}), {}, "role-at-start: gets a role by the command of server whenever it starts"),
    (pod(initContainers=[{"name": "config-init", "command": ["sh", "-c", "redis-cli sentinel get-master-addr-by-name x"]}]), {},
     "role-at-start: gets a role by the command of config-init whenever it starts"),
    (pod({"command": ["sh", "/scripts/start.sh"]}), {"start_sh": 'exec keydb-server x --replicaof "$peer" 6379'},
     "role-at-start: is given a role by keydb/start.sh, which may count at every start"),
    (pod(None, {"name": "sentinel", "command": ["redis-sentinel", "/data/sentinel.conf"]}), {}, "sentinel-beside: has a Sentinel beside the server, container sentinel"),
    (pod(None, {"name": "watch", "ports": [{"containerPort": 26379}]}), {}, "sentinel-beside: has a Sentinel beside the server, container watch"),
    (pod(None, {"name": "redis-sentinel"}), {}, "sentinel-beside: has a Sentinel beside the server, container redis-sentinel"),
    (pod(None, {"name": "watch", "image": "bitnami/redis-sentinel:7"}), {}, "sentinel-beside: has a Sentinel beside the server, container watch"),
    (pod(None, {"name": "fix", "command": ["sh", "/scripts/first.sh", "/scripts/then.sh"]}), {"first_sh": "do=replicaof", "then_sh": "redis-cli $do"},
     "label-mover: has a container that moves roles or their labels, fix"),
    (pod(None, {"name": "fix", "command": ["/scripts/fix.sh"]}), {"fix_sh": "do=replicaof\nredis-cli $do"},
     "label-mover: has a container that moves roles or their labels, fix"),
    (pod(None, {"name": "split-brain-fix", "args": ["/scripts/fix.sh"]}), {"fix_sh": "# look\nredis-cli replicaof $m 6379"},
     "label-mover: has a container that moves roles or their labels, split-brain-fix"),
    (pod(None, {"name": "labels", "command": ["sh", "-c", "while :; do kubectl label pod x role=master; done"]}), {},
     "label-mover: has a container that moves roles or their labels, labels"),
    (pod({"volumeMounts": [DATA, {"name": "conf", "mountPath": "/data/conf"}]}), {"directory": "/data/conf"},
     "role-not-kept: keeps its configuration in volume conf, which ends with the pod"),
    (pod({"volumeMounts": []}), {}, "role-not-kept: keeps its configuration in the container, which ends with the pod"),
    (pod({"volumeMounts": [{"name": "nowhere", "mountPath": "/data"}]}), {}, "role-not-kept: keeps its configuration in volume nowhere, which ends with the pod"),
    (pod({"readinessProbe": {"exec": {"command": ["sh", "-c", "redis-cli info | grep role:master"]}}}), {}, "probe-judges-role: has a readiness probe that looks at its role"),
    (pod({"livenessProbe": {"exec": {"command": ["/health/alive.sh"]}}}), {"alive_sh": "redis-cli info | grep master_link_status:up"},
     "probe-judges-role: has a liveness probe that looks at its role"),
])  # fmt: skip
def test_what_undoes_a_role_is_told_in_these_words(made, texts, expected):
    assert told(made, **texts)[0] == expected


@pytest.mark.parametrize("made, texts", [
    (pod({"livenessProbe": {"tcpSocket": {"port": 6379}}, "readinessProbe": {"exec": {"command": ["redis-cli", "ping"]}}}), {}),
    (pod(None, {"name": "metrics", "image": "exporter", "args": ["--port", "9121"]}), {}),
    (pod({"env": [{"name": "REDIS_PASSWORD"}]}), {"start_sh": "# no replicaof here\nexec keydb-server /data/keydb.conf"}),
    (pod(initContainers=None), {}),
    (pod({"volumeMounts": [{**DATA, "mountPath": "/data/"}]}), {}),
])  # fmt: skip
def test_what_is_ordinary_is_not_told(made, texts):
    assert told(made, **texts) == []


def test_a_controller_of_another_kind_is_told_and_kubernetes_own_are_not():
    operator = {"kind": "RedisFailover", "name": "cache"}
    expected = "owned-by-controller: belongs to RedisFailover cache, whose controller may move roles by itself"
    assert told(pod(), SET, operator) == [expected]
    assert judge({"spec": {"containers": pod()["spec"]["containers"]}}, "server", (), {}, "/elsewhere") != ()


MOVER = Undoing("sentinel-beside", "has a Sentinel beside the server, container sentinel")
START = Undoing("role-at-start", "is told a role by X whenever it starts")


def test_a_check_names_all_pods_together_of_which_a_sentence_is_true():
    another = Undoing("sentinel-beside", "has a Sentinel of its own")
    seen = group(primary(1, made=(MOVER, START)), replica(2, made=(MOVER,)), replica(3, made=(another,)))
    situation = Situation(seen, seen.nodes[2], seen.nodes[0], seen.nodes[1:2], Request(), 1)
    assert list(checks_group.made("sentinel-beside")(situation)) == [
        Found("keydb-3", another.sentence, another.hint),
        Found("keydb-1, keydb-2", MOVER.sentence, MOVER.hint),
    ]


def test_whatever_moves_roles_by_itself_is_refused_until_a_person_accepts_it():
    seen = group(primary(1, made=(MOVER, START)), replica(2, made=(MOVER,)))
    answer = switchover.plan(seen, Request(), 1)
    assert isinstance(answer, Refusal)
    assert str(answer).splitlines()[0] == (
        "refused: sentinel-beside keydb-1, keydb-2: has a Sentinel beside the server, container sentinel; "
        f"{MOVER.hint}, or accept=sentinel-beside"
    )
    plan = switchover.plan(seen, Request(accept=frozenset({"sentinel-beside"})), 1)
    assert isinstance(plan, Plan)
    assert [warning.partition(";")[0] for warning in plan.warnings] == [
        "accepted by accept=sentinel-beside: keydb-1, keydb-2 has a Sentinel beside the server, container sentinel",
        "role-at-start keydb-1 is told a role by X whenever it starts",
    ]


def test_status_tells_each_once_for_all_pods_of_which_it_is_true():
    seen = group(primary(1, made=(MOVER, START)), replica(2, made=(MOVER, UNREAD)))
    assert [f"{one.severity.value} {one.code} {one.where}: {one.sentence}" for one in find(seen)] == [
        f"warning sentinel-beside demo: keydb-1, keydb-2: each {MOVER.sentence}; {MOVER.hint}",
        f"notice role-at-start demo: keydb-1: each {START.sentence}; {START.hint}",
    ]


def test_every_code_has_a_hint_and_a_check_that_has_a_case():
    rows = {row.code: row for row in CHECKS}
    assert codes("Undoing", "made") == set(HINTS) <= set(rows)
    assert {code for code in HINTS if rows[code].override} == set(MOVERS)
    seen = group(primary(1, made=(UNREAD,)), replica(2))
    assert "made-unknown keydb-1 what would undo" in str(switchover.plan(seen, Request(), 1).warnings)
    assert replace(MOVER, code="made-unknown").hint == HINTS["made-unknown"]

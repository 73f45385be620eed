"""Objects of pods that are other than install would make them: which field, since when whose, and no secret's value."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
from worlds import RUNBOOKS, group, primary

from keydb_runbooks.runbooks.drift import drift
from keydb_runbooks.runbooks.drift_objects import FIELDS_TOLD, Installed, objects_drift
from keydb_runbooks.runbooks.drift_values import Drift, Unseen, Verdict
from keydb_runbooks.runbooks.objects import GROUP, Tried, path_of
from keydb_runbooks.runbooks.plan import Refusal
from keydb_runbooks.runbooks.service import UnreadService

TAKE_OVER = "{} holds it: let it give that up, or install with force_conflicts=yes takes it over"
LENGTHY = "0123456789" * 6 + "x"


def there(group: str | None = "demo", **parts) -> dict:
    return {"metadata": {"namespace": "cache", "annotations": {} if group is None else {GROUP: group}}, **parts}


def tried(live: dict | None, wished: dict | None = None, kind: str = "ConfigMap", **fields) -> Tried:
    return Tried(kind, "keydb", live, wished, **fields)


def told(*some: Tried, **found) -> list[Drift]:
    given = {"forced": {}, "revisions": {}, "refusals": (), "who": "context x"} | found
    return list(objects_drift("demo", Installed(tuple(some), **given)))


def line(one: Drift) -> str:
    word = one.severity.value if one.verdict is Verdict.DRIFTED else one.verdict.value
    return f"{word} {one.code} {one.where}{' ' + one.key if one.key else ''}: {one.sentence}"


OBJECTS = [
    (tried(there(), there()), []),
    (tried(None, there()), ["warning object-missing configmap/keydb: is not there; run install"]),
    (tried(None, there(), kind="Service"), ["critical object-missing service/keydb: is not there; run install"]),
    # That it isn't there was read, whatever may be made.
    (tried(None, problem="not-permitted", detail="no"), ["warning object-missing configmap/keydb: is not there; run install"]),
    (tried(there("other"), there()), ["warning object-not-ours configmap/keydb: belongs to group other; take another name in the inventory, or remove it and run install"]),
    (tried(there(None), there()), ["warning object-not-ours configmap/keydb: was not made by install; take another name in the inventory, or remove it and run install"]),
    (tried({"metadata": {}}, there()), ["warning object-not-ours configmap/keydb: was not made by install; take another name in the inventory, or remove it and run install"]),
    (tried(there(spec={"a": 1}), there(spec={"a": 2})), ["warning object-differs configmap/keydb spec.a: is 1, the inventory says 2; run install"]),
    (tried(there(), there(spec={"a": 2})), ["warning object-differs configmap/keydb spec.a: is not there, the inventory says 2; run install"]),
    (tried(there(spec={"a": 1}), there()), ["warning object-differs configmap/keydb spec.a: is 1, the inventory says nothing of it; run install"]),
    (tried(there(data={"a": LENGTHY}), there(data={"a": LENGTHY[:-1]})), [f"warning object-differs configmap/keydb data.a: is {LENGTHY[:-1]}..., the inventory says {LENGTHY[:-1]}; run install"]),
    (tried(there(data={"a": "1\n2\n3"}), there(data={"a": "1\n4\n3"})), ["warning object-differs configmap/keydb data.a: is other in 1 line than the inventory says (install --dry shows them); run install"]),
    (tried(there(data={"a": "1\n2\n3"}), there(data={"a": "3"})), ["warning object-differs configmap/keydb data.a: is other in 2 lines than the inventory says (install --dry shows them); run install"]),
    (tried(there(), there(data={"a": "1\n2"})), ["warning object-differs configmap/keydb data.a: is other in 2 lines than the inventory says (install --dry shows them); run install"]),
    (tried(there(data={"a": "hunter1"}), there(data={"a": "hunter2"}), "Secret"), ["warning object-differs secret/keydb data.a: is another secret than the inventory says; run install"]),
    (tried(there(), problem="refused", detail="immutable"), ["warning object-refused configmap/keydb: is other than the inventory says, and can't be made so: immutable; mend that in the inventory"]),
    (tried(there(), problem="not-permitted", detail="x"), ['unknown object-unknown configmap/keydb: it could not be compared: context x lacks the right to patch it, as a dry run needs; docs/kubernetes.md, "Rights"']),
    (tried(None, problem="not-permitted", detail="x", verb="get"), ['unknown object-unknown configmap/keydb: it could not be compared: context x lacks the right to get it; docs/kubernetes.md, "Rights"']),
    (tried(there(), problem="no-answer", detail="silence"), ["unknown object-unknown configmap/keydb: it could not be compared: silence; run this again"]),
    (tried(None, problem="no-answer", detail="silence", verb="get"), ["unknown object-unknown configmap/keydb: it could not be compared: silence; run this again"]),
]  # fmt: skip


EMPTIED = tried(there(spec={"replicas": 0, "a": 1}), there(spec={"replicas": 3, "a": 2}), "StatefulSet")
UP = (
    "critical scaled-to-zero statefulset/keydb spec.replicas: somebody scaled it to 0 pods, the inventory says 3; "
    "kubectl -n cache scale statefulset keydb --replicas=3 brings them back, and so does install with force_conflicts=yes"
)


def test_pods_that_somebody_took_away_are_no_drift_that_install_mends_by_itself():
    other = "warning object-differs statefulset/keydb spec.a: is 1, the inventory says 2; run install"
    assert list(map(line, told(EMPTIED))) == [UP, other]
    taken = replace(EMPTIED, fields=((".spec.replicas", "kubectl"),))
    assert list(map(line, told(taken, forced={"statefulset/keydb": EMPTIED})))[:1] == [UP]
    unsaid = tried(there(spec={"replicas": 0, "a": 1}), there(spec={"a": 1}), "StatefulSet")
    assert list(map(line, told(unsaid))) == [
        "warning object-differs statefulset/keydb spec.replicas: is 0, the inventory says nothing of it; run install"
    ]


@pytest.mark.parametrize("one, lines", OBJECTS)
def test_each_object_is_told_once(one, lines):
    assert list(map(line, told(one))) == lines


def test_the_rest_is_told_whatever_could_not_be_tried():
    unread = tried(None, problem="not-permitted", verb="get")
    other = Tried("Service", "keydb-read", None, there())
    assert [(one.code, one.where) for one in told(unread, other)] == [
        ("object-unknown", "configmap/keydb"),
        ("object-missing", "service/keydb-read"),
    ]


def test_values_are_for_programs_too_and_those_of_a_secret_for_nobody():
    [one] = told(tried(there(spec={"a": 1}), there(spec={"a": LENGTHY})))
    assert (one.wanted, one.running, one.on_disk) == (LENGTHY, "1", Unseen.UNSEEN)
    [one] = told(tried(there(), there(spec={"a": 2})))
    assert (one.wanted, one.running) == ("2", None)
    [one] = told(tried(there(spec={"a": 2}), there()))
    assert (one.wanted, one.running) == (None, "2")
    [one] = told(tried(there(data={"a": "1\n2"}), there(data={"a": "1"})))
    assert (one.wanted, one.running) == (Unseen.UNSEEN, Unseen.UNSEEN)
    [one] = told(tried(there(data={"a": "hunter1"}), there(data={"a": "hunter\n2"}), "Secret"))
    assert (one.wanted, one.running) == ("(secret)", "(another secret)")
    assert "hunter" not in json.dumps([str(value) for value in vars(one).values()])
    [one] = told(tried(there(type="a"), there(type="b"), "Secret"))
    assert (one.wanted, one.running) == ("b", "a"), "its type is none"


@pytest.mark.parametrize("more, sentence", [
    (0, None),
    (1, "1 more field is other than the inventory says; install --dry shows all"),
    (2, "2 more fields are other than the inventory says; install --dry shows all"),
])  # fmt: skip
def test_only_so_many_fields_are_told_by_name(more, sentence):
    sides = [there(spec={f"k{number}": side for number in range(FIELDS_TOLD + more)}) for side in (1, 2)]
    found = told(tried(*sides))
    assert [one.key for one in found[:FIELDS_TOLD]] == [f"spec.k{number}" for number in range(FIELDS_TOLD)]
    assert [line(one) for one in found[FIELDS_TOLD:]] == (
        [f"warning object-differs configmap/keydb: {sentence}"] if sentence else []
    )


def ports(target: int, **more) -> dict:
    return there(spec={"ports": [{"name": "x"}, {"name": "keydb", "port": 6379, "targetPort": target}], **more})


def taken(fields: tuple[tuple[str, str], ...], forced: Tried) -> list[str]:
    one = replace(forced, wished=None, problem="conflict", detail="conflict", fields=fields)
    return list(map(line, told(one, forced={"service/keydb": forced})))


def test_a_field_that_another_manager_holds_is_told_with_it():
    forced = tried(ports(6380, x=1, y={"z": 1}), ports(6379, x=2, y={"z": 2}), "Service")
    fields = (("spec.ports[port=6379].targetPort", "editor"), ("spec.y", "helm"))
    assert taken(fields, forced) == [
        f"warning object-taken service/keydb spec.ports[keydb].targetPort: is 6380, the inventory says 6379; {TAKE_OVER.format('editor')}",
        "warning object-differs service/keydb spec.x: is 1, the inventory says 2; run install",
        f"warning object-taken service/keydb spec.y.z: is 1, the inventory says 2; {TAKE_OVER.format('helm')}",
    ]


def test_what_is_held_is_told_though_its_values_are_not_known():
    forced = tried(there(spec={"ab": 1}), there(spec={"ab": 2}), "Service")
    held = f"is other than the inventory says; {TAKE_OVER.format('editor')}"
    assert taken((("spec.a", "editor"),), forced) == [
        "warning object-differs service/keydb spec.ab: is 1, the inventory says 2; run install",
        f"warning object-taken service/keydb spec.a: {held}",
    ]
    refused = replace(forced, wished=None, problem="refused")
    assert taken((("spec.a", "editor"), ("spec.ab", "helm")), refused) == [
        f"warning object-taken service/keydb spec.a: {held}",
        f"warning object-taken service/keydb spec.ab: is other than the inventory says; {TAKE_OVER.format('helm')}",
    ]
    gone = tried(None, there(), "Service")
    assert taken((("spec.a", "editor"),), gone) == ["critical object-missing service/keydb: is not there; run install"]
    forced = tried(there(spec={"a": [1]}), there(spec={"a": [2]}), "Service")
    assert taken((("spec.a", "editor"),), forced) == [
        f"warning object-taken service/keydb spec.a[0]: is 1, the inventory says 2; {TAKE_OVER.format('editor')}"
    ]


@pytest.mark.parametrize("field, path", [
    ("spec.replicas", "spec.replicas"),
    ("metadata.labels.app.kubernetes.io/name", "metadata.labels.app.kubernetes.io/name"),
    ('spec.ports[port=6379,protocol="TCP"].targetPort', "spec.ports[keydb].targetPort"),
    ('spec.ports[port=6379,protocol="UDP"].targetPort', "spec.ports[1].targetPort"),
    ('spec.ports[port=1]', "spec.ports[port=1]"),
    ('spec.others[port=6379]', "spec.others[port=6379]"),
    ('spec.containers[name="server"].ports[containerPort=6379].name', "spec.containers[server].ports[0].name"),
    ('metadata.finalizers[v:"x"]', 'metadata.finalizers[v:"x"]'),
    ('spec.words[v:"x"]', 'spec.words[v:"x"]'),
    ("spec.words[port=1]", "spec.words[port=1]"),
])  # fmt: skip
def test_the_servers_name_of_a_field_is_ours(field, path):
    document = {
        "metadata": {"labels": {"app.kubernetes.io/name": "x"}},
        "spec": {
            "containers": [{"name": "server", "ports": [{"containerPort": 6379}]}],
            "ports": [
                {"name": "keydb", "port": 6379, "protocol": "TCP"},
                {"port": 6379, "protocol": "UDP"},
            ],
            "words": ["x", {"name": "y"}],
        },
    }
    assert path_of(field, document) == path


def test_pods_of_an_older_template_are_told():
    def older(live: dict | None, kind: str = "StatefulSet") -> list[str]:
        one = tried(live, live, kind, problem="" if live else "no-answer", verb="patch" if live else "get")
        revisions = {"keydb-0": "new", "keydb-1": "old"}
        return [line(one) for one in told(one, revisions=revisions) if one.code == "pod-outdated"]

    sentence = "runs as it was installed before, until its turn comes; run upgrade"
    assert older(there(status={"updateRevision": "new"})) == [f"notice pod-outdated keydb-1: {sentence}"]
    assert older(there(status={"updateRevision": "new"}), "Deployment") == []
    assert older(there(status={})) == older(there(status=None)) == older(there()) == older(None) == []


def test_a_secret_that_somebody_else_keeps_is_what_install_wants_it_to_be():
    lacks = Refusal("no-secret", "secret/theirs", "has no key check", "mend it")
    unread = Refusal("no-right", "secret/other", "no", "docs")
    assert list(map(line, told(refusals=(lacks, unread)))) == [
        "warning secret-refused secret/theirs: has no key check; mend it",
        "unknown object-unknown secret/other: it could not be compared: no; docs",
    ]


def test_a_service_that_is_not_there_is_told_once_and_all_is_told_worst_first():
    seen = replace(group(primary(1)), unread_services=(UnreadService("keydb", "missing", "there is none"),))

    def found(*beside: Drift) -> list[str]:
        return [f"{one.code} {one.where}" for one in drift(seen, (), (), beside)]

    of_another = told(Tried("Service", "other", None, None))
    assert found() == ["service-unread keydb"]
    assert found(*of_another) == ["object-missing service/other", "service-unread keydb"]
    assert found(*told(tried(None), tried(None, kind="Service"))) == [
        "object-missing service/keydb",
        "object-missing configmap/keydb",
    ]


def test_every_code_has_a_case():
    calls = ast.walk(ast.parse((RUNBOOKS / "drift_objects.py").read_text()))
    words = {part.value for call in calls if isinstance(call, ast.Call) and call.args and getattr(call.func, "id", "") in ("Drift", "unknown", "_drift") for part in ast.walk(call.args[0]) if isinstance(part, ast.Constant)}  # fmt: skip
    cases = Path(__file__).read_text()
    assert len(words) == 9 and all(f" {code} " in cases for code in words)

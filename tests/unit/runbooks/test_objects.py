"""Objects of a cluster: whose they are, what would change, and every reason against it at once."""

import pytest

from keydb_runbooks.runbooks.objects import (
    GROUP,
    TLS_MOUNT,
    Tried,
    refuse,
    refuse_encrypted,
    refuse_fewer,
    refuse_rerouted,
    taken_away,
)

PLACE = "namespace cache"


def live(group: str | None = "keydb", manager: str = "helm", **parts) -> dict:
    annotations = {"other/key": "x"} | ({} if group is None else {GROUP: group})
    metadata = {"name": "keydb", "namespace": "cache", "annotations": annotations, "uid": "1"}
    return {
        "metadata": {**metadata, "managedFields": [{"manager": manager}]},
        "spec": {"replicas": 3},
        "status": {"replicas": 3},
        **parts,
    }


def tried(*, there: dict | None = None, kind: str = "StatefulSet", name: str = "keydb", **fields) -> Tried:
    return Tried(kind, name, there, fields.pop("wished", None), **fields)


def told(*some: Tried, force: bool = False) -> list[str]:
    refusal = refuse(some, "keydb", PLACE, force=force)
    return [] if refusal is None else str(refusal).splitlines()


def test_what_is_new_or_ours_is_let_be():
    assert told(tried(wished=live()), tried(there=live(), wished=live())) == []


@pytest.mark.parametrize("one, sentence", [
    (tried(there=live(None)), "refused: not-ours statefulset/keydb: is there already, and install did not make it (helm did); take another name in the inventory, or remove it first"),
    (tried(there={"metadata": {"name": "x"}}), "refused: not-ours statefulset/keydb: is there already, and install did not make it (nobody is named as its owner); take another name in the inventory, or remove it first"),
    (tried(there=live("other")), "refused: other-group statefulset/keydb: belongs to group other, and this one is keydb; every group needs names of its own in a namespace"),
    (tried(problem="missing", detail="no namespace"), "refused: no-namespace namespace cache: no namespace; make it first: install makes none"),
    (tried(there=live(), problem="conflict", detail="x", fields=(("spec.replicas", "kubectl"), ("spec.a", "helm"))), "refused: owned-by-others statefulset/keydb: spec.replicas is kubectl's; spec.a is helm's; let them give it up, or force_conflicts=yes takes it over"),
    (tried(problem="not-permitted", detail="forbidden"), "refused: no-right statefulset/keydb: forbidden; docs/kubernetes.md lists the rights that install needs"),
    (tried(problem="no-answer", detail="silence"), "refused: no-api-server namespace cache: silence; reach it, then this again"),
    (tried(problem="refused", detail="invalid"), "refused: not-accepted statefulset/keydb: invalid; mend that in the inventory"),
])  # fmt: skip
def test_each_reason_has_a_sentence(one, sentence):
    assert told(one) == [sentence]


def test_all_reasons_are_told_at_once_and_what_they_share_once():
    lines = told(
        tried(problem="missing", detail="no namespace"),
        tried(problem="missing", detail="no namespace", name="other"),
        tried(problem="refused", detail="invalid", kind="Service", name="read"),
    )
    assert lines == [
        "refused: no-namespace namespace cache: no namespace; make it first: install makes none",
        "refused: not-accepted service/read: invalid; mend that in the inventory",
    ]


def test_pods_that_somebody_took_away_come_back_only_when_told():
    emptied = tried(there=live(spec={"replicas": 0}), wished=live())
    assert told(emptied) == [
        "refused: scaled-to-zero statefulset/keydb: somebody scaled it to 0 pods, and 3 are wanted; "
        "kubectl -n cache scale statefulset keydb --replicas=3 brings them back, and so does install with force_conflicts=yes"
    ]
    assert told(emptied, force=True) == []
    assert told(tried(there=live(spec={"replicas": 0}), wished=live(spec={}))) == []
    assert told(tried(there=live(spec={"replicas": 0}), wished=live(), kind="Service")) == []


def pods(count: int, start: int | None = None) -> dict:
    return live(spec={"replicas": count} | ({} if start is None else {"ordinals": {"start": start}}))


@pytest.mark.parametrize("there, wished, going", [
    (pods(3), pods(3), ()),
    (pods(3), pods(5), ()),
    (pods(3), pods(1), ("keydb-1", "keydb-2")),
    (pods(2), pods(2, start=1), ("keydb-0",)),
    (None, pods(3), ()),
    (pods(3), None, ()),
])  # fmt: skip
def test_pods_that_are_not_wanted_any_more_go(there, wished, going):
    assert taken_away([tried(kind="Service", there=live()), tried(there=there, wished=wished)]) == going


def test_a_pod_goes_only_if_another_one_is_the_primary():
    assert refuse_fewer((), None, "keydb") is None
    assert refuse_fewer(("keydb-2",), "keydb-0", "keydb") is None
    told = "keydb-2 would go, and none of those that stay is the primary, so it may be among them"
    hint = "with all of them in the inventory: status, then switchover to a lower number"
    assert str(refuse_fewer(("keydb-2",), None, "keydb")) == f"refused: primary-would-go keydb: {told}; {hint}"
    assert taken_away([]) == ()


def test_what_the_server_keeps_by_itself_is_no_change():
    after = live(manager="keydb-runbooks")
    after["metadata"] |= {"uid": "2", "generation": 3}
    after["status"] = {}
    one = tried(there=live(), wished=after)
    assert one.changes == () and not one.is_new


def test_each_leaf_that_changes_is_a_line_with_its_path():
    before = live(
        spec={
            "replicas": 3,
            "ports": [{"name": "keydb", "port": 1}, {"port": 2}],
            "list": ["a"],
            "gone": 1,
            "empty": {},
        }
    )
    after = live(
        spec={
            "replicas": 2,
            "ports": [{"name": "keydb", "port": 9}, {"port": 3}],
            "list": ["b"],
            "more": [],
            "empty": {},
        }
    )
    assert tried(there=before, wished=after).changes == (
        "- spec.replicas: 3",
        "+ spec.replicas: 2",
        "- spec.ports[keydb].port: 1",
        "+ spec.ports[keydb].port: 9",
        "- spec.ports[1].port: 2",
        "+ spec.ports[1].port: 3",
        "- spec.list[0]: a",
        "+ spec.list[0]: b",
        "- spec.gone: 1",
        "+ spec.more: []",
    )


def test_of_a_new_object_everything_is_a_change():
    one = tried(wished=live())
    assert one.is_new and one.changes[-1] == "+ spec.replicas: 3"


def test_a_text_changes_by_its_lines():
    one = tried(
        kind="ConfigMap", there=live(data={"a": "1\n2\n3\n"}), wished=live(data={"a": "1\nx\n3\n", "b": "new\nlines\n"})
    )
    assert one.changes == ("~ data.a:", "  - 2", "  + x", "+ data.b:", "  + new", "  + lines")
    assert tried(there=live(data={"a": "1\n2\n"}), wished=live()).changes == ("- data.a:", "  - 1", "  - 2")


def test_a_secrets_values_are_shown_nowhere():
    one = tried(
        kind="Secret", there=live(data={"a": "old", "c": "x"}), wished=live(data={"a": "hidden", "b": "hidden"})
    )
    assert one.changes == ("~ data.a: (secret)", "- data.c: (secret)", "+ data.b: (secret)")


def test_a_service_is_not_led_from_servers_to_proxies_nor_back():
    def service(target: object, ours: bool = True) -> dict:
        notes = {GROUP: "keydb"} if ours else {}
        ports = [{"port": 6379, "targetPort": target}]
        return {"kind": "Service", "metadata": {"annotations": notes}, "spec": {"ports": ports}}

    def told(live: dict | None, wanted: dict) -> str | None:
        another = ("service/y", None, service(6379))
        found = refuse_rerouted([another, ("service/x", live, wanted)])
        return None if found is None else str(found)

    def refused(now: str, then: str) -> str:
        sentence = f"leads to {now}, and to {then} it is to lead: clients that are connected would not follow"
        hint = "set keydb_routing back; or uninstall, which leaves the volumes, and install"
        return f"refused: routing-differs service/x: {sentence}; {hint}"

    assert told(service(6379), service("write")) == refused("a server", "proxies")
    assert told(service("read"), service(6379)) == refused("proxies", "a server")
    assert told(service("write"), service("write")) is None and told(None, service("write")) is None
    assert told(service(6379, ours=False), service("write")) is None, "that it is somebody else's is told by another"
    assert told({**service(6379), "metadata": {}}, service("write")) is None
    assert refuse_rerouted([("configmap/x", service(6379), {**service("write"), "kind": "ConfigMap"})]) is None


def test_pods_that_speak_one_way_are_not_told_to_speak_the_other_way():
    def pods_with(*mounts: str, ours: bool = True, kind: str = "StatefulSet") -> dict:
        containers = [{"volumeMounts": [{"mountPath": path} for path in mounts]}, {}]
        notes = {GROUP: "keydb"} if ours else {}
        spec = {"template": {"spec": {"containers": containers}}}
        return {"kind": kind, "metadata": {"annotations": notes}, "spec": spec}

    def told(live: dict | None, wanted: dict) -> str | None:
        found = refuse_encrypted([("service/x", None, {"kind": "Service"}), ("statefulset/x", live, wanted)])
        return None if found is None else str(found)

    def refused(now: str, then: str) -> str:
        sentence = f"its pods speak {now}, and the inventory asks for {then}: nobody could speak to those that run on"
        hint = "set the inventory's keydb_tls_... back; or uninstall, which leaves the volumes, and install"
        return f"refused: tls-differs statefulset/x: {sentence}; {hint}"

    plain, encrypted = pods_with("/data"), pods_with("/data", TLS_MOUNT)
    assert told(plain, encrypted) == refused("no TLS", "TLS")
    assert told(encrypted, plain) == refused("TLS", "no TLS")
    for nothing in ({}, {"template": {}}, {"template": {"spec": {}}}):
        assert told({**plain, "spec": nothing}, plain) is None
    assert told({**plain, "metadata": {}}, encrypted) is None
    assert told(plain, plain) is None and told(encrypted, encrypted) is None and told(None, encrypted) is None
    assert told(pods_with("/data", ours=False), encrypted) is None, "that it is somebody else's is told by another"
    assert told(plain, pods_with(TLS_MOUNT, kind="Deployment")) is None

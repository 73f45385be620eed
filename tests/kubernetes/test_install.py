"""A group that install makes out of nothing, and what becomes of it when pods, and what they held, go."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kubernetes import images
from tests.kubernetes.group import POD_NAME, PODS, eventually, made
from tests.kubernetes.images import ENGINE, WRITER_IMAGE
from tests.kubernetes.installed import Installed, InstalledRuns
from tests.kubernetes.lab.nodes import FIRST
from tests.kubernetes.lab.processes import Processes
from tests.kubernetes.looks import Looks

NOBODY = "127.0.0.1:1/nobody:1"
"""An image of a registry that doesn't answer."""


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with made(Installed(tmp_path_factory.mktemp("installed"))) as group:
        yield group


@pytest.fixture(scope="module")
def everybody(group: Installed) -> InstalledRuns:
    """The group, installed once."""
    runs = InstalledRuns(group)
    shown = runs.run("install", dry=True).ok().text
    assert "statefulset/keydb is new" in shown and "+ kind: PodDisruptionBudget" in shown
    assert runs.there() == [], "a dry run keeps nothing"
    assert not any(word in shown for word in group.passwords.values())
    text = runs.run("install").ok().text
    assert "done: install in" in text and "keydb-0 is the primary of keydb" in text
    group.wait()
    return runs


@pytest.fixture
def runs(everybody: InstalledRuns) -> InstalledRuns:
    everybody.group.wait()
    eventually(lambda: everybody.findings() == [], "the group is well", 60)
    return everybody


def test_out_of_nothing_comes_a_group_that_takes_writes_through_its_service(runs, tmp_path):
    assert runs.primary() == runs.service_leads_to() == PODS[0]
    with runs.writing() as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        assert writer.lost(tmp_path) == 0
    runs.run("drift").ok()
    assert runs.run("install").ok().total()[1:3] == (0, 0), "again changes nothing"


def test_drift_tells_which_objects_are_others_than_install_makes_and_who_holds_them(runs):
    from kubernetes import client

    core, space = runs.group.core, runs.group.namespace
    client.PolicyV1Api(runs.group.api).delete_namespaced_pod_disruption_budget("keydb", space)
    ports = [{"name": "keydb", "port": 6379, "targetPort": 6380}]
    core.patch_namespaced_service("keydb-read", space, {"spec": {"ports": ports}}, field_manager="editor")
    label = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "helm"}}}
    core.patch_namespaced_secret("keydb", space, label, field_manager="helm")
    core.patch_namespaced_secret("keydb", space, {"data": {"check": "b3RoZXI="}}, field_manager="editor")
    core.patch_namespaced_config_map("keydb", space, {"data": {"nodes": None}})
    # Where it leads is a role's matter, told by the role's finding alone.
    core.patch_namespaced_service("keydb-write", space, {"spec": {"selector": {POD_NAME: "keydb-2"}}})
    try:
        assert runs.drifts() == [
            "object-differs configmap/keydb data.nodes",
            "object-missing poddisruptionbudget/keydb",
            "object-taken secret/keydb data.check",
            "object-taken secret/keydb metadata.labels.app.kubernetes.io/managed-by",
            "object-taken service/keydb-read spec.ports[keydb].targetPort",
            "wrong-route keydb-write",
        ]
        runs.run("drift").refused("is 6380, the inventory says", "editor holds it", "helm holds it")
        # Without the right to try it that is told, and all else as before.
        looker = {"KUBECONFIG": str(runs.group.account("drifter", without="patch"))}
        told = runs.run("drift", environment=looker).refused("wrong-route keydb-write", "lacks the right to patch it")
        assert "context drifter" in told.text and "object-missing" not in told.text
    finally:
        runs.run("rejoin").ok()
        runs.run("install", force_conflicts="yes").ok()
    runs.run("drift").ok()


def test_a_pod_has_no_more_rights_than_it_needs(runs):
    told = runs.shell("keydb-1", "id -u; touch /x 2>&1; ls /var/run/secrets 2>&1; cat /proc/1/status")
    lines = told.splitlines()
    assert lines[0] == "999" and "Read-only file system" in lines[1] and "No such file" in lines[2]
    assert "CapEff:\t0000000000000000" in told and "Seccomp:\t2" in told and "NoNewPrivs:\t1" in told


def test_a_replica_that_was_deleted_comes_back_as_a_replica(runs):
    before = runs.status()
    runs.delete("keydb-2")
    runs.comes_back("keydb-2")
    assert runs.primary() == before["nodes"][0]["name"] == "keydb-0"
    assert "follow: keydb-0, which is primary" in runs.log("keydb-2")


def test_a_primary_that_was_deleted_lets_its_replicas_have_everything_and_is_the_primary_again(runs, tmp_path):
    with runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        runs.delete("keydb-0")
        runs.comes_back("keydb-0")
        writer.goes_on(60)
        assert writer.lost(tmp_path) == 0
    assert "primary: every peer answers, and had me as its primary" in runs.log("keydb-0")
    assert runs.primary() == runs.service_leads_to() == "keydb-0"


def test_all_pods_that_are_deleted_at_once_come_back_with_their_data_and_one_primary(runs, tmp_path):
    with runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        runs.delete(*PODS)
        for pod in PODS:
            runs.comes_back(pod)
        writer.goes_on(60)
        assert writer.lost(tmp_path) == 0
    assert runs.findings() == []


def test_a_replica_whose_volume_was_lost_gets_everything_from_the_primary(runs):
    runs.lose_volume("keydb-1")
    runs.comes_back("keydb-1")
    eventually(lambda: runs.findings() == [], "it is in sync", 60)
    assert runs.shell("keydb-1", "ls /data").split().count("keydb.conf") == 1
    runs.run("install").ok()


def test_a_primary_whose_volume_was_lost_is_nobodys_source(runs):
    primary = runs.primary()
    runs.lose_volume(primary)
    eventually(lambda: "I hold nothing: I must be nobody's source" in runs.log(primary), "it stays guarded", 60)
    assert runs.service_leads_to() == primary
    # The word that the pod before it ended was on that volume.
    runs.run("failover").refused("refused: not-fenced", f"the former {primary} may still take writes")
    runs.run("failover", accept_split="yes").ok()
    runs.comes_back(primary)
    assert runs.service_leads_to() == runs.primary() != primary


def test_switchover_and_failover_and_a_return(runs, tmp_path):
    before = runs.primary()
    with runs.writing() as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        runs.run("switchover").ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
        gone = runs.primary()
        assert runs.service_leads_to() == gone != before
        runs.shell(gone, "kill -9 $(cat /data/server.pid)")
        # Kubernetes starts it again, and the guard keeps it from being what its file says.
        eventually(lambda: "guarded start" in runs.log(gone) and runs.is_guarded(gone), "it is guarded", 60)
        runs.run("failover").ok()
        writer.goes_on()
    assert runs.service_leads_to() == (new := runs.primary()) != gone
    assert runs.events(new)[-1].startswith(f"is the primary of keydb instead of {gone} (failover by ")
    assert runs.events(gone)[-1].startswith(f"is no longer the primary of keydb: {new} is (failover by ")
    runs.comes_back(gone)
    runs.run("install").ok()
    assert runs.findings() == [], "install moves no role"


def test_what_changes_is_shown_line_by_line_and_running_servers_take_over_what_they_can(runs):
    with runs.nobody_restarts():
        text = runs.run("install", keydb_maxmemory="96mb").ok().text
        assert "configmap/keydb is changed" in text and "- maxmemory 64mb" in text and "+ maxmemory 96mb" in text
        assert "keydb-0, keydb-1, keydb-2 run as they were installed before" in " ".join(text.split())
        assert "maxmemory 96mb" in runs.shell("keydb-1", "cat /data/keydb.conf")
        runs.run("install").ok()


def test_upgrade_brings_another_image_pod_by_pod_the_primary_last_and_no_write_is_lost(runs, tmp_path):
    if not FIRST.home.exists():
        pytest.skip("no image is brought to KUBECONFIG's cluster: this needs the lab's own")
    Processes(FIRST.home).load(images.server(tmp_path / "next.tar", images.NEXT_IMAGE), FIRST.socket)
    before, primary = {pod: runs.uid(pod) for pod in PODS}, runs.primary()
    assert "nothing to do" in runs.run("upgrade").ok().text
    # From here on it is what the inventory names, for the tests behind this one as well.
    runs.environment["KEYDB_KUBERNETES_IMAGE"] = images.NEXT_IMAGE
    with runs.nobody_restarts():
        runs.run("install").ok()
    runs.run("drift").refused("pod-outdated keydb-0, keydb-1, keydb-2", "run upgrade")
    with runs.writing() as writer, Looks(runs) as looks:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        runs.run("upgrade").ok()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
    print(f"{looks.count} looks, {looks.syncing} of them at a full resync; restarted: {', '.join(looks.order)}")
    assert looks.most_away == 1, "one pod at a time is away"
    assert looks.most_syncing <= 1, "one full resync at a time"
    assert sorted(looks.order) == sorted(PODS) and looks.order[-1] == primary, "the primary last"
    assert not set(before.values()) & {runs.uid(pod) for pod in PODS}, "each is another pod"
    assert {runs.shell(pod, "cat /etc/image") for pod in PODS} == {images.NEXT_IMAGE}
    assert runs.service_leads_to() == runs.primary() != primary
    roles = {pod: runs.group.core.read_namespaced_pod(pod, runs.group.namespace).metadata.labels for pod in PODS}
    assert [pod for pod in PODS if roles[pod]["keydb-runbooks/role"] == "primary"] == [runs.primary()]
    assert "nothing to do" in runs.run("upgrade").ok().text
    runs.run("install").ok()
    runs.run("upgrade", dry=True).ok()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["the old primary", "the target"])
def test_a_pod_that_is_evicted_in_the_middle_of_a_switchover_costs_no_write(runs, tmp_path, which):
    from kubernetes.client import V1Eviction, V1ObjectMeta

    former = runs.primary()
    target = next(pod for pod in PODS if pod != former)
    pod = former if which == "the old primary" else target
    before = runs.uid(pod)
    evict = lambda: runs.group.core.create_namespaced_pod_eviction(  # noqa: E731
        pod, runs.group.namespace, V1Eviction(metadata=V1ObjectMeta(name=pod))
    )
    with runs.writing(clients=2, patience_seconds=60) as writer:
        ended = runs.struck_before("Promote", "switchover", tmp_path, evict, to=target, accept="descriptor-target")
        assert "Traceback" not in ended.text, ended.text
        eventually(lambda: runs.uid(pod) not in (None, before), f"{pod} is another pod", 120)
        eventually(lambda: is_made_whole(runs), f"the group is well behind {ended.text}", 180)
        writer.goes_on(60)
        assert writer.lost(tmp_path) == 0, ended.text
    assert runs.primary() == runs.service_leads_to()


def is_made_whole(runs: InstalledRuns) -> bool:
    """Whether nothing is left to find; if there is, a person does what status names."""
    found = runs.findings()
    if found:
        verb = "failover" if any(one.startswith("no-primary") for one in found) else "rejoin"
        told = runs.run(verb)
        if older := re.search(r"stop (\S+), then run failover", " ".join(told.text.split())) if told.code else None:
            # It was promoted, and perhaps written to, before it went: the old primary gives way.
            runs.delete(older[1])
        if asked := re.search(r"accept_loss=(\S+)", told.text) if told.code else None:
            runs.run("rejoin", accept_loss=asked[1])
    return not found


def test_fewer_pods_never_without_a_switchover_first_and_more_join(runs):
    # Tests before it killed primaries: KeyDB has closed descriptor 0 then, and a probe of the pod may have it.
    if runs.primary() != PODS[-1]:
        runs.run("switchover", to=PODS[-1], accept="descriptor-target").ok()
    two = {"KEYDB_KUBERNETES_PODS": "2"}
    told = f"refused: primary-would-go keydb: {PODS[-1]} would go, and none of those that stay is the primary"
    runs.run("install", environment=two).refused(told)
    assert PODS[-1] in runs.pods()
    runs.run("switchover", to=PODS[0], accept="descriptor-target").ok()
    runs.run("install", environment=two).ok()
    eventually(lambda: PODS[-1] not in runs.pods(), "it is gone", 60)
    runs.run("install").ok()
    runs.comes_back(PODS[-1])
    assert runs.findings() == []


def test_add_node_grows_the_set_and_remove_node_takes_its_last_pod_and_no_write_is_lost(runs, tmp_path):
    four = {"KEYDB_KUBERNETES_PODS": "4"}
    runs.run("add_node", environment=four, node="keydb-4").refused("refused: unknown-member keydb-4")
    with runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        runs.run("add_node", environment=four, node="keydb-3").ok()
        runs.comes_back("keydb-3")
        assert (
            "keydb-3=keydb-3" in runs.group.core.read_namespaced_config_map("keydb", runs.group.namespace).data["nodes"]
        )
        assert runs.run("add_node", environment=four, node="keydb-3").ok().total()[1:3] == (0, 0)
        told = "refused: not-the-last keydb-1: a StatefulSet of keydb gives up its last pod only, keydb-3"
        runs.run("remove_node", environment=four, node="keydb-1").refused(told)
        runs.run("remove_node", environment=four, node="keydb-3").ok()
        assert "keydb-3" not in runs.pods() and "data-keydb-3" in runs.claims()
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
    assert runs.run("install").ok().total()[1:3] == (0, 0)
    # Its data are those of before: they descend from the primary's.
    runs.run("add_node", environment=four, node="keydb-3").ok()
    runs.run("switchover", environment=four, to="keydb-3").ok()
    runs.run("remove_node", environment=four, node="keydb-3").refused("keydb-3: is the primary")
    runs.run("switchover", environment=four, to="keydb-0", accept="descriptor-target").ok()
    runs.run("remove_node", environment=four, node="keydb-3").ok()
    runs.group.core.delete_namespaced_persistent_volume_claim("data-keydb-3", runs.group.namespace)


def test_a_start_without_a_configuration_is_refused_by_the_pod_itself(runs):
    """Scaled up by hand: nobody told install of the new pod."""
    runs.group.scale(4)
    try:
        eventually(lambda: "name it in the inventory, then run install" in runs.log("keydb-3"), "it says why", 60)
        runs.run("install").refused("refused: owned-by-others statefulset/keydb: spec.replicas is")
    finally:
        runs.run("install", force_conflicts="yes").ok()
        eventually(lambda: "keydb-3" not in runs.pods(), "it is gone", 60)


@pytest.mark.slow
def test_start_makes_a_pod_anew_that_waits_for_its_next_start(runs):
    core, space = runs.group.core, runs.group.namespace
    assert runs.run("start").ok().total()[1:3] == (0, 0), "all run"
    secret = core.read_namespaced_secret("keydb", space).data
    core.patch_namespaced_secret("keydb", space, {"data": {"monitoring": None}})
    try:
        runs.delete("keydb-2")
        eventually(lambda: "CrashLoopBackOff" in runs.reason("keydb-2"), "it fails again and again", 60)
        text = runs.run("start").text
        assert "keydb-2 waited for its next start" in text and "the Secret has no key monitoring" in " ".join(
            text.split()
        )
    finally:
        core.patch_namespaced_secret("keydb", space, {"data": {"monitoring": secret["monitoring"]}})
    eventually(lambda: "CrashLoopBackOff" in runs.reason("keydb-2"), "it waits", 60)
    runs.run("start").ok()
    runs.comes_back("keydb-2")
    assert runs.run("start").ok().total()[1:3] == (0, 0)


def kill_until_it_waits(runs: InstalledRuns, pod: str) -> None:
    """End a pod's container, as its node does for want of memory, until kubelet lets it wait."""

    def waits() -> bool:
        for process in first_processes(str(runs.uid(pod))):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return "CrashLoopBackOff" in runs.reason(pod)

    eventually(waits, f"{pod} waits for its next start", 120)


def first_processes(uid: str) -> list[int]:
    """The first processes of a pod's container on this machine."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if (
                words[:2] == [b"bash", b"/etc/keydb-runbooks/start"]
                and uid.encode() in (place / "environ").read_bytes()
            ):
                found.append(int(place.name))
    return found


@pytest.mark.slow
def test_a_primary_that_is_killed_again_and_again_is_made_anew_and_its_end_is_known(runs):
    if not FIRST.home.exists():
        pytest.skip("a container is killed on the machine: this needs the lab's own")
    gone = runs.primary()
    with runs.writing() as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        # On a volume that keeps no locks; the start of a pod tells by its lock otherwise.
        runs.shell(gone, "rm /data/held && mkdir /data/held")
        # The second time it never was in the group: what is known of those before it stays known.
        for _ in range(2):
            before = runs.uid(gone)
            kill_until_it_waits(runs, gone)
            assert f"{gone} waited for its next start, and is made anew" in runs.run("start").ok().text
            assert runs.uid(gone) != before
            assert runs.shell(gone, "cat /data/forerunner").split()[:3] == [runs.uid(gone), "runs", before]
        runs.run("failover").ok()
        runs.shell(gone, "rmdir /data/held")
        writer.goes_on()
    assert runs.service_leads_to() == runs.primary() != gone
    runs.comes_back(gone)


@pytest.mark.slow
def test_a_primary_that_was_killed_and_deleted_by_hand_has_ended_where_the_next_pod_has_its_lock(runs):
    if not FIRST.home.exists():
        pytest.skip("a container is killed on the machine: this needs the lab's own")
    gone = runs.primary()
    with runs.writing() as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        kill_until_it_waits(runs, gone)
        before = runs.uid(gone)
        runs.delete(gone)
        eventually(lambda: runs.is_guarded(gone), f"it is guarded: {runs.log(gone)}", 60)
        assert runs.shell(gone, "cat /data/forerunner").split()[:3] == [runs.uid(gone), "ended", before]
        runs.run("failover").ok()
        writer.goes_on()
    assert runs.service_leads_to() == runs.primary() != gone
    runs.comes_back(gone)


@pytest.mark.slow
def test_a_set_that_somebody_scaled_to_zero_is_told_and_taken_back_only_when_told(runs):
    runs.group.scale(0)
    eventually(lambda: runs.pods() == [], "no pod is there", 60)
    space = runs.group.namespace
    up = f"kubectl -n {space} scale statefulset keydb --replicas="
    told = " ".join(runs.run("start").text.replace("[keydb-0]", "").split())
    assert f"somebody scaled statefulset/keydb to 0 pods: {up}3 brings them back" in told
    told = "refused: scaled-to-zero statefulset/keydb: somebody scaled it to 0 pods, and 3 are wanted"
    runs.run("install").refused(told, f"{up}3 brings them back")
    up += "NUMBER brings them back"
    for verb in ("status", "drift", "switchover"):
        runs.run(verb).refused(f"there is no pod keydb-0 in namespace {space}", "to 0 pods", up)
    named = runs.pyinfra("deploys/status.py", inventory=f"@kubernetes/{space}/statefulset/keydb")
    named.refused(f"@kubernetes/{space}/statefulset/keydb: somebody scaled it to 0 pods, so it names none: {up}")
    assert runs.group.apps.read_namespaced_stateful_set("keydb", runs.group.namespace).spec.replicas == 0
    runs.run("install", force_conflicts="yes").ok()
    for pod in PODS:
        runs.comes_back(pod)
    assert runs.findings() == []


# Bad input: one clear line, and nothing is changed.


def test_a_namespace_that_is_not_there(runs):
    everything = {"KUBECONFIG": os.environ["KUBECONFIG"], "KEYDB_KUBERNETES_NAMESPACE": "nowhere"}
    ended = runs.run("install", environment=everything)
    ended.refused('refused: no-namespace namespace nowhere: namespaces "nowhere" not found')
    assert ended.text.count("no-namespace") == 1


def test_without_the_right_to_patch(runs):
    account = {"KUBECONFIG": str(runs.group.account("looker", without="patch"))}
    before = runs.versions()
    runs.run("install", environment=account, keydb_maxmemory="96mb").refused(
        "refused: no-right statefulset/keydb: context looker", 'cannot patch resource "statefulsets"'
    )
    assert runs.versions() == before


def test_an_api_server_that_does_not_answer(runs, tmp_path):
    elsewhere = tmp_path / "kubeconfig"
    here = runs.group.api.configuration.host
    elsewhere.write_text(runs.group.kubeconfig().read_text().replace(here, "https://127.0.0.1:1"))
    ended = runs.run("install", environment={"KUBECONFIG": str(elsewhere)})
    ended.refused("refused: no-api-server namespace", "the API server https://127.0.0.1:1")
    assert ended.text.count("no-api-server") == 1


def test_what_the_api_server_does_not_take(runs):
    before = runs.versions()
    told = "refused: not-accepted statefulset/keydb: the API server"
    runs.run("install", keydb_volume_size="2Gi", keydb_maxmemory="96mb").refused(
        told, "Forbidden: updates to statefulset"
    )
    assert runs.versions() == before, "not even its ConfigMap, which it would take"


def test_a_group_of_another_name_does_not_take_this_ones_objects(runs):
    before = runs.versions()
    runs.run("install", keydb_group="other").refused(
        "refused: other-group statefulset/keydb: belongs to group keydb, and this one is other"
    )
    assert runs.versions() == before


def test_a_service_that_somebody_else_made_stays_theirs(runs):
    other = {"KEYDB_KUBERNETES_STATEFULSET": "other"}
    theirs = {"selector": {"app": "theirs"}, "ports": [{"port": 6379}]}
    runs.group.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other-write"}, "spec": theirs})
    told = "refused: not-ours service/other-write: is there already, and install did not make it"
    runs.run("install", environment=other).refused(told)
    assert [name for name in runs.there() if "other" in name] == []
    runs.group.core.delete_namespaced_service("other-write", runs.group.namespace)


def test_a_secret_that_lacks_something(runs):
    given = {"environment": {"KEYDB_KUBERNETES_STATEFULSET": "other"}, "keydb_secret": "passwords"}
    runs.run("install", **given).refused("refused: no-secret secret/passwords: keydb_secret names it, and")
    data = {**runs.group.passwords, "check": "another"}
    runs.group.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "passwords"}, "stringData": data})
    runs.run("install", **given).refused("secret/passwords: has another password of check than the inventory")
    assert [name for name in runs.there() if "other" in name] == []


@pytest.mark.parametrize("image, why", [(NOBODY, "ErrImagePull"), (WRITER_IMAGE, f"{ENGINE}-server")])
def test_an_image_that_cannot_be_pulled_or_lacks_something_changes_nothing(runs, image, why):
    bad = {"KEYDB_KUBERNETES_IMAGE": image}
    before = runs.versions()
    runs.run("install", environment=bad, keydb_maxmemory="96mb").refused(f"refused: image-not-usable {image}", why)
    assert runs.versions() == before and "keydb-image" not in runs.pods()
    assert "maxmemory 96mb" not in runs.shell("keydb-1", "cat /data/keydb.conf")
    runs.run("install", environment={**bad, "KEYDB_KUBERNETES_STATEFULSET": "other"}).refused("image-not-usable")
    assert [name for name in runs.there() if "other" in name] == []


def test_what_is_no_group_on_pods_is_told_before_the_api_server_is_asked(runs):
    runs.run("install", keydb_log_file="/var/log/x").refused("keydb-0: keydb_log_file: /var/log/x is not on the pod's")
    without = runs.run("install", environment={"KEYDB_KUBERNETES_IMAGE": ""})
    without.refused("keydb-0: keydb_image: is missing")


# The last ones: what is left of the group is theirs.


def test_uninstall_leaves_volumes_until_it_is_told_otherwise(runs):
    runs.run("uninstall").refused("refused: nothing-named keydb")
    runs.run("uninstall", node="keydb-2").refused("--data node=keydb-2: a pod goes by its number")
    with runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        primary = runs.primary()
        done = runs.run("uninstall", whole_group="keydb").ok()
    assert "the volumes stay: data-keydb-0, data-keydb-1, data-keydb-2" in done.text
    assert runs.there() == [] and "keydb-0" not in runs.pods()
    assert runs.run("uninstall", whole_group="keydb").ok().total()[1:3] == (0, 0), "again changes nothing"

    runs.run("install").ok()
    runs.comes_back(primary)
    assert runs.primary() == primary
    assert runs.service_leads_to() == primary and "had me as its primary" in runs.log(primary), "with its data"
    runs.run("uninstall", whole_group="keydb", remove_data="yes").ok()
    eventually(lambda: not [name for name in runs.claims() if name.startswith("data-keydb-")], "no volume is left", 60)


def test_a_group_is_founded_anew_once_its_servers_were_seen_to_end_and_else_only_when_told(everybody):
    runs, core, space = everybody, everybody.group.core, everybody.group.namespace
    runs.run("uninstall", whole_group="keydb", remove_data="yes").ok()
    eventually(lambda: not [name for name in runs.claims() if name.startswith("data-keydb-")], "no volume is left", 60)
    assert "keydb-0 is the primary of keydb" in runs.run("install").ok().text, "uninstall saw all of them end"
    runs.group.wait()
    for claim in [name for name in runs.claims() if name.startswith("data-keydb-")]:
        core.delete_namespaced_persistent_volume_claim(claim, space)
    runs.delete(*PODS)
    eventually(lambda: all("guarded start" in runs.log(pod) for pod in PODS), "all of them run, and hold nothing", 90)
    told = ("refused: founded-before keydb", "and keydb-0 and keydb-1 and keydb-2 were made later")
    runs.run("install").refused(*told, "say so by accept_split=yes")
    assert {node["role"] for node in runs.status()["nodes"]} == {"replica"}
    text = runs.run("install", accept_split="yes").ok().text
    assert "accepted by accept_split: keydb-runbooks-keydb tells of a run" in " ".join(text.split())
    runs.group.wait()
    assert runs.primary() == runs.service_leads_to() == PODS[0]

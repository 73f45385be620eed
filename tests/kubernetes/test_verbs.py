"""The verbs on pods, unchanged, with a Service in front and clients in another pod."""

from __future__ import annotations

import pytest
import yaml

from tests.kubernetes.group import POD_NAME, PODS, eventually
from tests.kubernetes.runs import REPOSITORY

LEFT = "moving the Service leaves connections that are open where they are"


def other_than(primary: str) -> str:
    return next(pod for pod in PODS if pod != primary)


def test_pods_that_somebody_made_are_a_healthy_group(runs):
    assert runs.findings() == []
    (service,) = runs.status()["services"]
    assert (service["name"], service["writes_go_to"]) == ("keydb-write", [runs.primary()])


def test_a_switchover_moves_the_service_by_one_patch_and_no_acknowledged_write_is_lost(runs, tmp_path):
    before = runs.primary()
    with runs.writing() as writer:
        done = runs.run("switchover").ok()
        writer.goes_on()
        assert runs.service_leads_to() == runs.primary() != before
        assert writer.lost(tmp_path) == 0
        print(f"switchover: gap of clients in another pod {writer.gap():.0f} ms, {writer.acknowledged():,} writes")
    assert f"names {runs.primary()} now" in done.text and f"leads to {runs.primary()} alone" in done.text
    labels = {pod: runs.group.core.read_namespaced_pod(pod, runs.group.namespace).metadata.labels for pod in PODS}
    roles = {pod: label["keydb-runbooks/role"] for pod, label in labels.items()}
    assert roles == {pod: "primary" if pod == runs.primary() else "replica" for pod in PODS}
    assert runs.findings() == []
    runs.run("drift").ok()


def test_a_dry_run_shows_the_patch_and_sends_it_to_nobody(runs):
    before = runs.selected()
    target = other_than(runs.primary())
    text = runs.run("switchover", dry=True, to=target).ok().text
    assert "PATCH service/keydb-write" in text and f'"selector": {{"{POD_NAME}": "{target}"}}' in text
    assert runs.selected() == before


def test_a_run_that_died_before_the_clients_were_ended_is_finished_by_the_next(runs):
    """Otherwise they would stay at the old primary for ever, and get -READONLY."""
    before, target = runs.primary(), other_than(runs.primary())
    with runs.writing(clients=2, patience_seconds=300) as writer:
        # What a chart or a person would do: nobody ends the connections that are open.
        runs.dies_before("EndStragglers", "switchover", to=target)
        assert f"stragglers {before}" in runs.findings()
        done = runs.run("rejoin").ok()
        assert "2 connections of clients ended" in done.text, done.text
        writer.goes_on()
    assert runs.findings() == []


def test_a_service_that_was_not_moved_is_found_and_moved_by_rejoin(runs):
    primary = runs.primary()
    wrong = {"spec": {"selector": {POD_NAME: other_than(primary)}}}
    runs.group.core.patch_namespaced_service("keydb-write", runs.group.namespace, wrong)
    assert "wrong-route keydb-write" in runs.findings()
    runs.run("drift").refused("wrong-route keydb-write")
    runs.run("rejoin").ok()
    assert runs.service_leads_to() == primary


def test_a_label_that_the_primary_lacks_is_taken_out_of_the_selector(runs):
    """As charts have it, which move a label and no name."""
    primary = runs.primary()
    wrong = {"spec": {"selector": {POD_NAME: None, "role": "master"}}}
    runs.group.core.patch_namespaced_service("keydb-write", runs.group.namespace, wrong)
    assert "wrong-route keydb-write" in runs.findings()
    runs.run("rejoin").ok()
    assert runs.selected() == {"app": "keydb", POD_NAME: primary}
    with runs.writing(clients=2) as writer:
        writer.goes_on()


def test_a_failover_from_a_server_that_is_proved_to_be_stopped(runs, tmp_path):
    gone = runs.primary()
    with runs.writing() as writer:
        runs.stop(gone)
        runs.run("failover").ok()
        writer.goes_on()
        assert runs.service_leads_to() == runs.primary() != gone
        print(f"failover: gap of clients in another pod {writer.gap():.0f} ms")
    runs.resume(gone)
    eventually(lambda: runs.group.is_ready(gone), f"{gone} is back", 30)
    # Nothing guards the start of a pod: it is back as a primary, and whoever was killed doesn't know its own history.
    assert "several-primaries keydb" in runs.findings()
    assert runs.service_leads_to() != gone
    runs.run("rejoin", accept_loss=gone).ok()
    assert runs.findings() == []


def test_a_failover_from_a_frozen_primary_is_refused_and_says_that_the_service_proves_nothing(runs):
    frozen = runs.primary()
    runs.freeze(frozen)
    try:
        runs.run("failover").refused("refused: not-fenced", f"{frozen} may still take writes", LEFT)
        assert runs.service_leads_to() == frozen
    finally:
        runs.resume(frozen)
    assert runs.primary() == frozen


@pytest.mark.parametrize("data, sentence", [
    ({"keydb_write_service": "nobody"}, "refused: service-unread nobody: there is no Service nobody"),
])  # fmt: skip
def test_a_service_that_is_not_there_is_refused_before_anything_is_changed(runs, data, sentence):
    primary = runs.primary()
    runs.run("switchover", **data).refused(sentence)
    assert runs.primary() == primary


def test_without_the_right_to_move_the_service_nothing_is_changed(runs):
    primary = runs.primary()
    account = {"KUBECONFIG": str(runs.group.account("reader", without="patch"))}
    told = "refused: service-not-movable keydb-write: can't be moved: there is no right to patch it (RBAC)"
    runs.run("switchover", environment=account).refused(told)
    assert runs.primary() == primary


def test_a_pod_that_is_away_is_a_node_that_cannot_be_reached_and_comes_back_under_its_name(runs):
    if (primary := runs.primary()) == PODS[-1]:
        runs.run("switchover", to=PODS[0]).ok()
        primary = PODS[0]
    runs.group.scale(2)
    try:
        eventually(lambda: runs.findings() == [f"node-unreachable-host {PODS[-1]}"], "it is away", 30)
        runs.run("failover", to=other_than(primary)).refused("primary-answers")
    finally:
        runs.group.scale(3)
        runs.group.wait()
    eventually(lambda: runs.findings() == [], "it is back, at another address", 30)


def test_drift_inside_of_the_cluster_has_every_right_that_it_needs_and_none_to_change_anything(runs):
    documents = list(yaml.safe_load_all((REPOSITORY / "cluster" / "drift.yaml").read_text()))
    for document in documents:
        if document["kind"] == "CronJob":
            document["spec"]["suspend"] = True
        for subject in document.get("subjects", []):
            subject["namespace"] = runs.group.namespace
        runs.group.create(document)
    # A group that was made by hand has no epoch before its role moves, which drift tells.
    runs.run("switchover").ok()
    account = {"KUBECONFIG": str(runs.group.kubeconfig("keydb-drift"))}
    text = runs.run("drift", environment=account, format="json").ok().text
    assert '"verdict": "fine"' in text, text
    runs.run("switchover", environment=account).refused("service-not-movable")

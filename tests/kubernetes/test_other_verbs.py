"""The verbs for odd cases on pods: the halves of a role move, the way back from a run that died, fences, a backup."""

from __future__ import annotations

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.group import PODS, eventually


def keys_of(backup: Path) -> int:
    return int(json.loads(backup.with_suffix(".json").read_text())["keys"])


def other_than(*pods: str) -> str:
    return next(pod for pod in PODS if pod not in pods)


def test_abort_goes_back_from_a_run_that_died_before_its_promotion(runs):
    primary = runs.primary()
    with runs.writing(clients=2, patience_seconds=300) as writer:
        runs.dies_before("Promote", "switchover", to=other_than(primary))
        assert f"paused {primary}" in runs.findings()
        runs.run("abort").ok()
        writer.goes_on()
    assert runs.findings() == [] and runs.service_leads_to() == runs.primary() == primary
    assert "nothing to do" in runs.run("abort").ok().text


def test_a_fenced_primary_takes_no_writes_until_it_is_unfenced(runs):
    primary = runs.primary()
    with runs.writing(clients=2) as writer:
        runs.run("fence", node=primary).ok()
        assert f"fenced {primary}" in runs.findings()
        before = writer.acknowledged()
        eventually(lambda: [row[3] for row in writer.journal()[-20:]] == ["failed"] * 20, "nothing is taken", 20)
        assert writer.acknowledged() <= before + 20
        runs.run("unfence", node=primary).ok()
        writer.goes_on()
    assert runs.findings() == []


def test_one_is_promoted_alone_and_one_that_came_back_is_demoted(runs):
    gone = runs.primary()
    target = other_than(gone)
    runs.stop(gone)
    done = runs.run("promote", to=target).ok()
    assert f"names {target} now" in done.text and runs.service_leads_to() == runs.primary() == target
    assert f"follows-other {other_than(gone, target)}" in runs.findings()
    runs.run("rejoin").ok()
    runs.resume(gone)
    eventually(lambda: "several-primaries keydb" in runs.findings(), "both are primaries", 30)
    runs.run("demote", node=gone, accept_loss=gone).ok()
    assert runs.primary() == target
    # KeyDB forgets with its process whose data it has, so a person says once more that they may go.
    runs.run("rejoin", accept_loss=gone).ok()
    assert runs.findings() == []


def test_the_cluster_shows_who_is_at_work_and_which_role_moved(runs):
    before, target = runs.primary(), other_than(runs.primary())
    runs.dies_before("Promote", "switchover", to=target)
    assert runs.lease().holder_identity.endswith(f": switchover (for {target})"), "a run that was killed leaves it"
    runs.run("switchover", to=target).ok()
    assert not runs.lease().holder_identity
    told = {pod: runs.events(pod) for pod in PODS}
    assert told[target][-1].startswith(f"is the primary of keydb instead of {before} (switchover by ")
    assert told[before][-1].startswith(f"is no longer the primary of keydb: {target} is (switchover by ")
    assert "RoleMoved" in runs.described(target)


@pytest.mark.parametrize("step", ["MoveService", "EndStragglers"])
def test_the_run_that_finishes_what_a_killed_one_began_tells_of_the_move(runs, step):
    before, target = runs.primary(), other_than(runs.primary())
    known = {pod: runs.events(pod) for pod in PODS}
    runs.dies_before(step, "switchover", to=target)
    assert {pod: runs.events(pod) for pod in PODS} == known
    runs.run("rejoin").ok()
    told = {pod: runs.events(pod) for pod in PODS}
    assert sum(len(told[pod]) - len(known[pod]) for pod in PODS) == 2
    assert told[target][-1].startswith(f"is the primary of keydb instead of {before} (finished by rejoin by ")
    assert told[before][-1].startswith(f"is no longer the primary of keydb: {target} is (finished by rejoin by ")
    runs.run("rejoin").ok()
    assert {pod: runs.events(pod) for pod in PODS} == told, "the same move is told once"


def test_the_lease_of_a_run_is_renewed_while_it_is_at_work(runs, tmp_path):
    target = other_than(runs.primary())
    seen: list[Any] = []

    def look() -> None:
        seen.append(runs.lease())
        eventually(lambda: runs.lease().renew_time > seen[0].renew_time, "it is renewed", 20)
        seen.append(runs.lease())

    runs.struck_before("ComeClose", "switchover", tmp_path, look, to=target).ok()
    assert seen[0].acquire_time == seen[1].acquire_time and seen[1].lease_duration_seconds == 10
    assert not runs.lease().holder_identity


def test_of_two_operators_at_once_one_goes_on_and_the_other_is_told_who_that_is(runs, tmp_path):
    before = runs.primary()
    targets = dict(zip(("ada", "bob"), (pod for pod in PODS if pod != before), strict=True))
    with runs.writing(clients=2) as writer, ThreadPoolExecutor(2) as pool:
        ended = {}
        for name, target in targets.items():
            (tmp_path / name).mkdir()
            given = {"environment": {"LOGNAME": name}, "to": target}
            ended[name] = pool.submit(runs.waits_before, "ComeClose", "switchover", tmp_path / name, **given)
        try:
            stand = lambda: [name for name in targets if (tmp_path / name / "there").exists()]  # noqa: E731
            eventually(lambda: stand() and any(one.done() for one in ended.values()), "one goes on, one ended", 90)
            winners = stand()
            lease = runs.lease()
            listed = runs.leases_as_kubectl_shows_them()
        finally:
            for name in targets:
                (tmp_path / name / "go").touch()
        told = {name: one.result() for name, one in ended.items()}
        writer.goes_on()
        assert writer.lost(tmp_path) == 0
    (winner,), (loser,) = winners, [name for name in targets if name not in winners]
    who = f"{winner}@{socket.gethostname()}"
    sentence = rf"locked: another run is at work: {who} does switchover \(for {targets[winner]}\), since [\d:]+ UTC"
    assert re.search(sentence, " ".join(told[loser].refused("refused: locked").text.split())), told[loser].text
    assert lease.holder_identity == f"{who}: switchover (for {targets[winner]})"
    assert ("keydb-runbooks-keydb", lease.holder_identity) in listed
    told[winner].ok()
    assert runs.service_leads_to() == runs.primary() == targets[winner] and runs.findings() == []
    assert not runs.lease().holder_identity
    assert [who in runs.events(pod)[-1] for pod in (before, targets[winner])] == [True, True]


def test_who_may_leave_no_trace_in_the_cluster_is_told_and_moves_the_role_all_the_same(runs):
    before = runs.primary()
    account = {"KUBECONFIG": str(runs.group.account("traceless", without="leases"))}
    assert "notice: no Lease in the cluster: context traceless" in runs.run("switchover", environment=account).ok().text
    assert runs.primary() != before


def test_an_upgrade_that_cannot_see_what_pods_are_made_of_is_refused(runs):
    """Pods that a person or a chart made are told from newer ones by their StatefulSet alone."""
    assert "nothing to do" in runs.run("upgrade").ok().text
    account = {"KUBECONFIG": str(runs.group.account("blind", without="statefulsets"))}
    runs.run("upgrade", environment=account).refused("pods-unread keydb", "get the right to read pods and statefulsets")


def test_a_backup_of_a_pod_is_whole_on_this_machine(runs, tmp_path):
    with runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 100, "there is something to save", 30)
    text = runs.run("backup", save_to=str(tmp_path)).ok().text
    assert [path.suffix for path in tmp_path.rglob("*.rdb")] == [".rdb"], text


def test_a_backup_takes_the_place_of_the_groups_data_and_clients_find_it_through_the_service(runs, tmp_path):
    with runs.writing(clients=2) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to save", 30)
    runs.run("backup", save_to=str(tmp_path)).ok()
    (backup,) = tmp_path.rglob("*.rdb")
    with runs.writing(clients=2) as later:
        eventually(lambda: later.acknowledged() > 150, "there is something to replace", 30)
    before = runs.primary()
    runs.run("restore", backup=str(backup)).refused("accept_replace=yes")
    runs.run("restore", backup=str(backup), accept_replace="yes").ok()
    assert runs.service_leads_to() == runs.primary() != before and runs.findings() == []
    held = [node["keys"] for node in runs.status()["nodes"]]
    # Beside what the project itself keeps in the data.
    assert all(keys_of(backup) <= keys <= keys_of(backup) + 4 for keys in held)
    with runs.writing(clients=2) as writer:
        writer.goes_on()


def test_the_history_is_on_the_pods_as_well(runs):
    runs.run("switchover").ok()
    assert "switchover" in runs.run("history").ok().text
    assert '"verb":"switchover"' in runs.shell(runs.primary(), "tail -1 /data/runbook-history.jsonl")

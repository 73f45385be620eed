"""The CronJob of ``drift`` as it is in ``cluster/``: in the image that the Containerfile makes, with its own rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.group import POD_NAME, eventually, made
from tests.kubernetes.images import ENGINE
from tests.kubernetes.installed import Installed, InstalledRuns
from tests.kubernetes.lab import built
from tests.kubernetes.lab.nodes import FIRST
from tests.kubernetes.lab.processes import Processes
from tests.kubernetes.runs import REPOSITORY


class Scheduled(InstalledRuns):
    """A group whose drift is looked for from inside of the cluster."""

    def schedule(self) -> None:
        """Apply ``cluster/drift.yaml`` with the image of here; its next time comes when a test says so."""
        for document in yaml.safe_load_all((REPOSITORY / "cluster" / "drift.yaml").read_text()):
            if document["kind"] == "CronJob":
                document["spec"]["suspend"] = True
                (container,) = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
                container.update(image=built.IMAGE, imagePullPolicy="Never")
                container["env"].append({"name": "KEYDB_KUBERNETES_ENGINE", "value": ENGINE})
            for subject in document.get("subjects", []):
                subject["namespace"] = self.group.namespace
            self.group.create(document)

    def looks(self, name: str) -> tuple[int, str]:
        """What a Job of the CronJob ends with and prints, as `kubectl create job --from=cronjob/keydb-drift` makes it."""
        from kubernetes import client

        batch, core, space = client.BatchV1Api(self.group.api), self.group.core, self.group.namespace
        spec = batch.read_namespaced_cron_job("keydb-drift", space).spec.job_template.spec
        batch.create_namespaced_job(
            space, {"metadata": {"name": name}, "spec": self.group.api.sanitize_for_serialization(spec)}
        )
        ended: list[Any] = []

        def over() -> bool:
            found = core.list_namespaced_pod(space, label_selector=f"job-name={name}").items
            states = [one.state.terminated for pod in found for one in pod.status.container_statuses or ()]
            ended[:] = [
                (pod.metadata.name, state) for pod, state in zip(found, states, strict=False) if state is not None
            ]
            return bool(ended)

        eventually(over, f"job {name} has ended", 90)
        pod, state = ended[0]
        return int(state.exit_code), str(core.read_namespaced_pod_log(pod, space))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not FIRST.home.exists():
        pytest.skip("the image is brought to the lab's own node: KUBECONFIG's cluster has no way for it")
    if told := built.missing():
        pytest.skip(told)
    return built.build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def runs(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduled]:
    Processes(FIRST.home).load(image, FIRST.socket)
    with made(Installed(tmp_path_factory.mktemp("scheduled"))) as group:
        runs = Scheduled(group)
        runs.run("install").ok()
        group.wait()
        eventually(lambda: runs.findings() == [], "the group is well", 60)
        runs.schedule()
        yield runs


@pytest.mark.slow
def test_the_image_of_the_containerfile_finds_drift_from_inside_of_the_cluster_with_the_rights_of_its_role(runs):
    code, text = runs.looks("well")
    assert code == 0 and '"verdict": "fine"' in text, text
    assert not any(word in text for word in runs.group.passwords.values())
    elsewhere = {"spec": {"selector": {POD_NAME: "keydb-2"}}}
    runs.group.core.patch_namespaced_service("keydb-write", runs.group.namespace, elsewhere)
    code, text = runs.looks("moved")
    assert code == 5 and '"wrong-route"' in text, text

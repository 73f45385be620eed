"""Volumes for whoever claims one: folders of this machine, as a StorageClass that is the cluster's default.

Kubernetes itself makes none; every real cluster has something that does.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

CLASS = "lab"
LABEL = "keydb-runbooks-lab/folder"


class Volumes:
    """Makes a volume for each claim, and takes it away with its folder when the claim is gone."""

    def __init__(self, kubeconfig: Path, folder: Path, nodes: list[str]) -> None:
        from kubernetes import client, config

        configuration = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        configuration.proxy = None
        self.core = client.CoreV1Api(client.ApiClient(configuration))
        self.folder, self.nodes = folder, nodes
        self._ended = threading.Event()
        client.StorageV1Api(self.core.api_client).create_storage_class(_storage_class())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            try:
                self._look()
            except Exception as error:  # the API server ends before this does
                if not self._ended.is_set():
                    print(f"volumes: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)

    def _look(self) -> None:
        volumes = {one.metadata.name: one for one in self.core.list_persistent_volume().items}
        for claim in self.core.list_persistent_volume_claim_for_all_namespaces().items:
            name = f"lab-{claim.metadata.uid}"
            if claim.spec.storage_class_name == CLASS and claim.status.phase == "Pending" and name not in volumes:
                (self.folder / name).mkdir(parents=True)
                self.core.create_persistent_volume(self._volume(name, claim))
        for name, volume in volumes.items():
            if volume.spec.storage_class_name == CLASS and volume.status.phase in ("Released", "Failed"):
                self.core.delete_persistent_volume(name)
                shutil.rmtree(self.folder / name, ignore_errors=True)

    def _volume(self, name: str, claim: Any) -> dict[str, Any]:
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": self.nodes}
        reference = {
            "kind": "PersistentVolumeClaim",
            "namespace": claim.metadata.namespace,
            "name": claim.metadata.name,
        }
        return {
            "metadata": {"name": name},
            "spec": {
                "storageClassName": CLASS,
                "capacity": {"storage": claim.spec.resources.requests["storage"]},
                "accessModes": ["ReadWriteOnce"],
                # Nobody but this class takes it away.
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {**reference, "uid": claim.metadata.uid},
                "local": {"path": str(self.folder / name)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        }


def _storage_class() -> dict[str, Any]:
    return {
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }

"""A pod's turn in a rolling restart: it is deleted, and the next one of its name is what was installed last."""

from __future__ import annotations

from pyinfra.api.exceptions import ConnectError

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.pod_objects import connector_of, objects_at
from keydb_runbooks.operations.pods_ready import REVISION, newest, why_not
from keydb_runbooks.operations.waits import until

POLL_SECONDS = 0.2

AWAY_SECONDS = 660.0
"""A pod has ten minutes to save its data and end; then the next one has to come."""


def replace_pod(entry: NodeEntry) -> None:
    """Delete a node's pod, this one and no other, and wait until the next one runs.

    :raises StepFailed: if it can't be deleted, or the next one doesn't come
    """
    objects, connector = objects_at(entry), connector_of(entry.host)
    told = ""

    def replaced() -> bool | None:
        nonlocal told
        pod = objects.read("Pod", entry.name)
        if pod is None or pod["metadata"]["uid"] == former:
            told = "it ends" if pod else "the next one is not made yet"
            return None
        try:
            connector.look()
        except ConnectError as error:
            connector.away = str(error)
            look = why_not(entry, objects, str(error))
            told = look.told
            if look.hopeless:
                raise StepFailed(f"the next {entry.name} never runs: {look.told}") from None
            return None
        return True

    try:
        pod = objects.read("Pod", entry.name)
        former = None if pod is None else pod["metadata"]["uid"]
        if pod is not None:
            objects.delete("Pod", entry.name, former)
        if until(replaced, AWAY_SECONDS, POLL_SECONDS, lambda: f"{entry.name}: {told}") is None:
            raise StepFailed(f"{entry.name} is not back after {AWAY_SECONDS:g} s: {told}")
    except ClusterError as error:
        raise StepFailed(f"{entry.name} could not be restarted: {error.detail}") from None


def outdated(group: Group) -> frozenset[str]:
    """The nodes whose pods are of an older template than their StatefulSet has now, whoever made them.

    :raises ClusterError: if that can't be told of one
    """
    return frozenset(node.name for node in group.nodes if _is_outdated(node))


def _is_outdated(entry: NodeEntry) -> bool:
    objects = objects_at(entry)
    found = (objects.read("Pod", entry.name) or {}).get("metadata", {})
    owners = [one["name"] for one in found.get("ownerReferences", ()) if one["kind"] == "StatefulSet"]
    wanted = [newest(objects, name) for name in owners]
    return any(one and found.get("labels", {}).get(REVISION) != one for one in wanted)

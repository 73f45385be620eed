"""What a run on pods leaves in the cluster for people: a Lease while it is at work, and Events where the role moved.

No verb reads either. The lock itself is where it always is, in the servers (``lock``): a run that is killed leaves its
Lease behind, and nobody is kept from anything by that. What can't be left there is told, and stops nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from pyinfra import logger

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.operations.holders import Task
from keydb_runbooks.operations.lock import GONE_SECONDS
from keydb_runbooks.operations.pod_objects import are_pods, objects_of
from keydb_runbooks.operations.show import wrap
from keydb_runbooks.runbooks.plan import Plan

COMPONENT = "keydb-runbooks"


def at_work(group: Group, task: Task) -> None:
    """Show who works on a group, in ``kubectl get lease``."""
    now = _now()
    held = {
        "holderIdentity": _identity(task),
        "acquireTime": now,
        "renewTime": now,
        "leaseDurationSeconds": GONE_SECONDS,
    }
    _leave(group, "Lease", lambda objects: objects.apply(_lease(group, held), force=True))


def done(group: Group, task: Task) -> None:
    """Show that nobody does any more, unless another run does by now."""

    def end(objects: Objects) -> None:
        seen = objects.read("Lease", _lease_name(group)) or {}
        if seen.get("spec", {}).get("holderIdentity") == _identity(task):
            objects.apply(_lease(group, {"renewTime": _now()}), force=True)

    _leave(group, "Lease", end)


def _identity(task: Task) -> str:
    return f"{task.user}@{task.machine}: {task.verb} (for {task.node})"


def moved(group: Group, plan: Plan, task: Task) -> None:
    """Leave an Event on each pod whose role a plan has moved."""
    if plan.primary is None or plan.primary == plan.former:
        return
    who = f"{task.verb} by {task.user}@{task.machine}"
    instead = f" instead of {plan.former}" if plan.former else ""
    told = {plan.primary: f"is the primary of {group.name}{instead} ({who})"}
    if plan.former:
        told[plan.former] = f"is no longer the primary of {group.name}: {plan.primary} is ({who})"

    def tell(objects: Objects) -> None:
        for pod, sentence in told.items():
            _tell(objects, pod, sentence)

    _leave(group, "Events", tell)


def _leave(group: Group, what: str, act: Callable[[Objects], None]) -> None:
    if not are_pods(group):
        return
    try:
        act(objects_of(group))
    except ClusterError as error:
        for line in wrap(f"notice: no {what} in the cluster: {error.detail}", "", 2):
            logger.info(f"    {line}")


def _lease(group: Group, spec: dict[str, Any]) -> dict[str, Any]:
    named = {"name": _lease_name(group)}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": named, "spec": spec}


def _lease_name(group: Group) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", f"{COMPONENT}-{group.name}".lower()).strip("-")


def _tell(objects: Objects, pod: str, sentence: str) -> None:
    """:raises ClusterError: as ``Cluster.create``"""
    seen = objects.read("Pod", pod)
    if seen is None:
        return
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"kind": "Pod", "name": pod, "namespace": objects.namespace, "uid": seen["metadata"]["uid"]}
    objects.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{pod}.role-"},
            "involvedObject": {"apiVersion": "v1", **about},
            "type": "Normal",
            "reason": "RoleMoved",
            "message": sentence,
            "source": {"component": COMPONENT},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
    )


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""Waiting until the pods of a group run and their servers answer, and telling at once why one never will."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyinfra import host as pyinfra_host
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.cluster import ClusterError, place
from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import LinkError, link
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import manifests
from keydb_runbooks.operations.failed import failed
from keydb_runbooks.operations.pod_objects import connector_of, objects_of
from keydb_runbooks.operations.show import wrap
from keydb_runbooks.operations.waits import until
from keydb_runbooks.runbooks.founding import virgin

Commands = Generator[PyinfraCommand, None, None]

PATIENCE_SECONDS = 300.0
"""For all pods: an image may have to be pulled."""

POLL_SECONDS = 0.2
GUARD_SECONDS = 15.0
"""So long the boot guards of pods that came back may take to find a primary; often they rightly find none."""

MISSING_SECONDS = 10.0
"""So long the controller may take to make a pod, before it is asked what keeps it from that."""

HOPELESS = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}
"""Why a container waits for something that time alone doesn't bring."""

END_SECONDS = 660.0
"""A pod has ten minutes to save its data and end."""

REVISION = "controller-revision-hash"


@dataclass(frozen=True)
class Look:
    """How one pod is: why its server can't be used yet, "" if it can, and whether to wait is in vain."""

    told: str
    hopeless: bool = False


@operation()
def ready(group: Group) -> Commands:
    """Wait until every pod of a group runs and its server answers, guarded or not.

    + group: the nodes, see ``connectors.group``

    **Example:**

    .. code:: python

        pods_ready.ready(name="Wait until its pods run", group=group)
    """
    objects = objects_of(group)
    if any(_look(node, objects).told for node in group.nodes):
        yield FunctionCommand(_come_up, (group, objects), {})
    else:
        pyinfra_host.noop("every pod runs, and its server answers")
    yield from _outdated(group, objects)


@operation()
def gone(group: Group, pod: str) -> Commands:
    """Wait until a pod that is not wanted any more has saved its data and ended.

    + group: the nodes that stay, see ``connectors.group``
    + pod: its name

    **Example:**

    .. code:: python

        pods_ready.gone(name="Wait until keydb-3 has ended", group=group, pod="keydb-3")
    """
    objects = objects_of(group)
    if objects.read("Pod", pod) is not None:
        yield FunctionCommand(_end, (objects, pod), {})
    else:
        pyinfra_host.noop(f"there is no pod {pod}")


def _end(state: State, host: Host, objects: Objects, pod: str) -> bool:
    def ended() -> bool | None:
        return True if objects.read("Pod", pod) is None else None

    try:
        told = "" if until(ended, END_SECONDS, POLL_SECONDS, lambda: f"{pod} saves and ends") else "is still there"
    except ClusterError as error:
        told = error.detail
    if told:
        host.log_styled(f"{pod}: {told}; run this again", fg="red", log_func=logger.error)
        return False
    host.log(f"{pod} has ended, and its volume stays; take {pod} out of the inventory now")
    return True


def _outdated(group: Group, objects: Objects) -> Commands:
    """Say which pods run with what was installed before: nothing but a person's verb restarts one."""
    with suppress(ClusterError):
        names = [pod["metadata"]["name"] for pod in older(group, objects)]
        if names:
            told = f"{', '.join(names)} run as they were installed before, until restart or upgrade"
            for line in wrap(f"notice: {told}", "", 2):
                logger.info(f"    {line}")
    yield from ()


def newest(objects: Objects, statefulset: str) -> str | None:
    """The revision that a StatefulSet makes pods of now, None if that isn't told.

    :raises ClusterError: as ``Cluster.get``
    """
    revision = ((objects.read("StatefulSet", statefulset) or {}).get("status") or {}).get("updateRevision")
    return None if revision is None else str(revision)


def older(group: Group, objects: Objects) -> list[dict[str, Any]]:
    """The pods that were made of an older template.

    :raises ClusterError: as ``Cluster.get``
    """
    name = manifests.ordinals(group).name
    wanted = newest(objects, name)
    pods = objects.chosen("Pod", f"{manifests.INSTANCE}={name}")
    return [pod for pod in pods if wanted and pod["metadata"].get("labels", {}).get(REVISION) != wanted]


def _come_up(state: State, host: Host, group: Group, objects: Objects) -> bool:
    try:
        _remove_what_never_ran(group, objects)
        told = wait(group, objects)
        if not told:
            _let_guards_decide(group)
    except ClusterError as error:
        told = error.detail
    return failed(state, host, told) if told else True


def wait(group: Group, objects: Objects) -> str:
    """Why not every server answers at last, "" if they do.

    :raises ClusterError: as ``Cluster.get``
    """
    began, seen = time.monotonic(), Look("")

    def up() -> str | None:
        nonlocal seen
        for node in group.nodes:
            seen = _look(node, objects)
            if seen.hopeless:
                return seen.told
            if seen.told:
                return _kept_from_being_made(group, objects, time.monotonic() - began)
        return ""

    found = until(up, PATIENCE_SECONDS, POLL_SECONDS, lambda: seen.told)
    return f"{seen.told}, still after {PATIENCE_SECONDS:g} s" if found is None else found


def _let_guards_decide(group: Group) -> None:
    """Whoever comes back asks everybody else for a moment, before it has its role again or stays guarded."""

    def decided() -> bool | None:
        topology = observe(group)
        roles = topology.primaries and not any(node.guarded for node in topology.nodes)
        return True if roles or all(map(virgin, topology.nodes)) else None

    until(decided, GUARD_SECONDS, POLL_SECONDS, lambda: "the boot guards find out who is the primary")


def _look(node: NodeEntry, objects: Objects) -> Look:
    connector = connector_of(node.host)
    try:
        connector.look()
    except ConnectError as error:
        connector.away = str(error)
        return why_not(node, objects, str(error))
    try:
        link(node).close()
    except LinkError as error:
        # Who refuses a password, or isn't trusted, answers; what is to be done about it the next operation tells.
        if error.code not in ("loading", "not-trusted", "wrong-password"):
            return Look(f"the server of {node.name} does not answer yet: {error.detail}")
    return Look("")


def why_not(node: NodeEntry, objects: Objects, told: str) -> Look:
    """Why a pod doesn't run, and whether it ever will."""
    pod = objects.read("Pod", node.name)
    reason = waiting(pod or {}).get("reason")
    if reason not in HOPELESS or (pod or {})["metadata"].get("deletionTimestamp"):
        return Look(told)
    if reason == "CrashLoopBackOff":
        told += f"; it said: {last_words(node.name, objects)}"
    return Look(told, hopeless=True)


def waiting(pod: dict[str, Any]) -> dict[str, Any]:
    """What a pod's container waits for, {} if it doesn't."""
    states = (pod.get("status") or {}).get("containerStatuses") or []
    found = [one["state"]["waiting"] for one in states if "waiting" in one.get("state", {})]
    return dict(found[0]) if found else {}


def last_words(pod: str, objects: Objects) -> str:
    """What a container said before it ended; nothing where that can't be told."""
    path = place(objects.namespace, "pods", pod, "log")
    try:
        text = objects.cluster.text(f"{path}?previous=true&tailLines=2", timeout=objects.timeout)
    except ClusterError as error:
        return error.detail
    return " / ".join(text.split("\n")).strip(" /") or "nothing"


def _kept_from_being_made(group: Group, objects: Objects, seconds: float) -> str | None:
    """What the cluster says of pods that it doesn't make, a quota for instance; None if that is not known."""
    if seconds < MISSING_SECONDS:
        return None
    name = manifests.ordinals(group).name
    path = f"/api/v1/namespaces/{objects.namespace}/events"
    query = f"fieldSelector=involvedObject.name={name},reason=FailedCreate"
    with suppress(ClusterError):
        if all(objects.read("Pod", node.name) for node in group.nodes):
            return None
        events = objects.cluster.get(f"{path}?{query}", timeout=objects.timeout)["items"]
        if events:
            return f"statefulset/{name} gets no pods: {events[-1].get('message')}"
    return None


def _remove_what_never_ran(group: Group, objects: Objects) -> None:
    """A pod whose container was never started, and never will be, makes room for one of the present template.

    :raises ClusterError: as ``Cluster.delete``
    """
    for pod in older(group, objects):
        states = pod["status"].get("containerStatuses") or []
        never = all(not one.get("restartCount") and not one.get("lastState") for one in states)
        if never and waiting(pod).get("reason") in HOPELESS:
            objects.delete("Pod", pod["metadata"]["name"], pod["metadata"]["uid"])

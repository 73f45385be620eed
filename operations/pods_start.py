"""Start on pods: Kubernetes starts what ends by itself, but waits longer each time; who waits is made anew at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

from pyinfra import host as pyinfra_host
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.facts.anew import seconds
from keydb_runbooks.operations.failed import failed
from keydb_runbooks.operations.pod_objects import objects_of
from keydb_runbooks.operations.pods_ready import POLL_SECONDS, wait, waiting
from keydb_runbooks.operations.waits import until
from keydb_runbooks.runbooks.anew import WORD, word_of_end
from keydb_runbooks.runbooks.objects import scaling

Commands = Generator[PyinfraCommand, None, None]

BACKING_OFF = "CrashLoopBackOff"

TAKEN_SECONDS = 30.0
"""So long kubelet may take to end a pod whose container doesn't run, and to begin with the next one."""


@operation()
def started(group: Group) -> Commands:
    """Let every pod of a group run: those that wait for their next start are made anew, and come back guarded.

    + group: the nodes, see ``connectors.group``

    **Example:**

    .. code:: python

        pods_start.started(name="Start the pods that wait", group=group)
    """
    objects = objects_of(group)
    try:
        none = _scaled_away(group, objects)
        away = none or any(_answers_not(group, objects))
    except ClusterError as error:
        none, away = error.detail, True
    if none:
        yield FunctionCommand(failed, (none,), {})
    elif away:
        yield FunctionCommand(_start, (group, objects), {})
    else:
        pyinfra_host.noop("every pod runs")


def _scaled_away(group: Group, objects: Objects) -> str:
    """Why nobody makes the pods, "" if somebody does.

    :raises ClusterError: as ``Cluster.get``
    """
    for name, count in sorted(Counter(node.name.rpartition("-")[0] for node in group.nodes).items()):
        there = objects.read("StatefulSet", name)
        if there is None:
            return f"there is no statefulset/{name} in {objects.told}: install makes it, and its volumes stay"
        if there["spec"].get("replicas") == 0:
            up = f"{scaling(objects.namespace, name, count)} brings them back"
            return f"somebody scaled statefulset/{name} to 0 pods: {up}, and so does install with force_conflicts=yes"
    return ""


def _answers_not(group: Group, objects: Objects) -> Iterator[str]:
    """The pods of servers and proxies whose container doesn't run."""
    for host in group.hosts:
        pod = objects.read("Pod", host.name)
        states = ((pod or {}).get("status") or {}).get("containerStatuses") or [{}]
        if not all("running" in one.get("state", {}) for one in states):
            yield host.name


def _start(state: State, host: Host, group: Group, objects: Objects) -> bool:
    try:
        deleted = []
        for member in group.hosts:
            pod = objects.read("Pod", member.name)
            if pod is not None and waiting(pod).get("reason") == BACKING_OFF:
                objects.delete("Pod", member.name, pod["metadata"]["uid"])
                deleted.append(pod)
                host.log(f"{member.name} waited for its next start, and is made anew")
        for pod in deleted:
            if pod["metadata"]["name"] in {node.name for node in group.nodes}:
                _leave_word(host, pod, objects)
        told = wait(group, objects)
    except ClusterError as error:
        told = error.detail
    return failed(state, host, told) if told else True


def _leave_word(host: Host, pod: dict[str, Any], objects: Objects) -> None:
    """Tell the next pod of a name that the server of the one which was deleted has ended, if that is known.

    It is where the same kubelet runs the next one: that one saw the end, is there, and was told of the deletion. A pod
    of a node that is cut off stays until it is there again, and another node's kubelet knows nothing of it.

    :raises ClusterError: as ``Cluster.get``
    """
    word, name = word_of_end(pod, seconds), str(pod["metadata"]["name"])
    if not word:
        return

    def taken() -> dict[str, Any] | None:
        seen = objects.read("Pod", name)
        is_next = seen is not None and seen["metadata"]["uid"] != pod["metadata"]["uid"]
        return seen if is_next and seen is not None and "startTime" in seen["status"] else None

    following = until(taken, TAKEN_SECONDS, POLL_SECONDS, lambda: f"kubelet takes the next {name}")
    if following is not None and following["spec"].get("nodeName") == pod["spec"].get("nodeName"):
        try:
            objects.annotate("Pod", name, following["metadata"]["uid"], {WORD: word})
        except ClusterError as error:
            host.log(f"{name} could not be told that the one before it has ended: {error.detail}")

"""Waiting until the proxies of a group are those that were installed last, and nobody else is one any more."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra import host as pyinfra_host
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.operations import manifests
from keydb_runbooks.operations.failed import failed
from keydb_runbooks.operations.pod_objects import objects_of
from keydb_runbooks.operations.pods_ready import HOPELESS, last_words, waiting
from keydb_runbooks.operations.waits import until

Commands = Generator[PyinfraCommand, None, None]

PATIENCE_SECONDS = 300.0
"""An image may have to be pulled, and who leaves gives its clients half a minute."""

POLL_SECONDS = 0.2


@operation()
def ready(group: Group) -> Commands:
    """Wait until every proxy of a group is ready, and those that were made before are gone.

    + group: the nodes, see ``connectors.group``

    **Example:**

    .. code:: python

        pods_proxies.ready(name="Wait until the proxies run", group=group)
    """
    objects = objects_of(group)
    if group.pod_proxies is not None and _look(group, objects):
        yield FunctionCommand(_wait, (group, objects), {})
    else:
        pyinfra_host.noop("every proxy is ready")


def _wait(state: State, host: Host, group: Group, objects: Objects) -> bool:
    seen = ""

    def settled() -> str | None:
        nonlocal seen
        if hopeless := _hopeless(group, objects):
            return hopeless
        seen = _look(group, objects)
        return None if seen else ""

    try:
        told = until(settled, PATIENCE_SECONDS, POLL_SECONDS, lambda: seen)
    except ClusterError as error:
        told = error.detail
    if told == "":
        return True
    return failed(state, host, told or f"{seen}, still after {PATIENCE_SECONDS:g} s")


def _look(group: Group, objects: Objects) -> str:
    """What is still to come, "" if nothing is.

    :raises ClusterError: as ``Cluster.get``
    """
    name = manifests.proxies_name(group)
    found = objects.read("Deployment", name) or {"spec": {"replicas": 0}, "metadata": {"generation": 0}}
    wanted, status = found["spec"]["replicas"], found.get("status") or {}
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return f"deployment/{name} is not looked at yet"
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    if ready < wanted:
        return f"{ready} of {wanted} proxies are ready"
    leaving = len(_pods(group, objects)) - wanted
    return f"{leaving} proxies made before let their clients go" if leaving > 0 else ""


def _hopeless(group: Group, objects: Objects) -> str:
    """Why one of them never runs, "" if that is not known."""
    for pod in _pods(group, objects):
        reason = waiting(pod)
        if reason.get("reason") in HOPELESS:
            name, told = pod["metadata"]["name"], reason.get("message", "no reason given")
            if reason["reason"] == "CrashLoopBackOff":
                told = f"it said: {last_words(name, objects)}"
            return f"{name} does not run: {reason['reason']}: {told}"
    return ""


def _pods(group: Group, objects: Objects) -> list[dict[str, Any]]:
    return objects.chosen("Pod", f"{manifests.INSTANCE}={manifests.proxies_name(group)}")

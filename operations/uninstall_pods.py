"""Taking away what install made on pods: the servers save and end, then every object goes; volumes only on request.

Only objects that carry the group's name go. A Secret that install only read stays, and so does the namespace.
"""

from __future__ import annotations

from collections.abc import Generator

import redis
from pyinfra import host as pyinfra_host
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.connectors.link import LinkError, link
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import dump, endings, manifests, traces
from keydb_runbooks.operations.failed import failed
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.options import option
from keydb_runbooks.operations.pod_objects import objects_of, runs
from keydb_runbooks.operations.waits import until
from keydb_runbooks.runbooks.exit_codes import ExitCode
from keydb_runbooks.runbooks.objects import GROUP, MANAGED_BY, OURS

Commands = Generator[PyinfraCommand, None, None]

KINDS = ("StatefulSet", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ConfigMap", "Secret")
"""What install makes, in the order in which it goes: the pods first."""

CLAIM = "PersistentVolumeClaim"

END_SECONDS = 660.0
"""A pod has ten minutes to save its data and end."""


def refuse(host: Host, group: Group) -> None:
    """Say that a pod goes in another way than a machine, and that of several StatefulSets install made none.

    :raises SystemExit: if one is named, or they are such pods
    """
    try:
        manifests.ordinals(group)
    except manifests.NotOfOneSet as error:
        told = f"refused: not-ours {group.name}: {error}; install made none of these: whoever did takes them away"
        endings.stop(host, told, ExitCode.REFUSED)
    if (node := option(host, "node")) is not None:
        told = f"--data node={node}: a pod goes by its number: take the highest one out of the inventory, then install"
        endings.stop(host, told)


@operation()
def removed(group: Group, remove_data: bool) -> Commands:
    """Take a group's objects away; what its servers hold is saved first, and their volumes stay unless told.

    + group: the nodes, see ``connectors.group``
    + remove_data: whether the volumes go as well

    **Example:**

    .. code:: python

        uninstall_pods.removed(name="Take the pods away", group=group, remove_data=False)
    """
    objects = objects_of(group)
    try:
        found = [(kind, name) for kind in KINDS for name in _ours(group, objects, kind)]
        claims = _claims(group, objects)
    except ClusterError as error:
        yield FunctionCommand(failed, (error.detail,), {})
        return
    if not found and not (claims and remove_data):
        pyinfra_host.noop(f"nothing of install is left in {objects.told}")
        return
    everybody = bool(found) and _is_everybody_known(group)
    if found and not remove_data:
        yield FunctionCommand(_save, (group,), {})
    for kind, name in found:
        yield FunctionCommand(_remove, (group, objects, kind, name), {})
        if kind == "StatefulSet" and everybody:
            yield FunctionCommand(_leave_word, (group,), {})
    if remove_data:
        for name in claims:
            yield FunctionCommand(_remove, (group, objects, CLAIM, name), {})
    elif claims:
        yield FunctionCommand(_tell, (f"the volumes stay: {', '.join(claims)}",), {})


def _is_everybody_known(group: Group) -> bool:
    """Whether no server is out of sight: every one answers, and one is the primary, whoever was it before."""
    topology = observe(group)
    return topology.rightful_primary() is not None and not topology.unread


def _leave_word(state: State, host: Host, group: Group) -> bool:
    """They have ended: install founds the group anew without asking for them."""
    traces.all_ended(group)
    return True


def _ours(group: Group, objects: Objects, kind: str) -> list[str]:
    """:raises ClusterError: as ``Objects.chosen``"""
    named = manifests.ordinals(group).name
    found = objects.chosen(kind, f"{manifests.INSTANCE}={named},{MANAGED_BY}={OURS}")
    return [
        str(one["metadata"]["name"]) for one in found if one["metadata"].get("annotations", {}).get(GROUP) == group.name
    ]


def _claims(group: Group, objects: Objects) -> list[str]:
    """The claims of the set's pods, those of numbers that are no longer wanted among them.

    :raises ClusterError: as ``Objects.chosen``
    """
    named = manifests.ordinals(group).name
    found = objects.chosen(CLAIM, f"{manifests.INSTANCE}={named},{MANAGED_BY}={OURS}")
    return sorted(str(one["metadata"]["name"]) for one in found)


def _save(state: State, host: Host, group: Group) -> bool:
    """Their data stay, whatever ``keydb_persistence`` says; who doesn't answer keeps what its volume has."""
    for node in group.nodes:
        if not runs(node.host):
            continue
        try:
            client = link(node)
            try:
                dump.background_save(node.name, client)
            finally:
                client.close()
        except (LinkError, StepFailed, redis.RedisError, OSError) as error:
            return failed(state, host, f"{node.name} can't save its data, so everything stays: {error}")
    return True


def _remove(state: State, host: Host, group: Group, objects: Objects, kind: str, name: str) -> bool:
    where = f"{kind.lower()}/{name}"
    try:
        objects.delete(kind, name)
        if kind == "StatefulSet" and (left := _wait(group, objects)):
            return failed(state, host, f"{where} is gone, but {left} still ends; run this again to go on")
    except ClusterError as error:
        return failed(state, host, f"{where} could not be removed: {error.detail}; run this again to go on")
    host.log(f"{where} removed")
    return True


def _wait(group: Group, objects: Objects) -> str:
    """The pods that are still there when the time is up, "" if none is."""
    selector, left = f"{manifests.INSTANCE}={manifests.ordinals(group).name}", ""

    def gone() -> bool | None:
        nonlocal left
        left = ", ".join(str(pod["metadata"]["name"]) for pod in objects.chosen("Pod", selector))
        return None if left else True

    return "" if until(gone, END_SECONDS, 0.2, lambda: f"{left} save and end") else left


def _tell(state: State, host: Host, sentence: str) -> bool:
    host.log(sentence)
    return True

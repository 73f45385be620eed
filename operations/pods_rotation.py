"""What a rotation of passwords is on pods beside the servers: logins, the Secret, and proxies that start anew."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host as pyinfra_host
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.cluster import ClusterError, place
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.connectors.services import MANAGER
from keydb_runbooks.operations import endings, manifests, pods
from keydb_runbooks.operations.failed import failed
from keydb_runbooks.operations.pod_objects import objects_of
from keydb_runbooks.runbooks.exit_codes import ExitCode
from keydb_runbooks.runbooks.objects import GROUP

Commands = Generator[PyinfraCommand, None, None]

SECRET_SEEN = "keydb-runbooks/secret"  # noqa: S105 - an annotation's name
"""An annotation of the proxies' pods: which version of the Secret they were started for. Another one starts others."""


def refuse(host: Host, group: Group) -> None:
    """Say that passwords of pods that install did not make are their maker's to change.

    :raises SystemExit: if they are some
    """
    try:
        name = manifests.ordinals(group).name
        there = objects_of(group).read("StatefulSet", name) or {"metadata": {}}
    except (ClusterError, manifests.NotOfOneSet) as error:
        endings.stop(host, f"refused: not-ours {group.name}: {error}", ExitCode.REFUSED)
    if (there["metadata"].get("annotations") or {}).get(GROUP) != group.name:
        told = f"refused: not-ours statefulset/{name}: install did not make it: whoever did keeps its passwords"
        endings.stop(host, told, ExitCode.REFUSED)


@operation()
def secret(group: Group) -> Commands:
    """Give the Secret the new passwords, for pods that start from now on; every server takes them by now.

    + group: the nodes, see ``connectors.group``

    **Example:**

    .. code:: python

        pods_rotation.secret(name="Give the Secret the new ones", group=group)
    """
    objects = objects_of(group)
    document = next(iter(manifests.secrets(group)), None)
    if document is None:
        if refusal := pods.refuse_secret(group, objects):
            yield FunctionCommand(_tell, (f"{refusal.where} {refusal.sentence}; {refusal.hint}",), {})
        else:
            pyinfra_host.noop(f"secret/{manifests.secret_name(group)} has them")
        return
    tried = objects.try_out(document, objects.read("Secret", document["metadata"]["name"]))
    if tried.problem:
        yield FunctionCommand(_tell, (f"{tried.where}: {tried.detail}",), {})
    elif tried.changes:
        yield FunctionCommand(_apply, (objects, document), {})
    else:
        pyinfra_host.noop(f"{tried.where} has them")


@operation()
def proxies(group: Group) -> Commands:
    """Start the proxies anew, one after the other, if their checks were started for another Secret.

    + group: the nodes, see ``connectors.group``

    **Example:**

    .. code:: python

        pods_rotation.proxies(name="Let checks use the new one", group=group)
    """
    objects = objects_of(group)
    version = _version(group, objects)
    there = objects.read("Deployment", manifests.proxies_name(group)) or {}
    notes = there.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations") or {}
    if notes.get(SECRET_SEEN) == version:
        pyinfra_host.noop("the proxies were started for it")
        return
    yield FunctionCommand(_start_anew, (group, objects), {})


def _version(group: Group, objects: Objects) -> str:
    there = objects.read("Secret", manifests.secret_name(group)) or {"metadata": {"resourceVersion": ""}}
    return str(there["metadata"]["resourceVersion"])


def _apply(state: State, host: Host, objects: Objects, document: dict[str, object]) -> bool:
    try:
        objects.apply(document)
    except ClusterError as error:
        return _tell(state, host, f"the Secret could not be applied: {error.detail}")
    host.log("the Secret has the new passwords")
    return True


def _start_anew(state: State, host: Host, group: Group, objects: Objects) -> bool:
    name = manifests.proxies_name(group)
    try:
        notes = {"annotations": {SECRET_SEEN: _version(group, objects)}}
        path = place(objects.namespace, "deployments", name, group="/apis/apps/v1")
        patch = {"spec": {"template": {"metadata": notes}}}
        objects.cluster.patch(path, patch, timeout=objects.timeout, manager=MANAGER)
    except ClusterError as error:
        return _tell(state, host, f"deployment/{name} could not be changed: {error.detail}")
    host.log(f"deployment/{name} starts others, one after the other")
    return True


def _tell(state: State, host: Host, sentence: str) -> bool:
    return failed(state, host, f"{sentence}; the old passwords stay, run this again")

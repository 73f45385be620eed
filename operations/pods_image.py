"""An image that pods shall have is tried in a pod of its own first: what can't be pulled, or lacks something, is told
before anything is changed."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra import host as pyinfra_host
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.cluster import ClusterError, place
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.operations import manifests
from keydb_runbooks.operations.failed import failed
from keydb_runbooks.operations.pods import Wanted, give_up
from keydb_runbooks.operations.pods_ready import HOPELESS, waiting
from keydb_runbooks.operations.waits import until

Commands = Generator[PyinfraCommand, None, None]

PATIENCE_SECONDS = 300.0
"""An image may have to be pulled."""

POLL_SECONDS = 0.2

ENDED = ("Succeeded", "Failed")


@operation()
def tried(group: Group, wanted: Wanted) -> Commands:
    """Try the image of a group's pods, unless they have it already.

    + group: the nodes, see ``connectors.group``
    + wanted: what ``pods.wanted`` returned

    **Example:**

    .. code:: python

        pods_image.tried(name="Try the image", group=group, wanted=pods.wanted(host, group))
    """
    trials = [("StatefulSet", "keydb_image", manifests.trial(group))]
    if group.pod_proxies is not None:
        trials.append(("Deployment", "haproxy_image", manifests.proxy_trial(group, group.pod_proxies)))
    new = [(key, trial) for kind, key, trial in trials if _image(trial) not in _present(wanted, kind)]
    for key, trial in new:
        yield FunctionCommand(_try, (group, wanted, key, trial), {})
    if not new:
        images = " and ".join(_image(trial) for _, _, trial in trials)
        pyinfra_host.noop(f"the pods are made of {images} already")


def _image(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def _present(wanted: Wanted, kind: str) -> list[str]:
    """The images that the pods of a kind are made of now."""
    sets = [one.live for one, _ in wanted.tried if one.kind == kind and one.live is not None]
    return [part["image"] for one in sets for part in one["spec"]["template"]["spec"]["containers"]]


def _try(state: State, host: Host, group: Group, wanted: Wanted, key: str, document: dict[str, Any]) -> bool:
    objects, image = wanted.objects, _image(document)
    name = document["metadata"]["name"]
    try:
        objects.delete("Pod", name)
        until(lambda: True if objects.read("Pod", name) is None else None, 30, POLL_SECONDS, lambda: f"{name} ends")
        objects.create(document)
        try:
            told = _judge(objects, name, image)
        finally:
            objects.delete("Pod", name)
    except ClusterError as error:
        told = f"{image} could not be tried: {error.detail}"
    if not told:
        return True
    give_up(state, group)
    return failed(state, host, f"refused: image-not-usable {told}; nothing was changed: mend {key}")


def _judge(objects: Objects, name: str, image: str) -> str:
    """What is wrong with the image, "" if nothing is.

    :raises ClusterError: as ``Cluster.get``
    """
    seen: dict[str, Any] = {}

    def ended() -> str | None:
        nonlocal seen
        seen = objects.read("Pod", name) or {}
        if waiting(seen).get("reason") in HOPELESS:
            return f"{image}: {waiting(seen)['reason']}: {waiting(seen).get('message', 'no reason given')}"
        if seen.get("status", {}).get("phase") in ENDED:
            return _ending(objects, seen, name, image)
        return None

    found = until(ended, PATIENCE_SECONDS, POLL_SECONDS, lambda: f"pod {name} tries {image}")
    return f"{image} was not there after {PATIENCE_SECONDS:g} s" if found is None else found


def _ending(objects: Objects, pod: dict[str, Any], name: str, image: str) -> str:
    ended = pod["status"]["containerStatuses"][0]["state"].get("terminated", {})
    if ended.get("exitCode") == 0:
        return ""
    path = place(objects.namespace, "pods", name, "log")
    said = objects.cluster.text(path, timeout=objects.timeout).strip() or str(ended.get("message", ""))
    return f"{image}: {' '.join(said.split()) or ended.get('reason', 'it ended')}"

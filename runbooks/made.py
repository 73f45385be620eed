"""How a pod is made, as far as that undoes a role that a verb gave: charts, sidecars and controllers have their ways.

What install makes has none of it. All else is read out of the pod itself, of what owns it and of the scripts that it is
given; nothing here is proved, so whatever may be meant is told (docs/kubernetes.md, "Pods that somebody else made").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]

MOVERS = ("owned-by-controller", "sentinel-beside", "label-mover")
"""What moves roles by itself: a verb that doesn't know of it would be undone."""

HINTS = {
    "owned-by-controller": "move the role by that, or let it give the pods up first",
    "sentinel-beside": "use SENTINEL FAILOVER, or take the Sentinels out of the pods first",
    "label-mover": "take it out of the pods first; a Service by the pod's name needs none",
    "role-at-start": "a pod that is restarted may take a role that is no longer its own: run status and rejoin then",
    "role-not-kept": "a pod that is made anew forgets its role: run status and rejoin then",
    "probe-judges-role": "look whether a pod in its new role stays alive and ready",
    "made-unknown": 'docs/kubernetes.md, "Rights", has what is needed to look',
}
"""What to do about each."""

CONTROLLERS = ("StatefulSet", "Deployment", "ReplicaSet", "DaemonSet", "Job")
"""Kubernetes' own, which know no roles."""

LASTING = ("persistentVolumeClaim", "hostPath", "ephemeral", "csi", "nfs", "local", "iscsi", "rbd")
"""Kinds of volumes that may outlive a pod."""

ROLE = re.compile(r"\b(replicaof|slaveof)\b|get-master-addr-by-name", re.IGNORECASE)
ROLE_NAMES = re.compile(r"(REPLICATION_MODE|(MASTER|PRIMARY)_(HOST|NAME|SET)|REPLICAOF|SLAVEOF)", re.IGNORECASE)
"""Names of environment variables by which images are told their role."""

SENTINEL = re.compile(r"(redis|keydb|valkey)-sentinel\b|--sentinel\b|\bsentinel\.conf\b|\b26379\b", re.IGNORECASE)
LABELS = re.compile(r"kubectl\b.*\b(label|patch)\b|/api/v1/namespaces/\S*/(pods|services)\b", re.IGNORECASE | re.DOTALL)
JUDGES = re.compile(r"role:|\bROLE\b|master_link_status|min-slaves|\bslave\b|\breplica\b")


@dataclass(frozen=True)
class Undoing:
    """One way in which a pod's making bears on its role, in words."""

    code: str
    sentence: str

    @property
    def hint(self) -> str:
        return HINTS[self.code]


UNREAD = Undoing("made-unknown", "what would undo its role could not be looked at")


def judge(
    pod: Document, container: str, owners: Iterable[Document], texts: Mapping[str, str], directory: str
) -> tuple[Undoing, ...]:
    """Everything about a pod that may undo its role.

    :param container: the server's
    :param owners: the ``ownerReferences`` of what owns the pod
    :param texts: the files of the ConfigMaps that the pod is given, by ``ConfigMap/file``
    :param directory: where the server's configuration file is
    """
    return (
        *_controllers(owners),
        *_beside(pod, container, texts),
        *_at_start(pod, container, texts),
        *_not_kept(pod, container, directory),
        *_probes(pod, container, texts),
    )


def _controllers(owners: Iterable[Document]) -> Iterator[Undoing]:
    for owner in owners:
        if owner.get("kind") not in CONTROLLERS:
            told = f"belongs to {owner.get('kind')} {owner.get('name')}, whose controller may move roles by itself"
            yield Undoing("owned-by-controller", told)


def _beside(pod: Document, container: str, texts: Mapping[str, str]) -> Iterator[Undoing]:
    for one in pod["spec"]["containers"]:
        if one["name"] == container:
            continue
        words = _words(one, texts)
        if SENTINEL.search(words):
            yield Undoing("sentinel-beside", f"has a Sentinel beside the server, container {one['name']}")
        elif ROLE.search(words) or LABELS.search(words):
            yield Undoing("label-mover", f"has a container that moves roles or their labels, {one['name']}")


def _at_start(pod: Document, container: str, texts: Mapping[str, str]) -> Iterator[Undoing]:
    """What gives the server a role whenever its container starts."""
    for one in (*(pod["spec"].get("initContainers") or ()), _server(pod, container)):
        names = [str(part["name"]) for part in one.get("env") or () if ROLE_NAMES.search(str(part["name"]))]
        if names:
            yield Undoing("role-at-start", f"is told a role by {' and '.join(names)} whenever it starts")
            return
        if ROLE.search(_words(one, {})):
            yield Undoing("role-at-start", f"gets a role by the command of {one['name']} whenever it starts")
            return
    given = [name for name, text in texts.items() if ROLE.search(_code(text))]
    if given:
        yield Undoing("role-at-start", f"is given a role by {' and '.join(given)}, which may count at every start")


def _not_kept(pod: Document, container: str, directory: str) -> Iterator[Undoing]:
    mounts = _server(pod, container).get("volumeMounts") or ()
    above = [one for one in mounts if f"{directory}/".startswith(f"{one['mountPath'].removesuffix('/')}/")]
    deepest = max(above, key=lambda one: len(one["mountPath"]), default=None)
    volumes = {one["name"]: one for one in pod["spec"].get("volumes") or ()}
    volume = volumes.get(deepest["name"], {}) if deepest is not None else {}
    if not any(kind in volume for kind in LASTING):
        where = f"volume {deepest['name']}" if deepest is not None else "the container"
        yield Undoing("role-not-kept", f"keeps its configuration in {where}, which ends with the pod")


def _probes(pod: Document, container: str, texts: Mapping[str, str]) -> Iterator[Undoing]:
    server = _server(pod, container)
    for kind in ("livenessProbe", "readinessProbe"):
        words = json.dumps((server.get(kind) or {}).get("exec") or {})
        if JUDGES.search(words + _called(words, texts)):
            told = kind.removesuffix("Probe")
            yield Undoing("probe-judges-role", f"has a {told} probe that looks at its role")


def _server(pod: Document, container: str) -> Document:
    found: Document = next(one for one in pod["spec"]["containers"] if one["name"] == container)
    return found


def _words(container: Document, texts: Mapping[str, str]) -> str:
    """What a container is called, is made of and runs, with the scripts that this names."""
    parts = {key: container.get(key) for key in ("name", "image", "command", "args", "ports")}
    words = json.dumps(parts)
    return words + _called(words, texts)


def _called(words: str, texts: Mapping[str, str]) -> str:
    """The texts of the files that a command names."""
    return "\n".join(_code(text) for name, text in texts.items() if name.rpartition("/")[2] in words)


def _code(text: str) -> str:
    """A script or a configuration without its comments."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))

"""What a run on pods leaves in the cluster for people: a Lease while it is at work, and Events where the role moved.

No verb asks them who is at work: the lock itself is where it always is, in the servers (``lock``). A run that is killed
leaves its Lease behind, which runs out, and nobody is kept from anything by that. What can't be left there is told, and
stops nothing. Only since when there were runs is read again, by ``install`` (``runbooks.before``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import gevent
from gevent import Greenlet
from gevent.event import Event
from pyinfra import logger

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.operations.holders import Task
from keydb_runbooks.operations.pod_objects import ANSWER_SECONDS, are_pods, objects_of
from keydb_runbooks.operations.show import wrap
from keydb_runbooks.runbooks.before import ENDED, Before, before_pods
from keydb_runbooks.runbooks.plan import Plan

COMPONENT = "keydb-runbooks"

RENEW_SECONDS = 3.0
LEASE_SECONDS = 10
"""How long a Lease counts that isn't renewed: three times that, and a moment."""


class AtWork:
    """Who works on a group, shown in ``kubectl get lease`` until ``done``.

    It is renewed as long as the servers know the run (``Lock.lives``): one that was cut off or stopped runs out.
    """

    def __init__(self, group: Group, task: Task, lives: Callable[[], bool]) -> None:
        self._group, self._task, self._lives = group, task, lives
        self._done = Event()
        self._acquired = _now()
        self._renewing: Greenlet[..., None] | None = None
        if _leave(group, "Lease", self._show):
            self._renewing = gevent.spawn(self._renew)

    def done(self) -> None:
        """Show that nobody does any more, unless another run does by now."""
        self._done.set()
        if self._renewing is not None:
            # One that is on its way may come behind the end.
            self._renewing.join(timeout=ANSWER_SECONDS)
        _leave(self._group, "Lease", self._end)

    def _renew(self) -> None:
        while not self._done.wait(RENEW_SECONDS):
            if self._lives():
                with suppress(ClusterError):
                    self._show(objects_of(self._group))

    def _show(self, objects: Objects) -> None:
        held = {
            "holderIdentity": _identity(self._task),
            "acquireTime": self._acquired,
            "renewTime": _now(),
            "leaseDurationSeconds": LEASE_SECONDS,
        }
        objects.apply(_lease(self._group, held), force=True)

    def _end(self, objects: Objects) -> None:
        seen = objects.read("Lease", _lease_name(self._group)) or {}
        if seen.get("spec", {}).get("holderIdentity") == _identity(self._task):
            objects.apply(_lease(self._group, {"renewTime": _now()}), force=True)


def before(group: Group) -> Before:
    """What the cluster tells of the time before a group's pods; of machines nothing."""
    if not are_pods(group):
        return Before()
    try:
        objects = objects_of(group)
        lease = objects.read("Lease", _lease_name(group))
        pods = [pod for node in group.nodes if (pod := objects.read("Pod", node.name)) is not None]
    except ClusterError as error:
        return Before(unread=error.detail)
    return before_pods(lease, pods)


def all_ended(group: Group) -> None:
    """Leave word that every server of a group has ended, until its next run: whoever founds it anew asks for nobody."""

    def tell(objects: Objects) -> None:
        if objects.read("Lease", _lease_name(group)) is not None:
            objects.apply(_lease(group, {"renewTime": _now()}, {ENDED: _now()}), force=True)

    _leave(group, "word of their end", tell)


def _identity(task: Task) -> str:
    return f"{task.user}@{task.machine}: {task.verb} (for {task.node})"


def moved(group: Group, plan: Plan, task: Task) -> None:
    """Leave an Event on each pod whose role a plan has moved, or whose move by a run that died it has finished."""
    finished = plan.primary == plan.former
    former = plan.moved_from if finished else plan.former or plan.moved_from
    if plan.primary is None or (finished and former is None):
        return
    who = f"{'finished by ' if finished else ''}{task.verb} by {task.user}@{task.machine}"
    instead = f" instead of {former}" if former else ""
    told = {plan.primary: f"is the primary of {group.name}{instead} ({who})"}
    if former:
        told[former] = f"is no longer the primary of {group.name}: {plan.primary} is ({who})"
    # The same move is told once, whoever finishes it.
    which = "" if plan.epoch is None else f"{plan.epoch}-{plan.primary}"

    def tell(objects: Objects) -> None:
        for pod, sentence in told.items():
            _tell(objects, pod, sentence, which)

    _leave(group, "Events", tell)


def _leave(group: Group, what: str, act: Callable[[Objects], None]) -> bool:
    """Whether it could be left."""
    if not are_pods(group):
        return False
    try:
        act(objects_of(group))
        return True
    except ClusterError as error:
        for line in wrap(f"notice: no {what} in the cluster: {error.detail}", "", 2):
            logger.info(f"    {line}")
        return False


def _lease(group: Group, spec: dict[str, Any], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """Annotations that aren't given go with what is applied."""
    named = {"name": _lease_name(group), **({"annotations": annotations} if annotations else {})}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": named, "spec": spec}


def _lease_name(group: Group) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", f"{COMPONENT}-{group.name}".lower()).strip("-")


def _tell(objects: Objects, pod: str, sentence: str, which: str) -> None:
    """Leave an Event, unless there is one of this move.

    :param which: names the move, "" if nothing does
    :raises ClusterError: as ``Cluster.create``
    """
    seen = objects.read("Pod", pod)
    if seen is None:
        return
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"kind": "Pod", "name": pod, "namespace": objects.namespace, "uid": seen["metadata"]["uid"]}
    name = {"name": f"{pod}.role-{which}"} if which else {"generateName": f"{pod}.role-"}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": name,
        "involvedObject": {"apiVersion": "v1", **about},
        "type": "Normal",
        "reason": "RoleMoved",
        "message": sentence,
        "source": {"component": COMPONENT},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        objects.create(event)
    except ClusterError as error:
        if error.code != "conflict":
            raise


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

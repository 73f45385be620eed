"""Pods that were made anew: a name answers again, and whoever ran under it before may run on where nobody looks.

A pod that is deleted by force, or whose Node object is deleted, is struck off the API server's list while its server
may run on a machine that is out of reach. The next pod of that name says nothing of it (docs/kubernetes.md, "A pod made
anew").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keydb_runbooks.runbooks.objects import MANAGED_BY, OURS
from keydb_runbooks.runbooks.replication import Anew, Link, Node, Unread
from keydb_runbooks.runbooks.topology import Topology

LATE_SECONDS = 62
"""So much later than its source a link may be seen to end (repl-timeout), all told in whole seconds."""

FIRST_SECONDS = 2.0
"""Within these kubelet calls a new pod not ready for the first time; its conditions are told in whole seconds."""


WORD = "keydb-runbooks/before"
"""An annotation of a pod that ``start`` has made anew: what is known of those who had its name before."""

ENDED = "ended"
"""What a pod leaves on its volume behind its server's end, and ``start`` in ``WORD``: nobody runs who had the name."""

UNSEEN = "nothing tells whether the server that ran before it has ended"


@dataclass(frozen=True)
class Former:
    """Who ran under a node's name before and isn't known to have ended: what the pod there now tells, and when."""

    name: str
    told: str
    when: str


def anew_from_pod(pod: Mapping[str, Any], now: float | None, seconds: Callable[[str], float]) -> Anew | None:
    """What a pod leaves open; None if its own server was in the group since, so that whoever ran before is none of it.

    Ready is a server of install's that is a primary, or in sync with one. In other pods that may mean anything: how
    old the pod is has to tell.

    :param now: the API server's time, in seconds since 1970
    :param seconds: reads a moment as the API server writes it
    """
    told = pod["metadata"]
    since = str(told.get("creationTimestamp") or "")
    ours = _is_ours(told)
    if not _was_ready(pod, seconds):
        return Anew(since, "was never ready since", ours=ours)
    if ours:
        return None
    if now is None or not since:
        return Anew(since, "is of an unknown age")
    return Anew(since, "", now - seconds(since))


def word_of_end(pod: Mapping[str, Any], seconds: Callable[[str], float]) -> str:
    """What the next pod of a name is told of one that waits for its next start, "" if that may run.

    Its kubelet saw its server end. Those before it are known by that only if it was in the group since; of one that
    never was, the next pod has to find on its volume what that one had found (``was_told``).

    Of a pod that somebody else made nothing is known but its own end. Who asks makes sure that its kubelet is there.
    """
    told = pod["metadata"]
    if not _is_ours(told):
        return ""
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    if told.get("deletionTimestamp") or not containers or not all(map(_waits_behind_its_end, containers)):
        return ""
    if (told.get("annotations") or {}).get(WORD) == ENDED or _was_ready(pod, seconds):
        return ENDED
    return f"{told['uid']} {ENDED}"


def was_told(pod: Mapping[str, Any], found: str) -> bool:
    """Whether it is known of everybody who had a pod's name before that they have ended.

    :param found: the line that it has on its volume (``start.sh``): its uid, the word of the one before it, whose that
        is, and what that one had found; "" if it can't be read
    """
    uid = str(pod["metadata"].get("uid") or "")
    word = (pod["metadata"].get("annotations") or {}).get(WORD)
    here, state, before, its_own = (*found.split(), "", "", "", "")[:4]
    if word == ENDED:
        return True
    return bool(uid) and here == uid and (state == ENDED or (its_own == ENDED and word == f"{before} {ENDED}"))


def _is_ours(told: Mapping[str, Any]) -> bool:
    return (told.get("labels") or {}).get(MANAGED_BY) == OURS


def _waits_behind_its_end(container: Mapping[str, Any]) -> bool:
    """Whether kubelet has seen a container end, and started it no more since."""
    ended = container.get("lastState", {}).get("terminated")
    # Kubelet says this of one that it has lost sight of.
    return "waiting" in container.get("state", {}) and bool(ended) and ended.get("reason") != "ContainerStatusUnknown"


def formers(topology: Topology) -> tuple[Former, ...]:
    """Those who may have been the primary that is gone, and may still run.

    Where there is a primary, whoever was it before has been asked for already.
    """
    if topology.rightful_primary() is not None:
        return ()
    return tuple(
        Former(node.name, f"was made{node.anew.since and f' at {node.anew.since}'}{told}: {UNSEEN}", node.observed_at)
        for node in topology.everybody
        if node.anew is not None and (told := _doubt(topology, node, node.anew))
    )


def hear_a_former(topology: Topology) -> Iterator[tuple[Node, Link, Node]]:
    """Replicas whose link to a node is alive, that link, and the node, made anew, which has no replica itself."""
    names = {former.name for former in formers(topology)}
    for node in topology.nodes:
        for link in node.links:
            source = topology.at(link.primary)
            if link.alive and isinstance(source, Node) and source.name in names and not source.replicas:
                yield node, link, source


def _doubt(topology: Topology, node: Node | Unread, anew: Anew) -> str:
    """What leaves open whether the one before was the primary, and runs; "" if nothing does."""
    if anew.ours and isinstance(node, Node) and any(not link.guarded for link in node.links):
        # It began guarded, and was told whom to follow by who knew a later primary.
        return ""
    if anew.seconds is None:
        return f" and {anew.told}"
    lost = (
        one.name
        for one in topology.nodes
        for link in one.links
        if link.primary == node.address and not link.alive and _silent_for(link) + LATE_SECONDS > anew.seconds
    )
    return next((f", after {name} lost its primary" for name in lost), "")


def _silent_for(link: Link) -> int:
    """For how long at least nothing came over a link."""
    return max(link.down_seconds or 0, link.last_io_seconds or 0)


def _was_ready(pod: Mapping[str, Any], seconds: Callable[[str], float]) -> bool:
    """Whether a pod is or has been ready: since then its condition has another moment than its first one."""
    conditions = {one["type"]: one for one in (pod.get("status") or {}).get("conditions") or ()}
    ready, first = conditions.get("Ready"), conditions.get("Initialized")
    if ready is None or first is None:
        return False
    if ready["status"] == "True":
        return True
    moved, began = ready.get("lastTransitionTime"), first.get("lastTransitionTime")
    return bool(moved and began) and seconds(moved) - seconds(began) > FIRST_SECONDS

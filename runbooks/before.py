"""The time before a group's pods: whether servers ran that nobody looks at any more, as far as the cluster remembers.

Pods and volumes that are all new say nothing of it. But each run of a verb leaves its time on a Lease of the group, and
nobody deletes that with the pods (docs/kubernetes.md, "Founded before").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ENDED = "keydb-runbooks/ended"
"""An annotation of the Lease: ``uninstall`` saw every server of the group end, and no run was behind that."""


@dataclass(frozen=True)
class Before:
    """What is known of the servers before those that are there now; of machines nothing is asked.

    ``runs`` tells of runs on others, "" if there were none; ``unread`` why that isn't known, "" if it is.
    """

    runs: str = ""
    unread: str = ""


def before_pods(lease: Mapping[str, Any] | None, pods: Iterable[Mapping[str, Any]]) -> Before:
    """What a group's Lease tells: a pod that was made after the group's first run isn't the one that this was on.

    A first install makes the pods, waits for all of them, and runs then.
    """
    if lease is None or ENDED in (lease["metadata"].get("annotations") or {}):
        return Before()
    since = str(lease["metadata"].get("creationTimestamp") or "")
    # The API server writes them all in UTC and in whole seconds, so they sort as texts.
    made = {str(pod["metadata"]["name"]): str(pod["metadata"].get("creationTimestamp") or "") for pod in pods}
    later = {name: moment for name, moment in made.items() if moment > since}
    if not later:
        return Before()
    names = " and ".join(later)
    kept = f"{lease['metadata']['name']} tells of a run on the group at {since or 'an unknown time'} already"
    return Before(f"{kept}, and {names} {'was' if len(later) == 1 else 'were'} made later, {max(later.values())}")

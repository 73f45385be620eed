"""A Service of Kubernetes that clients write through: its selector names the pod that new connections go to.

It is a route, and no proof: connections that are open stay where they are when it moves, and nobody tells where they
lead. So nothing that asks whether an old primary is silent looks at it (docs/kubernetes.md).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """A Service that the API server told of.

    ``writes_go_to``: the nodes that a new writing connection may reach.
    ``named``: the node whose pod its selector names, None if it names none of the group.
    ``unmet``: keys of its selector that not every pod of the group meets; moving it takes them out.
    ``movable``: whether we have the right to move it, None if that is unknown.
    ``stragglers``: nodes with clients whose connections are older than its last move away from there.
    """

    name: str
    writes_go_to: tuple[str, ...]
    named: str | None = None
    unmet: tuple[str, ...] = ()
    movable: bool | None = True
    stragglers: tuple[str, ...] = ()
    observed_at: str = ""
    round_trip_seconds: float | None = None

    @property
    def whom(self) -> str:
        """To whom it sends writes, in words."""
        return " and ".join(self.writes_go_to) or "nobody"


@dataclass(frozen=True)
class UnreadService:
    """A Service that could not be read; ``detail`` is a sentence for people."""

    name: str
    code: str
    detail: str
    observed_at: str = ""

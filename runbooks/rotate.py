"""Rotating passwords: every server takes both, then everything of ours moves, then the old ones are taken away.

The inventory holds the new password and, as ``previous``, the old one; both log in meanwhile, so a run may die
anywhere. What a server takes is seen in its ACL, and no journal is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from keydb_runbooks.runbooks.plan import Refusal, Request
from keydb_runbooks.runbooks.refusals import refuse_mode, refuse_rivals, refuse_unread
from keydb_runbooks.runbooks.topology import Topology


class Stage(Enum):
    """Which passwords a server's file has: both, with the old one towards its primary; both; the new ones alone."""

    BOTH = "both"
    MOVED = "moved"
    NEW = "new"


@dataclass(frozen=True)
class Taken:
    """What a server takes of the passwords that change: whether all the new ones, and whether any of the old ones."""

    new: bool
    old: bool


@dataclass(frozen=True)
class Rotation:
    """Whose passwords change, how far that is, and whether the old ones are taken away at the end.

    ``both`` is whether a server lacks a new one, ``over`` whether none has an old one any more.
    """

    group: str
    roles: tuple[str, ...]
    finish: bool
    both: bool
    over: bool
    warnings: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def moved(self) -> Stage:
        """What servers have when everything of ours uses the new ones."""
        return Stage.NEW if self.over else Stage.MOVED

    def __str__(self) -> str:
        whose = " and ".join(self.roles)
        if self.over:
            return f"rotate of {self.group}: the old passwords of {whose} are gone; take previous out of the inventory"
        if self.finish:
            return f"rotate of {self.group}: {whose} get new passwords, and the old ones are taken away at the end"
        return f"rotate of {self.group}: {whose} get new passwords, and the old ones go on until finish=yes"


def decide(
    topology: Topology, request: Request, roles: tuple[str, ...], taken: Mapping[str, Taken | None], *, finish: bool
) -> Rotation | Refusal:
    """Decide whether passwords may be rotated.

    :param roles: those whose user has a previous password that is another one
    :param taken: what each node that answers takes, by its name, None if it did not tell
    """
    if not roles:
        hint = "give a user of keydb_users its old password as previous, and the new one as password"
        return Refusal("nothing-to-rotate", topology.group, "no user has a previous password", hint)
    refusal = refuse_mode(topology) or refuse_unread(topology, request) or refuse_rivals(topology)
    untold = silent(topology)
    if refusal := refusal or _refuse_state(topology, taken) or _refuse_end(untold, finish):
        return refusal
    seen = [one for one in taken.values() if one is not None]
    both = not all(one.new for one in seen)
    over = not both and not any(one.old for one in seen)
    warnings = []
    if finish and not over and "application" in roles:
        warnings.append("clients that still log in with the old password are refused from then on")
    warnings += [f"{name} is not told: run this again when it is back, before finish=yes" for name in untold]
    return Rotation(topology.group, roles, finish, both, over, tuple(warnings))


def silent(topology: Topology) -> list[str]:
    """Who can't be told; a server that is known to be stopped has what its file says when it starts."""
    nodes = [node.name for node in topology.unread if not node.stopped]
    return [*nodes, *(proxy.name for proxy in topology.unread_proxies)]


def _refuse_end(untold: list[str], finish: bool) -> Refusal | None:
    """Whoever knows the old passwords alone when they are gone finds no primary any more, or no server that is up."""
    if not (untold and finish):
        return None
    told = "knows the old passwords alone as long as it is silent"
    return Refusal("not-told", untold[0], told, "run this without finish=yes, and with it when everybody answers")


def _refuse_state(topology: Topology, taken: Mapping[str, Taken | None]) -> Refusal | None:
    primary = topology.rightful_primary()
    if primary is None:
        told = "nobody is primary, so a node may come back that knows the old passwords alone"
        return Refusal("no-primary", topology.group, told, "run failover first")
    for node in topology.nodes:
        if node.fenced:
            return Refusal("fenced", node.name, "is fenced: its users are held as they are", "run unfence first")
        if node.acl_file:
            told = "has its users in a file of their own, which install does not write"
            return Refusal("acl-file", node.name, told, "rotate them as that file is written")
        if taken.get(node.name) is None:
            told = "did not tell which passwords it takes"
            return Refusal("users-unknown", node.name, told, "let the operator read ACL LIST, docs/users.md")
        if node is not primary and not node.follows(primary):
            told = f"does not follow {primary.name}"
            return Refusal("not-in-sync", node.name, told, "run rejoin first")
    return None

"""Servers of another kind: whose role no verb may touch, each with one word, a sentence and the way out.

The words are the codes of refusals, findings and ``Unread`` alike; docs/engines.md tells how each was tried.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from keydb_runbooks.runbooks.replication import Node, Role, Unread
from keydb_runbooks.runbooks.steps import EPOCH_KEY, Command

PROBE_KEY = "runbook:probe:none"
"""A key that never exists."""

NEEDED: tuple[Command, ...] = (
    ("REPLICAOF", "none", "none"),
    ("CONFIG", "GET", "active-replica"),
    ("CONFIG", "SET", "min-replicas-to-write", "none"),
    ("CONFIG", "REWRITE"),
    ("CLIENT", "ID"),
    ("CLIENT", "LIST"),
    ("CLIENT", "SETNAME", ""),
    ("CLIENT", "PAUSE", "none", "WRITE"),
    ("CLIENT", "UNPAUSE"),
    ("CLIENT", "KILL", "ID", "0"),
    ("PUBSUB", "NUMSUB", PROBE_KEY),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "none"),
    ("ACL", "DELUSER", "none"),
    ("GET", EPOCH_KEY),
    ("PFCOUNT", PROBE_KEY),
    ("SET", PROBE_KEY, "", "XX"),
)
"""Every command that verbs send to a server, as ``facts.rights`` tries it without having it executed. The arguments are
such that nothing would change even then; CONFIG REWRITE and CLIENT UNPAUSE have none."""

CONTAINERS = ("ACL", "CONFIG", "CLIENT", "PUBSUB")
"""Commands of which each second word is a command of its own."""

OLDEST = {"keydb": (6, 2, 1), "redis": (6, 2, 6), "valkey": (7, 2)}
"""Before these a pause that was ended makes the next one longer, and a paused replica counts bytes that it doesn't
apply (docs/engines.md, "Servers of another kind")."""

HINTS = {
    "too-old": "upgrade it first: Redis 6.2.6, KeyDB 6.2.1 and every Valkey have what verbs need",
    "sentinel-process": "let keydb_port name the server that it watches",
    "cluster-mode": "use CLUSTER FAILOVER there",
    "multi-master": "leave one with REPLICAOF REMOVE host port first",
    "active-replica": "set active-replica no and restart it first",
    "sentinel-watched": "use SENTINEL FAILOVER there, or take the group from every Sentinel with SENTINEL REMOVE first",
    "command-missing": "take rename-command out of its file and restart it; a managed service has tools of its own",
    "not-permitted": "give its user the operator's rules (docs/users.md); a managed service has tools of its own",
    "kind-unknown": "run this again, and look at the server if that stays",
}
"""What to do about each kind."""


@dataclass(frozen=True)
class Kind:
    """Why a server is none that verbs can work with."""

    code: str
    sentence: str

    @property
    def hint(self) -> str:
        return HINTS[self.code]


def kind_of(seen: Node | Unread) -> Kind | None:
    """The kind of a server whose role no verb may touch, or None; unknown is a kind of its own."""
    if isinstance(seen, Unread):
        return Kind(seen.code, seen.detail) if seen.code in HINTS else None
    return kind_by_info(seen) or _watched(seen) or _lacking(seen) or _unknown(seen)


def kind_by_info(node: Node) -> Kind | None:
    """The kind as far as INFO alone tells it."""
    if _numbers(node.version) < OLDEST[node.engine]:
        return Kind("too-old", f"runs {node.engine} {node.version or 'of an unknown version'}")
    if node.cluster:
        return Kind("cluster-mode", "runs in cluster mode")
    if len(node.links) > 1:
        return Kind("multi-master", f"replicates {len(node.links)} primaries (multi-master)")
    if node.role is Role.ACTIVE_REPLICA or node.active_replica:
        return Kind("active-replica", "runs in active-replica mode, where every node takes writes")
    return None


def name_of(command: Command) -> str:
    """What people call a command: its first word, of containers the first two."""
    return " ".join(command[:2]) if command[0] in CONTAINERS else command[0]


def _watched(node: Node) -> Kind | None:
    if not node.sentinels:
        return None
    who, whose = ("a Sentinel", "its") if node.sentinels == 1 else (f"{node.sentinels} Sentinels", "their")
    sentence = f"is watched by {who}, which would promote a node of {whose} own choice soon after a verb"
    return Kind("sentinel-watched", sentence)


def _lacking(node: Node) -> Kind | None:
    rights = node.rights
    if rights is not None and rights.missing:
        names = ", ".join(rights.missing)
        return Kind("command-missing", f"does not know {names}: renamed or disabled there")
    if rights is not None and rights.forbidden:
        return Kind("not-permitted", f"does not permit the operator {', '.join(rights.forbidden)}")
    return None


def _unknown(node: Node) -> Kind | None:
    """A loading server can't be asked; that it is loading is refused by itself where it matters."""
    known = node.rights is not None and node.sentinels is not None and node.active_replica is not None
    if known or node.loading:
        return None
    return Kind("kind-unknown", "did not tell whether Sentinels watch it, or which commands it permits")


@lru_cache(64)
def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))

"""Why a server in its right role refuses writes all the same: its disk fails, or its memory is full."""

from __future__ import annotations

from keydb_runbooks.runbooks.condition import Condition
from keydb_runbooks.runbooks.replication import Node


def failing_disk(condition: Condition) -> str | None:
    """What keeps a server from writing its data, and makes it refuse every write (-MISCONF); None if nothing does."""
    if condition.dumped is False and condition.stops:
        return "could not save its data, and refuses every write until it can (stop-writes-on-bgsave-error)"
    if condition.aof and condition.logged is False:
        return "can't write its AOF, and refuses every write until it can"
    return None


def full_memory(node: Node) -> str | None:
    """How full a server is that refuses every write which needs memory (-OOM) once it is the primary; None if it isn't,
    or throws keys away instead."""
    used = node.memory_used - (node.condition.uncounted_bytes or 0)
    if node.condition.evicts or not 0 < node.memory_limit <= used:
        return None
    return f"uses {used:,} bytes of {node.memory_limit:,}"

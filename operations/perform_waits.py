"""Performing the steps that wait for a replica: until it has what its primary has, or until its link is up."""

from __future__ import annotations

import redis

from keydb_runbooks.connectors.link import explain
from keydb_runbooks.operations.failures import StepFailed, TooLate
from keydb_runbooks.operations.links import Links, another_process
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.waits import SLOW_POLL_SECONDS, Approach, until
from keydb_runbooks.runbooks.replication import Node, read_info
from keydb_runbooks.runbooks.steps import CatchUp, ComeClose, InSync

POLL_SECONDS = 0.0005

CLOSE_BYTES = 16_384
CLOSE_SECONDS = 0.25
"""What a replica may lack when writes begin to be held back: little, or what it gets in a part of that time."""


@perform.register
def _catch_up(step: CatchUp, links: Links) -> str:
    """Equal offsets, and the source is the same process as when the plan was made."""
    approach = Approach()

    def caught_up() -> bool | None:
        _look(approach, links, step.where, step.source)
        return True if approach.behind == 0 else None

    done = until(caught_up, step.timeout_seconds, POLL_SECONDS, lambda: f"{step.where} is {approach}")
    _same_process(links, step.source, step.source_run_id)
    if done is None:
        raise _too_late(step, approach)
    return f"has everything that {step.source} has"


@perform.register
def _come_close(step: ComeClose, links: Links) -> str:
    approach = Approach()

    def close() -> bool | None:
        _look(approach, links, step.where, step.source)
        rate = approach.bytes_per_second
        soon = rate is not None and approach.behind <= rate * CLOSE_SECONDS
        return True if approach.behind <= CLOSE_BYTES or soon else None

    done = until(close, step.timeout_seconds, SLOW_POLL_SECONDS, lambda: f"{step.where} is {approach}")
    _same_process(links, step.source, step.source_run_id)
    if done is None:
        raise _too_late(step, approach)
    return f"is {approach.behind:,} bytes behind {step.source}"


def _too_late(step: CatchUp | ComeClose, approach: Approach) -> TooLate:
    return TooLate(f"{step.where} still lacks {approach.behind:,} bytes after {step.timeout_seconds:g} s ({approach})")


def _look(approach: Approach, links: Links, target: str, source: str) -> None:
    # The source first: what it gets between the two looks would only make the target seem behind.
    source_offset = _offset(links, source)
    approach.see(_offset(links, target), source_offset)


def _same_process(links: Links, name: str, run_id: str) -> None:
    fields = read_info(links.node(name).execute_command("INFO", "server"))
    if fields.get("run_id") != [run_id]:
        raise another_process(name)


def _offset(links: Links, name: str) -> int:
    fields = read_info(links.node(name).execute_command("INFO", "replication"))
    return int(fields.get("slave_repl_offset", fields["master_repl_offset"])[0])


@perform.register
def _in_sync(step: InSync, links: Links) -> str:
    seen: Node | None = None

    def joined() -> Node | None:
        nonlocal seen
        node = seen = links.read(step.where)
        if node.link is not None and node.link.primary == step.address and node.link.up:
            return node
        _still_primary(step.primary, links)
        return None

    told = lambda: f"{step.where} is not in sync with {step.primary} yet: {_link_state(seen)}"  # noqa: E731
    node = until(joined, step.timeout_seconds, SLOW_POLL_SECONDS, told)
    if node is None:
        raise StepFailed(f"{step.where} is not in sync with {step.primary} after {step.timeout_seconds:g} s")
    return f"is in sync with {step.primary} at offset {node.offset:,}"


def _still_primary(name: str, links: Links) -> None:
    """Nobody comes in sync with a primary that is gone, so nobody waits for it."""
    try:
        stands = links.read(name).is_primary
    except (redis.RedisError, OSError) as error:
        address = links.group.node(name).address
        raise StepFailed(f"{name}, its primary, no longer answers: {explain(error, address).detail}") from None
    if not stands:
        raise StepFailed(f"{name}, its primary, no longer says that it is one")


def _link_state(node: Node | None) -> str:
    if node is None or node.link is None:
        return "it is no replica"
    if node.loading or node.link.syncing:
        return "a full resync is under way"
    return f"its link to {node.link.primary} is {'up' if node.link.up else 'down'}"

"""Performing the steps that wait until a replica has what its primary has."""

from __future__ import annotations

from keydb_runbooks.operations.failures import TooLate
from keydb_runbooks.operations.links import Links, another_process
from keydb_runbooks.operations.perform import perform, send_together
from keydb_runbooks.operations.waits import SLOW_POLL_SECONDS, Approach, until
from keydb_runbooks.runbooks.replication import read_info
from keydb_runbooks.runbooks.steps import CatchUp, ComeClose

POLL_SECONDS = 0.0005

CLOSE_BYTES = 16_384
CLOSE_SECONDS = 0.25
"""What a replica may lack when writes begin to be held back: little, or what it gets in a part of that time."""


@perform.register
def _catch_up(step: CatchUp, links: Links) -> str:
    """Equal offsets, and the source is the same process as when the plan was made."""
    approach = Approach()

    def caught_up() -> bool | None:
        _look(approach, links, step)
        return True if approach.behind == 0 else None

    done = until(caught_up, step.timeout_seconds, POLL_SECONDS, lambda: f"{step.where} is {approach}")
    if done is None:
        raise _too_late(step, approach)
    return f"has everything that {step.source} has"


@perform.register
def _come_close(step: ComeClose, links: Links) -> str:
    approach = Approach()

    def close() -> bool | None:
        _look(approach, links, step)
        rate = approach.bytes_per_second
        soon = rate is not None and approach.behind <= rate * CLOSE_SECONDS
        return True if approach.behind <= CLOSE_BYTES or soon else None

    done = until(close, step.timeout_seconds, SLOW_POLL_SECONDS, lambda: f"{step.where} is {approach}")
    if done is None:
        raise _too_late(step, approach)
    return f"is {approach.behind:,} bytes behind {step.source}"


def _too_late(step: CatchUp | ComeClose, approach: Approach) -> TooLate:
    return TooLate(f"{step.where} still lacks {approach.behind:,} bytes after {step.timeout_seconds:g} s ({approach})")


def _look(approach: Approach, links: Links, step: CatchUp | ComeClose) -> None:
    # The source first: what it gets between the two looks would only make the target seem behind.
    source_offset = _offset_of_same(links, step.source, step.source_run_id)
    approach.see(_offset(links.node(step.where).execute_command("INFO", "replication")), source_offset)


def _offset_of_same(links: Links, name: str, run_id: str) -> int:
    """Both are asked in one segment, since writers wait; a held connection leads to one process only."""
    server, replication = send_together(links.node(name), (("INFO", "server"), ("INFO", "replication")))
    if read_info(server).get("run_id") != [run_id]:
        raise another_process(name)
    return _offset(replication)


def _offset(replication: str) -> int:
    fields = read_info(replication)
    return int(fields.get("slave_repl_offset", fields["master_repl_offset"])[0])

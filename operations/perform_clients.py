"""Performing the steps of ``runbooks/steps_clients.py``."""

from __future__ import annotations

import time

from keydb_runbooks.facts.service import our_users
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.waits import rest
from keydb_runbooks.runbooks.clients import SLACK_SECONDS, connections
from keydb_runbooks.runbooks.steps_clients import EndLatecomers, EndSessions, EndStragglers

POLL_SECONDS = 0.01

PASSES_SECONDS = 0.25
"""How long connections are ended again and again: the rules on a node's machine follow 28 to 54 ms behind the patch
(kubernetes-facts, "Moving the write Service")."""

LATE_SECONDS = SLACK_SECONDS + 0.3
"""From then on nobody counts as somebody from before the move; kube-proxy itself waits a second at most."""


@perform.register
def _end_sessions(step: EndSessions, links: Links) -> str:
    return f"{_end(step.where, links)} connections of clients ended"


@perform.register
def _end_stragglers(step: EndStragglers, links: Links) -> str:
    ended = 0
    deadline = time.monotonic() + PASSES_SECONDS
    while True:
        ended += _end(step.where, links)
        if time.monotonic() > deadline:
            return f"{ended} connections of clients ended"
        time.sleep(POLL_SECONDS)


@perform.register
def _end_latecomers(step: EndLatecomers, links: Links) -> str:
    moved = links.moved_at.get(step.service)
    left = 0.0 if moved is None else moved + LATE_SECONDS - time.monotonic()
    if left > 0:
        rest(left, f"clients may still come to {step.where}")
    return f"{_end(step.where, links)} more connections of clients ended"


def _end(name: str, links: Links) -> int:
    """End every connection of a client to a node, and count them."""
    client, entry = links.node(name), links.group.node(name)
    found = [one.identity for one in connections(str(client.execute_command("CLIENT", "LIST")), our_users(entry))]
    if not found:
        return 0
    pipeline = client.pipeline(transaction=False)
    for identity in found:
        pipeline.execute_command("CLIENT", "KILL", "ID", identity)
    # One that ended by itself meanwhile counts 0.
    return sum(answer == 1 for answer in pipeline.execute(raise_on_error=False))

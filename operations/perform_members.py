"""Performing the steps of ``runbooks/steps_members.py``."""

from __future__ import annotations

from keydb_runbooks.connectors.ahead import get_now
from keydb_runbooks.connectors.quiet import try_quietly
from keydb_runbooks.facts.keydb import KeydbProcess
from keydb_runbooks.facts.service import our_users
from keydb_runbooks.operations import service
from keydb_runbooks.operations.dump import background_save
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.waits import meanwhile, until
from keydb_runbooks.runbooks.clients import connections
from keydb_runbooks.runbooks.steps_members import Leave, LeftByClients

POLL_SECONDS = 0.05


@perform.register
def _left_by_clients(step: LeftByClients, links: Links) -> str:
    client, ours, left = links.node(step.where), our_users(links.group.node(step.where)), 0

    def nobody() -> bool | None:
        nonlocal left
        left = sum(1 for _ in connections(str(client.execute_command("CLIENT", "LIST")), ours))
        return True if left == 0 else None

    told = lambda: f"{left} clients are still connected to {step.where}"  # noqa: E731
    if until(nobody, step.timeout_seconds, POLL_SECONDS, told) is None:
        return f"{left} clients are still connected, and are cut"
    return "no client is connected to it"


@perform.register
def _leave(step: Leave, links: Links) -> str:
    entry = links.group.node(step.where)
    if links.read_same(step.where, step.run_id).is_primary:
        raise StepFailed(f"{step.where} is a primary by now, so it stays")
    background_save(step.where, links.node(step.where))
    end = service.end_server(entry)
    done, output = meanwhile(
        lambda: try_quietly(entry.host, end, timeout_seconds=service.STOP_SECONDS), lambda: f"{step.where} ends"
    )
    pid_file = str(entry.data("keydb_pid_file"))
    pid = get_now(entry.host, KeydbProcess, pid_file=pid_file) if done else None
    if done and pid is None:
        raise StepFailed(f"whether {step.where} has ended is unknown: {pid_file} could not be looked at")
    if pid != 0:
        told = " ".join(output.stderr_lines) or f"somebody else started the process of {pid_file}: stop it"
        raise StepFailed(f"{step.where} does not end: {told}")
    return f"has ended; its data stay in {entry.data('keydb_data_directory')}"

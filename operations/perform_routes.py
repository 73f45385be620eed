"""Performing the steps on proxies: telling HAProxy whom it leads to, and seeing that a write arrives there."""

from __future__ import annotations

import secrets
from contextlib import closing, suppress

import redis

from keydb_runbooks.connectors.group import Group, ProxyEntry
from keydb_runbooks.connectors.link import LinkError, explain, link_through
from keydb_runbooks.connectors.runtime import Runtime, RuntimeSocketError
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.waits import SLOW_POLL_SECONDS, until
from keydb_runbooks.runbooks.replication import read_info
from keydb_runbooks.runbooks.steps import VERIFY_KEY, Route, VerifyWrite


@perform.register
def _route(step: Route, links: Links) -> str:
    """A restart or a reload may have replaced HAProxy's process since its socket was opened: it is opened once more."""
    if not links.stands(step.primary):
        raise StepFailed(f"{step.primary} no longer says that it is the primary, so {step.where} is not told of it")
    held = links.proxy(step.where)
    try:
        _tell(held, step)
        return ""
    except RuntimeSocketError:
        replaced = False
    except StepFailed:
        # A worker that a reload replaced answers, but no longer takes orders; its old connections live on.
        replaced = True
    with closing(held):
        _tell(links.reopen_proxy(step.where), step)
        if replaced:
            with suppress(RuntimeSocketError):
                held.end_sessions(step.backend, step.others)
    return f"{step.sentence}: told HAProxy's new process"


def _tell(socket: Runtime, step: Route) -> None:
    lines = [" ".join(command) for command in step.commands]
    for line, answer in zip(lines, socket.commands(lines), strict=True):
        if answer:
            raise StepFailed(f"HAProxy on {step.where} refused {line!r}: {answer}")


@perform.register
def _verify_write(step: VerifyWrite, links: Links) -> str:
    entry = links.group.proxy(step.where)
    run_id = step.primary_run_id or links.read(step.primary).run_id
    seen = ""

    def written() -> str | None:
        nonlocal seen
        try:
            seen = _write_through(entry, links.group, run_id)
        except (LinkError, redis.RedisError, OSError) as error:
            seen = explain(error, entry.write_address).detail
        return "ok" if seen == "ok" else None

    told = lambda: f"a write through {step.where} does not reach {step.primary} yet: {seen}"  # noqa: E731
    if until(written, step.timeout_seconds, SLOW_POLL_SECONDS, told) is None:
        raise StepFailed(f"no write through {step.where} reached {step.primary}: {seen}")
    return f"a write and a read through it reach {step.primary}"


def _write_through(proxy: ProxyEntry, group: Group, run_id: str) -> str:
    client = link_through(proxy, proxy.write_address, group)
    try:
        if read_info(client.execute_command("INFO", "server")).get("run_id") != [run_id]:
            return "another node answers"
        value = secrets.token_hex(8)
        client.execute_command("SET", VERIFY_KEY, value)
        return "ok" if client.execute_command("GET", VERIFY_KEY) == value else "another value came back"
    finally:
        client.close()

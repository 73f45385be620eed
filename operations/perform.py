"""Performing a step: one function for each kind of ``runbooks.steps.Step``.

A step either does what it says and returns what was seen, or raises ``StepFailed``. Whether a command was executed when
its answer didn't come is unknown, and never assumed.
"""

from __future__ import annotations

import secrets
from collections.abc import Container
from contextlib import closing, suppress
from functools import singledispatch
from typing import cast

import redis

from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import Client, LinkError, explain, in_parallel, link, link_to, with_either
from keydb_runbooks.connectors.runtime import Runtime, RuntimeSocketError, runtime
from keydb_runbooks.connectors.services import ServiceClient
from keydb_runbooks.operations.failures import NotSaved, StepFailed, TooLate
from keydb_runbooks.operations.keydb import config_path
from keydb_runbooks.operations.lock import Lock
from keydb_runbooks.operations.waits import Approach, until
from keydb_runbooks.runbooks.replication import (
    NO_REPLICATION_ID,
    Ancestor,
    InfoError,
    Node,
    node_from_info,
    read_ancestors,
    read_info,
    write_ancestors,
)
from keydb_runbooks.runbooks.steps import (
    LINEAGE_KEY,
    LINEAGE_LENGTH,
    SAVE,
    VERIFY_KEY,
    CatchUp,
    ComeClose,
    InSync,
    Promote,
    RecordLineage,
    Route,
    Step,
    VerifyWrite,
)
from keydb_runbooks.runbooks.steps_fence import SAVE_USERS, Fence, Unfence

POLL_SECONDS = 0.0005
SLOW_POLL_SECONDS = 0.02

CLOSE_BYTES = 16_384
CLOSE_SECONDS = 0.25
"""What a replica may lack when writes begin to be held back: little, or what it gets in a part of that time."""


class SaveRefused(redis.ResponseError):
    """What a server says if it can't write its configuration file."""


class Links:
    """The held connections of a run: to every node and every proxy that answers, opened before it begins.

    :param needed: names of those without which the run can't begin
    :param silent: names of those that did not answer when the plan was made: nobody waits for them again
    :raises StepFailed: if one that is needed can't be opened
    """

    def __init__(self, group: Group, needed: set[str], silent: Container[str] = ()) -> None:
        self.group = group
        self.clients: dict[str, Client] = {}
        # Held over these connections; whoever opens one anew lets it hold the lock as well.
        self.lock: Lock | None = None
        self._runtimes: dict[str, Runtime] = {}
        self.moved_at: dict[str, float] = {}
        """When a Service was moved by this run, by the monotonic clock."""
        members: list[NodeEntry | ProxyEntry] = [*group.nodes, *group.proxies]
        entries = [entry for entry in members if entry.name not in silent]
        for entry, link_or_error in zip(entries, in_parallel(_try_to_open, entries), strict=True):
            if isinstance(link_or_error, Runtime):
                self._runtimes[entry.name] = link_or_error
            elif not isinstance(link_or_error, Exception):
                self.clients[entry.name] = link_or_error
            elif entry.name in needed:
                self.close()
                raise StepFailed(str(link_or_error))

    def node(self, name: str) -> Client:
        return self.clients[name]

    def proxy(self, name: str) -> Runtime:
        return self._runtimes[name]

    def service(self, name: str) -> ServiceClient:
        """A Service of Kubernetes; each call opens its own connection to the API server."""
        entry = next(service for service in self.group.services if service.name == name)
        return ServiceClient(entry.host, entry.name, entry.data("keydb_connect_timeout"))

    def read(self, name: str) -> Node:
        """What a node says of itself now."""
        entry = self.group.node(name)
        return node_from_info(name, entry.address, self.node(name).execute_command("INFO"))

    def read_same(self, name: str, run_id: str) -> Node:
        """The same, of the process that is meant.

        :raises StepFailed: if it is another one by now
        """
        node = self.read(name)
        if node.run_id != run_id:
            raise _another_process(name)
        return node

    def stands(self, name: str) -> bool:
        """Whether a node says that it is a primary, over the link that holds the lock.

        A proxy's socket or the API server doesn't hold it: who asks this before an order that goes there gives none
        once the lock is lost.
        """
        try:
            return self.read(name).is_primary
        except (redis.RedisError, OSError, InfoError):
            return False

    def reopen(self, name: str) -> None:
        """A fresh link for undoing, when the held one broke."""
        self.clients[name] = link(self.group.node(name))

    def reopen_proxy(self, name: str) -> Runtime:
        """A fresh connection to a proxy, whose process may be another one by now."""
        self._runtimes[name] = runtime(self.group.proxy(name))
        return self._runtimes[name]

    def close(self) -> None:
        for client in self.clients.values():
            client.close()
        for socket in self._runtimes.values():
            socket.close()


def _try_to_open(entry: NodeEntry | ProxyEntry) -> Client | Runtime | Exception:
    try:
        return link(entry) if isinstance(entry, NodeEntry) else runtime(entry)
    except (LinkError, RuntimeSocketError) as error:
        return error


def perform_step(step: Step, links: Links) -> str:
    """Do a step and return what was seen, in a few words; "" if there is no more to say than the step says.

    :raises StepFailed: with what is wrong and where
    :raises NotSaved: if only the configuration file could not be written
    """
    try:
        return perform(step, links)
    except SaveRefused as error:
        path = config_path(links.group.node(step.where))
        what = "its users" if isinstance(step, Fence | Unfence) else "its role"
        detail = f"{step.where} could not save {what} in {path}: {error}"
        raise NotSaved(f"{detail}; it is in force, but a restart would not know of it") from None
    except redis.ResponseError as error:
        raise StepFailed(f"{step.where} refused: {error}") from None
    except InfoError as error:
        raise StepFailed(f"{step.where}: {error}") from None
    except (LinkError, redis.RedisError, OSError) as error:
        told = explain(error, links.group.node(step.where).address)
        raise StepFailed(f"{told.detail}; whether it did what was asked is unknown") from None
    except RuntimeSocketError as error:
        raise StepFailed(f"{error.detail}; whether it did what was asked is unknown") from None


@singledispatch
def perform(step: Step, links: Links) -> str:
    """Send the step's commands in one segment; each must be answered without an error."""
    send_together(links.node(step.where), step.commands)
    return ""


def send_together(client: Client, commands: tuple[tuple[str, ...], ...]) -> None:
    """Send commands in one segment, so that a death of this program can't come between them.

    :raises redis.ResponseError: the first that was refused; ``SaveRefused`` if it is the one that saves
    """
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    for command, answer in zip(commands, pipeline.execute(raise_on_error=False), strict=True):
        if isinstance(answer, redis.ResponseError):
            raise SaveRefused(str(answer)) if command in (SAVE, SAVE_USERS) else answer


@perform.register
def _promote(step: Promote, links: Links) -> str:
    full = _set_or_full(links.node(step.where), step.commands)
    role = links.read(step.where)
    if not role.is_primary:
        raise StepFailed(f"{step.where} answered, but says that it is a {role.role.value}")
    if full:
        return f"is the primary at offset {role.offset:,}, but its memory is full: the epoch is not counted"
    return f"is the primary, epoch {step.epoch}, at offset {role.offset:,}"


def _set_or_full(client: Client, commands: tuple[tuple[str, ...], ...]) -> bool:
    """Send commands together; whether the only thing refused was a key, because the memory is full.

    Lineage tells the rightful primary then, and a run never stops where nobody can go on.
    """
    try:
        send_together(client, commands)
    except redis.OutOfMemoryError:
        return True
    return False


@perform.register
def _record_lineage(step: RecordLineage, links: Links) -> str:
    """The former stream and its last offset come from the server itself, once it has been promoted."""
    node, client = links.read(step.where), links.node(step.where)
    recorded = read_ancestors(_text(client, LINEAGE_KEY))
    former = Ancestor(node.previous_replication_id, node.second_offset - 1)
    if former.replication_id == NO_REPLICATION_ID or former in recorded:
        return "nothing new to record about its history"
    value = write_ancestors((former, *recorded)[:LINEAGE_LENGTH])
    commands = tuple((*command[:2], value) if command[0] == "SET" else command for command in step.commands)
    if _set_or_full(client, commands):
        return "its memory is full, so its history is not recorded; run a verb again when there is room"
    return "recorded its history"


def _text(client: Client, key: str) -> str | None:
    """A key's value, None if there is none. Applications may write to it, so it may be no text: it is replaced then."""
    try:
        return cast("str | None", client.execute_command("GET", key))
    except redis.ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        return None


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
        raise TooLate(
            f"{step.where} still lacks {approach.behind:,} bytes after {step.timeout_seconds:g} s ({approach})"
        )
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
        raise TooLate(
            f"{step.where} still lacks {approach.behind:,} bytes after {step.timeout_seconds:g} s ({approach})"
        )
    return f"is {approach.behind:,} bytes behind {step.source}"


def _look(approach: Approach, links: Links, target: str, source: str) -> None:
    # The source first: what it gets between the two looks would only make the target seem behind.
    source_offset = _offset(links, source)
    approach.see(_offset(links, target), source_offset)


def _same_process(links: Links, name: str, run_id: str) -> None:
    fields = read_info(links.node(name).execute_command("INFO", "server"))
    if fields.get("run_id") != [run_id]:
        raise _another_process(name)


def _another_process(name: str) -> StepFailed:
    return StepFailed(f"{name} was restarted meanwhile: it is another process now")


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
    for command in step.commands:
        answer = socket.command(" ".join(command))
        if answer:
            raise StepFailed(f"HAProxy on {step.where} refused {' '.join(command)!r}: {answer}")


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
    node = group.nodes[0]
    client = with_either(
        node,
        "operator",
        lambda user: link_to(
            proxy.host,
            proxy.write_address,
            user,
            connect_timeout=node.data("keydb_connect_timeout"),
            command_timeout=node.data("keydb_command_timeout"),
            tls_ca=node.data("keydb_tls_ca"),
        ),
    )
    try:
        if read_info(client.execute_command("INFO", "server")).get("run_id") != [run_id]:
            return "another node answers"
        value = secrets.token_hex(8)
        client.execute_command("SET", VERIFY_KEY, value)
        return "ok" if client.execute_command("GET", VERIFY_KEY) == value else "another value came back"
    finally:
        client.close()


def _offset(links: Links, name: str) -> int:
    fields = read_info(links.node(name).execute_command("INFO", "replication"))
    return int(fields.get("slave_repl_offset", fields["master_repl_offset"])[0])

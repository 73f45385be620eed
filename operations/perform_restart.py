"""Performing the steps of restart and upgrade. They are added to ``perform.perform``, which every run calls."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis
from pyinfra.api import StringCommand

from keydb_runbooks.connectors.ahead import get_now
from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.connectors.link import LinkError, link
from keydb_runbooks.connectors.quiet import try_quietly
from keydb_runbooks.facts.keydb import KeydbProcess
from keydb_runbooks.operations import pods_restart, programs, service, systemctl, units
from keydb_runbooks.operations.dump import background_save
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.files import READABLE, put_file, read_file
from keydb_runbooks.operations.keydb import config_path
from keydb_runbooks.operations.links import Links, read_once
from keydb_runbooks.operations.lock import LockRefused
from keydb_runbooks.operations.perform import perform, send_together
from keydb_runbooks.operations.pod_objects import is_pod
from keydb_runbooks.operations.resync import Joining, Primary
from keydb_runbooks.operations.waits import Approach, meanwhile, until
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.rolling import runs
from keydb_runbooks.runbooks.steps_restart import BackInSync, Restart, RestartAlone, SaveToDisk, UseProgram

POLL_SECONDS = 0.05

LOOK_SECONDS = 1.0
"""Between two looks at a server that was told to end."""

PROCESS_SECONDS = 15.0
"""By then a server has its pid file, or systemd has tried five times to start it."""

GOES_ON_SECONDS = 20.0
"""A server that was told to end, and has answered for so long since, goes on."""

STARTING = ("refused", "no-answer", "loading")
"""What a link meets while a server starts: nobody yet, nobody who has time, one that loads its data."""


@perform.register
def _save_to_disk(step: SaveToDisk, links: Links) -> str:
    background_save(step.where, links.node(step.where))
    return "saved its data"


@perform.register
def _use_program(step: UseProgram, links: Links) -> str:
    entry = links.group.node(step.where)
    if not service.has_systemd(entry.host):
        return step.sentence
    path, content = units.drop_in(entry, step.program)
    if read_file(entry.host, path) is None:
        return "its unit is not install's, and names its program itself"
    changes = put_file(entry.host, path, content, access=READABLE)
    for command in (*changes, systemctl.reread()) if changes else ():
        assert isinstance(command, StringCommand)
        given = command.connector_arguments.get("_stdin")
        done, output = try_quietly(entry.host, command, stdin=None if given is None else str(given))
        if not done:
            raise StepFailed(f"{step.where}: {path} could not be changed: {' '.join(output.stderr_lines)}")
    return step.sentence


@perform.register
def _restart(step: Restart, links: Links) -> str:
    node = _replaced(step, links)
    if links.lock is not None:
        links.lock.adopt(step.where, links.node(step.where))
    send_together(links.node(step.where), step.commands)
    if step.version not in (None, node.version):
        raise StepFailed(_otherwise(step, node))
    return f"runs {runs(node)}, {node.keys:,} keys, follows {step.primary}"


@perform.register
def _restart_alone(step: RestartAlone, links: Links) -> str:
    node = _replaced(step, links)
    if links.lock is not None:
        try:
            links.lock.reclaim(step.where, links.node(step.where))
        except LockRefused as error:
            raise StepFailed(str(error)) from None
    if step.keys and node.empty:
        raise StepFailed(f"{step.where} came back without its data, and stays guarded: look at its disk and its log")
    if step.version not in (None, node.version):
        raise StepFailed(_otherwise(step, node))
    return f"runs {runs(node)}, {node.keys:,} keys, guarded"


def _replaced(step: Restart | RestartAlone, links: Links) -> Node:
    """A node's new process, to which a link is open."""
    entry = links.group.node(step.where)
    links.read_same(step.where, step.run_id)
    _replace_process(entry, step.run_id)
    node = _answering(entry, step)
    if node.run_id == step.run_id:
        raise StepFailed(f"{step.where} still is the same process; look at {entry.data('keydb_log_file')}")
    links.reopen(step.where)
    return node


def _otherwise(step: Restart | RestartAlone, node: Node) -> str:
    return f"{step.where} runs {node.version} now, not {step.version}: what starts it names another program"


def _replace_process(entry: NodeEntry, run_id: str) -> None:
    if is_pod(entry):
        pods_restart.replace_pod(entry)
        return
    # Under systemd the unit names the program.
    program = "" if service.has_systemd(entry.host) else programs.server(entry)
    command = service.restart_server(entry, program, config_path(entry))
    done, output = meanwhile(
        lambda: try_quietly(entry.host, command, timeout_seconds=service.STOP_SECONDS),
        lambda: f"{entry.name} ends, and starts anew",
        watch=Ending(entry, run_id).look,
    )
    if not done:
        told = " ".join(output.stderr_lines) or "its machine did not say why"
        raise StepFailed(f"{entry.name} could not be restarted: {told}")


class Ending:
    """A server that was told to end: one that can't save its data does not, and answers; while it saves it doesn't."""

    def __init__(self, entry: NodeEntry, run_id: str) -> None:
        self.entry, self.run_id = entry, run_id
        self._since = self._looked = time.monotonic()

    def look(self) -> None:
        """See how it is, now and then.

        :raises StepFailed: if it goes on
        """
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        if not _goes_on(self.entry, self.run_id):
            self._since = now
        elif now - self._since > GOES_ON_SECONDS:
            told = f"was told to end and still answers after {GOES_ON_SECONDS:g} s: it can't save its data"
            raise StepFailed(f"{self.entry.name} {told}; look at {self.entry.data('keydb_log_file')} and its disk")


def _goes_on(entry: NodeEntry, run_id: str) -> bool:
    """Whether a server still answers as this process, and does not wait for its replicas before it ends."""
    try:
        client = link(entry)
        try:
            told = client.execute_command("INFO")
        finally:
            client.close()
    except (LinkError, redis.RedisError, OSError):
        return False
    return f"run_id:{run_id}" in told and "shutdown_in_milliseconds" not in told


def _answering(entry: NodeEntry, step: Restart | RestartAlone) -> Node:
    """What the new process says of itself, as soon as it has loaded its data."""
    told, began = "nobody listens yet", time.monotonic()

    def answers() -> Node | None:
        nonlocal told
        try:
            node = read_once(entry)
        except LinkError as error:
            if error.code not in STARTING:
                raise
            told = error.detail
            late = time.monotonic() - began > PROCESS_SECONDS
            if late and get_now(entry.host, KeydbProcess, pid_file=entry.data("keydb_pid_file")) == 0:
                raise StepFailed(f"{step.where} has ended again; look at {entry.data('keydb_log_file')}") from None
            return None
        except (redis.RedisError, OSError) as error:
            told = str(error)
            return None
        told = "it loads its data"
        return None if node.loading else node

    node = until(answers, step.timeout_seconds, POLL_SECONDS, lambda: f"{step.where} does not answer yet: {told}")
    if node is None:
        raise StepFailed(f"{step.where} does not answer after {step.timeout_seconds:g} s: {told}")
    return node


@perform.register
def _back_in_sync(step: BackInSync, links: Links) -> str:
    Returning(step, links).wait()
    return f"is back in sync with {step.primary}"


class Returning(Joining):
    """A restarted replica, until it has whatever its primary had when the link came up, and the primary counts it."""

    def __init__(self, step: BackInSync, links: Links) -> None:
        super().__init__(step, links)
        self._approach, self._wanted, self._best = Approach(), 0, 0

    def _arrived(self, node: Node, ask: Callable[[], Primary]) -> bool:
        _, primary = ask()
        self._approach.see(node.offset, primary.offset)
        linked = self._linked(node) and not node.loading
        self._wanted = self._wanted or (primary.offset if linked else 0)
        # Behind an address translation the primary knows it by another address.
        counted = all(one.online for one in primary.replicas if one.address == node.address)
        return linked and counted and node.offset >= self._wanted > 0

    def _closer(self, node: Node) -> bool:
        # What it gets of later writes would be without an end.
        before, self._best = self._best, max(self._best, min(node.offset, self._wanted))
        return self._best > before

    def _told(self, node: Node) -> str:
        return f"it is {self._approach}" if self._linked(node) else super()._told(node)

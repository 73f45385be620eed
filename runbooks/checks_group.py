"""Questions of ``checks`` to several members of a group together. What is unknown fails no check but its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from keydb_runbooks.runbooks.checks_server import Found, Situation
from keydb_runbooks.runbooks.replication import Node

BACKLOG_SECONDS = 60
"""For so long a replica may be away without a full resync: a restart, or what a server waits for a silent peer."""

JUST_STARTED_SECONDS = 5
"""A server that has run for less may have been started behind a proxy's last check, whatever its interval."""


def not_saved(seen: Situation) -> Iterator[Found]:
    for node in seen.topology.nodes:
        file, running = node.config_replicaof, node.running_replicaof
        if file is not None and file != running and not node.guarded:
            sentence = f"runs with replicaof {running or 'none'}, its file says {file or 'none'}"
            yield Found(node.name, sentence, "this verb saves it")


def other_engine(seen: Situation) -> Iterator[Found]:
    for node in seen.followers:
        if node.engine != seen.target.engine:
            sentence = f"runs {seen.target.engine}, but {node.name} {node.engine}: one may not read the other's data"
            yield Found(seen.target.name, sentence, "choose another target")


def newer_version(seen: Situation) -> Iterator[Found]:
    """A server reads the stream of a newer one as a rule, and its RDB as a rule not."""
    for node in seen.followers:
        if node.engine == seen.target.engine and _numbers(node) < _numbers(seen.target):
            sentence = f"runs {seen.target.version}, {node.name} {node.version}: a full resync may fail there"
            yield Found(seen.target.name, sentence, f"upgrade {node.name} soon")


def _numbers(node: Node) -> tuple[int, ...]:
    """Major and minor: within them servers read each other's files."""
    return tuple(int(number) for number in re.findall(r"\d+", node.version))[:2]


def too_few_replicas(seen: Situation) -> Iterator[Found]:
    """Without any replica the plan takes the setting back by itself."""
    count = len(seen.followers)
    if 0 < count < seen.min_replicas:
        sentence = f"will have {count} replicas of the {seen.min_replicas} that it needs, and refuse every write"
        yield Found(seen.target.name, sentence, "start and rejoin the others first, or lower min-replicas-to-write")


def unreached_target(seen: Situation) -> Iterator[Found]:
    """Without a primary nobody waits for a proxy's next check of a server that was started just now."""
    uptime = seen.target.condition.uptime_seconds
    if seen.primary is None and uptime is not None and uptime < JUST_STARTED_SECONDS:
        return
    for proxy in seen.topology.proxies:
        for server in proxy.writers:
            if server.node == seen.target.name and server.unreached:
                sentence = f"{proxy.name} gets no answer from it ({server.status}, {server.check})"
                yield Found(seen.target.name, sentence, f"mend the way from {proxy.name}, or wait for its next check")


def short_backlog(seen: Situation) -> Iterator[Found]:
    rate = seen.source.condition.input_bytes_per_second
    size = seen.target.backlog_size
    if rate and size < rate * BACKLOG_SECONDS:
        sentence = f"its backlog of {size:,} bytes holds {size // rate} s of writes at {rate:,} bytes/s"
        yield Found(seen.target.name, sentence, "raise keydb_backlog_size: who is away for longer needs a full resync")


def syncing_sibling(seen: Situation) -> Iterator[Found]:
    for node in seen.others:
        if node.link is not None and node.link.syncing:
            yield Found(node.name, "is in the middle of a full resync, and will begin anew", "wait if that matters")


def made(code: str) -> Callable[[Situation], Iterator[Found]]:
    """A question about how pods are made: what undoes a role by itself, or could not be looked at."""

    def look(seen: Situation) -> Iterator[Found]:
        concerned = [node for node in (seen.target, *seen.followers) if any(one.code == code for one in node.made)]
        for one in dict.fromkeys(one for node in concerned for one in node.made if one.code == code):
            names = ", ".join(sorted(node.name for node in concerned if one in node.made))
            yield Found(names, one.sentence, one.hint)

    return look


def unknown_pause(seen: Situation) -> Iterator[Found]:
    for node in seen.topology.nodes:
        if node.paused is None and not node.loading:
            yield Found(node.name, "did not show whether it holds writes back", "run this again if it is busy")

"""Questions of ``checks`` to single servers and their machines. What is unknown fails no check but its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keydb_runbooks.runbooks.plan import Request
from keydb_runbooks.runbooks.ranking import ROOM_SHARE, lacks
from keydb_runbooks.runbooks.replication import Node
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.writable import failing_disk

USUAL_LAG_BYTES = 32 * 1024
"""What a target may lack at the second look without being refused. A replica in order lacks nothing then."""

SMALLEST_DISK_BYTES = 1024 * 1024
"""A configuration file and the log want this much."""

CLOCK_SECONDS = 1.0


@dataclass(frozen=True)
class Found:
    """A check that failed: where, what was seen, and what to do about it."""

    where: str
    sentence: str
    hint: str


@dataclass(frozen=True)
class Situation:
    """What checks look at: the target, the primary as long as there is one, and who else will follow."""

    topology: Topology
    target: Node
    primary: Node | None
    others: tuple[Node, ...]
    request: Request
    min_replicas: int

    @property
    def source(self) -> Node:
        """The primary, for checks that a switchover alone has."""
        assert self.primary is not None
        return self.primary

    @property
    def both(self) -> tuple[Node, ...]:
        """The target, and the primary if there is one."""
        return (self.target,) if self.primary is None else (self.target, self.primary)

    @property
    def followers(self) -> tuple[Node, ...]:
        """Who replicates the target afterwards."""
        return self.others if self.primary is None else (*self.others, self.primary)


def lagging(seen: Situation) -> Iterator[Found]:
    allowed = seen.request.allow_lag if seen.request.allow_lag is not None else USUAL_LAG_BYTES
    behind = lacks(seen.target, seen.source)
    # One that holds writes back applies nothing; the plan releases it first.
    if behind > allowed and not seen.target.paused:
        yield Found(seen.target.name, f"is {behind:,} bytes behind", f"wait, or allow_lag={enough(behind)}")


def enough(size: int) -> str:
    """The next power of two thousands of bytes, as ``allow_lag`` takes it.

    >>> enough(48112)
    '64k'
    """
    thousands = 1
    while thousands * 1000 < size:
        thousands *= 2
    return f"{thousands}k"


def refusing_writes(seen: Situation) -> Iterator[Found]:
    if sentence := failing_disk(seen.target.condition):
        yield Found(seen.target.name, sentence, "look at its log and its disk, or choose another target")


def failing_persistence(seen: Situation) -> Iterator[Found]:
    told = seen.target.condition
    if told.saved is False and failing_disk(told) is None:
        yield Found(seen.target.name, "could not save its data last time", "look at its log and its disk")
    elif told.logged is False and not told.aof:
        yield Found(seen.target.name, "could not write its AOF last time", "look at its log and its disk")


def less_durable(seen: Situation) -> Iterator[Found]:
    keeping = [node.name for node in seen.followers if node.condition.saves]
    if seen.target.condition.saves is False and keeping:
        sentence = f"keeps nothing on disk, but {' and '.join(keeping)} did"
        yield Found(seen.target.name, sentence, "a restart of it would be empty; choose another target")


def saving(seen: Situation) -> Iterator[Found]:
    for node in seen.both:
        if node.condition.saving:
            yield Found(node.name, "is saving its data: it is slower meanwhile", "wait if that matters")


def full_disk(seen: Situation) -> Iterator[Found]:
    for node in seen.both:
        free = node.machine.disk_free if node.machine is not None else None
        if free is not None and free < SMALLEST_DISK_BYTES:
            sentence = f"has {free:,} bytes of free disk: its role and its data can't be saved"
            yield Found(node.name, sentence, "make room")


def short_disk(seen: Situation) -> Iterator[Found]:
    for node in seen.topology.nodes:
        free, data = node.machine.disk_free if node.machine is not None else None, node.condition.dataset_bytes
        if free is not None and data is not None and SMALLEST_DISK_BYTES <= free < data:
            sentence = f"has {free:,} bytes of free disk for {data:,} bytes of data"
            yield Found(node.name, sentence, "make room before it saves, or needs a full resync")


def nearly_full_memory(seen: Situation) -> Iterator[Found]:
    node = seen.target
    if 0 < ROOM_SHARE * node.memory_limit <= node.memory_used:
        sentence = f"uses {node.memory_used:,} bytes of {node.memory_limit:,}"
        yield Found(node.name, sentence, "raise keydb_maxmemory soon")


def smaller_memory(seen: Situation) -> Iterator[Found]:
    limit, primary = seen.target.memory_limit, seen.source
    if limit > 0 and (primary.memory_limit == 0 or limit < primary.memory_limit):
        theirs = f"{primary.memory_limit:,} bytes" if primary.memory_limit else "none"
        sentence = f"has a memory limit of {limit:,} bytes, {primary.name}'s is {theirs}"
        yield Found(seen.target.name, sentence, "give all nodes the same keydb_maxmemory")


def fork_memory(seen: Situation) -> Iterator[Found]:
    free = seen.target.machine.memory_available if seen.target.machine is not None else None
    if free is not None and free < seen.target.memory_used:
        sentence = f"uses {seen.target.memory_used:,} bytes, and its machine has {free:,} more"
        yield Found(seen.target.name, sentence, "a save or a full resync may run out of memory at worst")


def clients_limit(seen: Situation) -> Iterator[Found]:
    limit, clients = seen.target.condition.clients_limit, seen.source.condition.clients
    if limit is not None and clients is not None and limit < clients:
        sentence = f"takes {limit:,} clients, and {seen.source.name} has {clients:,}"
        yield Found(seen.target.name, sentence, "raise its maxclients")


def fewer_clients(seen: Situation) -> Iterator[Found]:
    limit, before = seen.target.condition.clients_limit, seen.source.condition.clients_limit
    if limit is not None and before is not None and limit < before:
        sentence = f"takes {limit:,} clients, {seen.source.name} {before:,}"
        yield Found(seen.target.name, sentence, "give all nodes the same maxclients")


def blocked_clients(seen: Situation) -> Iterator[Found]:
    blocked = seen.source.condition.blocked_clients
    if blocked:
        sentence = f"has {blocked:,} clients that wait in a blocking command; they get -UNBLOCKED"
        yield Found(seen.source.name, sentence, "see that they try again")


def target_descriptor(seen: Situation) -> Iterator[Found]:
    return _descriptors((seen.target,))


def other_descriptors(seen: Situation) -> Iterator[Found]:
    return _descriptors(seen.followers)


def _descriptors(nodes: tuple[Node, ...]) -> Iterator[Found]:
    """KeyDB closes file descriptor 0 at a failed handshake, and cuts whoever has it (keydb-facts, the same title)."""
    for node in nodes:
        state = node.machine.descriptor if node.machine is not None else None
        if node.engine == "keydb" and (node.condition.client_descriptor or state in ("closed", "socket")):
            what = "is closed" if state == "closed" else "is a client's"
            sentence = f"its file descriptor 0 {what}: the connection that has it can hang or be cut"
            yield Found(node.name, sentence, "run restart when the group is well: it gives every node a new process")


def writable_target(seen: Situation) -> Iterator[Found]:
    if seen.target.read_only is False:
        sentence = "is a replica that takes writes of its own: what it holds may differ"
        yield Found(seen.target.name, sentence, "set replica-read-only yes and let it sync anew")


def no_config_file(seen: Situation) -> Iterator[Found]:
    for node in seen.both:
        if node.condition.config_file == "":
            yield Found(
                node.name, "runs without a configuration file: its role can't be saved", "start it from its file"
            )


def clock_skew(seen: Situation) -> Iterator[Found]:
    """Times to live are moments on the clock of who is the primary."""
    own = seen.target.condition.clock_seconds
    known = seen.primary.condition.clock_seconds if seen.primary is not None else 0.0
    if own is None or known is None or abs(own - known) <= CLOCK_SECONDS:
        return
    whose = f"{seen.primary.name}'s" if seen.primary is not None else "the operator's"
    ahead = own - known
    word = "ahead of" if ahead > 0 else "behind"
    sentence = f"its clock is {abs(ahead):.1f} s {word} {whose}: keys end that much {'early' if ahead > 0 else 'late'}"
    yield Found(seen.target.name, sentence, "look at its time service")


def unknown_machine(seen: Situation) -> Iterator[Found]:
    for node in seen.both:
        if node.machine is None or node.machine.disk_free is None:
            yield Found(node.name, "its machine did not tell of its disk", "look at it yourself")

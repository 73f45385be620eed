"""Comparing the data of a node with the primary's, key by key, without loading either of them.

Both are read as the application's user, whose data they are; the operator's may read none. Every question is small, and
after each one as long a pause is made as it took, so that at most half of a server's time goes into it (usually a
few hundredths). What is compared never leaves this process: keys, types and lengths do (docs/rejoin.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis
from pyinfra import logger

from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.connectors.link import Client, LinkError, in_parallel, link
from keydb_runbooks.operations.dump import write_beside
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.save import kept
from keydb_runbooks.operations.waits import Lines, Pace
from keydb_runbooks.runbooks.differences import (
    OTHER_EXPIRY,
    OTHER_VALUE,
    OWN_PREFIX,
    Difference,
    Differences,
    Seen,
    canonical,
    compared_by_looks,
    other_expiry,
)
from keydb_runbooks.runbooks.replication import read_info
from keydb_runbooks.runbooks.steps_save import Compare

BATCH = 100
"""Keys that are asked for together, and elements of a big one."""

STRING_PIECE = 65536


@dataclass(frozen=True)
class Reading:
    """How a type is read: its length, all of it, and from which length on it is read in parts."""

    length: str
    whole: tuple[str, ...]
    big: int = BATCH


READINGS = {
    "string": Reading("STRLEN", ("GET",), STRING_PIECE),
    "list": Reading("LLEN", ("LRANGE", "0", "-1")),
    "hash": Reading("HLEN", ("HGETALL",)),
    "set": Reading("SCARD", ("SMEMBERS",)),
    "zset": Reading("ZCARD", ("ZRANGE", "0", "-1", "WITHSCORES")),
    "stream": Reading("XLEN", ("XRANGE", "-", "+")),
}
"""A type that isn't here, a module's for instance, is compared by its name alone."""

Command = tuple[str, ...]


@dataclass
class Progress:
    """How far one of the two passes over the keys is; ``inside`` is the big value that is just read in parts."""

    doing: str
    total: int
    done: int = 0
    inside: str = ""
    pace: Pace = field(default_factory=lambda: Pace("keys"))

    def see(self, keys: int) -> None:
        """Note so many more."""
        self.done += keys
        self.pace.see(self.done, max(self.total, self.done))

    def __str__(self) -> str:
        return f"{self.doing}: {self.pace}{self.inside}"


class Pair:
    """The node and the primary, asked together and slowly."""

    def __init__(self, here: Client, there: Client) -> None:
        self.both = (here, there)
        self.lines = Lines()
        self.progress = Progress("the comparison begins", 0)

    def ask(self, *commands: list[Command]) -> list[list[Any]]:
        """Send each of them its commands in one segment; errors come back as answers, and a pause follows.

        :raises Stopped: if this program is told to stop
        """
        before = time.monotonic()
        answers = in_parallel(_pipelined, list(zip(self.both, commands, strict=True)))
        time.sleep(time.monotonic() - before)
        self.lines.go_on(lambda: str(self.progress))
        return answers

    def same(self, commands: list[Command]) -> list[list[Any]]:
        return self.ask(commands, commands)

    def select(self, database: int) -> None:
        """Go to another database, on both."""
        for answer in self.same([("SELECT", str(database))]):
            _good(answer[0])

    def here(self, *command: str) -> Any:
        """One answer of the node; an error is raised."""
        return _good(self.ask([command], [])[0][0])

    def there(self, *command: str) -> Any:
        return _good(self.ask([], [command])[1][0])


@perform.register
def _compare(step: Compare, links: Links) -> str:
    nodes = (links.group.node(step.where), links.group.node(step.primary))
    clients: list[Client] = []
    try:
        clients.extend(_open(node) for node in nodes)
        found = Differences(step.where, step.primary, step.listed)
        # Only the operator may ask for INFO.
        databases = [_databases(links.node(node.name).execute_command("INFO", "keyspace")) for node in nodes]
        _compare_all(Pair(*clients), databases, found)
    except (LinkError, redis.RedisError, OSError) as error:
        told = f"{step.where} could not be compared with {step.primary}: {error}"
        raise StepFailed(f"{told}; it is not attached; run this again, or compare=no") from None
    finally:
        for client in clients:
            client.close()
    for line in found.lines:
        logger.info(f"      {line}")
    place = kept(links, step.where)
    written = f"; listed in {write_beside(place, '.differences.json', found.json())}" if place is not None else ""
    return f"{found.sentence}{written}"


def _open(node: NodeEntry) -> Client:
    client = link(node, role="application")
    # Answers as they come: redis-py would make numbers of scores, and of a stream's fields a dictionary.
    client.response_callbacks.clear()
    return client


def _compare_all(pair: Pair, databases: list[dict[int, int]], found: Differences) -> None:
    here, there = databases
    pair.progress = Progress(f"{found.node} is compared with {found.primary}", sum(here.values()))
    for database in sorted(here):
        pair.select(database)
        for keys in _scan(pair.here):
            _compare_batch(pair, database, keys, found)
            pair.progress.see(len(keys))
    pair.progress = Progress(f"{found.node} is asked for each key of {found.primary}", sum(there.values()))
    for database in sorted(there):
        pair.select(database)
        for keys in _scan(pair.there):
            found.only_there += len(keys) - int(pair.here("EXISTS", *keys))
            pair.progress.see(len(keys))


def _databases(info: str) -> dict[int, int]:
    """Keys by database, as INFO tells them."""
    fields = read_info(info)
    sizes = {key: values[0].partition("=")[2].partition(",")[0] for key, values in fields.items()}
    return {int(key[2:]): int(size) for key, size in sizes.items() if key.startswith("db") and key[2:].isdigit()}


def _scan(ask: Callable[..., Any]) -> Iterator[list[str]]:
    """The keys of the chosen database in batches; a server may tell one twice, and never leaves one out."""
    cursor = "0"
    while True:
        cursor, keys = ask("SCAN", cursor, "COUNT", str(BATCH))
        mine = sorted({key for key in keys if not key.startswith(OWN_PREFIX)})
        if mine:
            yield mine
        if cursor == "0":
            return


def _compare_batch(pair: Pair, database: int, keys: list[str], found: Differences) -> None:
    seen = dict(zip(keys, zip(*_look(pair, keys), strict=True), strict=True))
    # What expired since it was told is gone here as well.
    present = {key: both for key, both in seen.items() if both[0].there}
    found.compared += len(present)
    verdicts = {key: compared_by_looks(*both) for key, both in present.items()}
    small = [key for key, what in verdicts.items() if what is None and _small(present[key][0])]
    verdicts.update(_compare_whole(pair, {key: present[key][0].kind for key in small}))
    for key, (here, there) in present.items():
        what = verdicts[key]
        if what is None and key not in small and not _big_same(pair, key, here):
            what = OTHER_VALUE
        if what is None and other_expiry(here, there):
            what = OTHER_EXPIRY
        if what is not None:
            found.add(Difference(database, key, what, here.kind, here.length))


def _small(seen: Seen) -> bool:
    return seen.kind in READINGS and seen.length <= READINGS[seen.kind].big


def _look(pair: Pair, keys: list[str]) -> list[list[Seen]]:
    """Type, length and expiry of keys on both; an expiry is that of the server's own clock, so clocks may differ."""
    questions: list[Command] = [("TIME",), *((word, key) for key in keys for word in ("TYPE", "PTTL"))]
    answers = pair.same(questions)
    kinds = [[str(_good(one)) for one in answer[1::2]] for answer in answers]
    asked: list[list[Command]] = [
        [(READINGS[kind].length, key) for key, kind in zip(keys, side, strict=True) if kind in READINGS]
        for side in kinds
    ]
    lengths = [iter(side) for side in pair.ask(*asked)]
    return [
        [
            Seen(kind, _number(next(sizes)) if kind in READINGS else 0, _expires(answer[0], ttl))
            for kind, ttl in zip(side, answer[2::2], strict=True)
        ]
        for side, sizes, answer in zip(kinds, lengths, answers, strict=True)
    ]


def _expires(clock: list[str], ttl: Any) -> int | None:
    left = int(_good(ttl))
    return None if left < 0 else int(clock[0]) * 1000 + int(clock[1]) // 1000 + left


def _number(answer: Any) -> int:
    """A length; the key became something else meanwhile if it is an error."""
    return -1 if isinstance(answer, redis.ResponseError) else int(answer)


def _compare_whole(pair: Pair, kinds: dict[str, str]) -> dict[str, str | None]:
    commands = [(READINGS[kind].whole[0], key, *READINGS[kind].whole[1:]) for key, kind in kinds.items()]
    here, there = pair.same(commands)
    return {
        key: None if _equal(kind, one, other) else OTHER_VALUE
        for (key, kind), one, other in zip(kinds.items(), here, there, strict=True)
    }


def _equal(kind: str, here: Any, there: Any) -> bool:
    """An error on one side means that it became something else while it was looked at."""
    if isinstance(there, redis.ResponseError):
        return False
    return canonical(kind, _good(here)) == canonical(kind, there)


def _big_same(pair: Pair, key: str, seen: Seen) -> bool:
    pair.progress.inside = f"; now a {seen.kind} of length {seen.length:,}"
    same = _same_in_parts(pair, key, seen)
    pair.progress.inside = ""
    return same


def _same_in_parts(pair: Pair, key: str, seen: Seen) -> bool:
    """Whether a big value is the same, read in parts that keep no server busy; lengths are equal already."""
    if seen.kind == "hash":
        return all(_fields_same(pair, key, items) for items in _elements(pair, "HSCAN", key))
    if seen.kind == "set":
        return all(all(map(int, pair.there("SMISMEMBER", key, *items))) for items in _elements(pair, "SSCAN", key))
    if seen.kind == "stream":
        return _entries_same(pair, key)
    if seen.kind not in READINGS:
        return True
    step = STRING_PIECE if seen.kind == "string" else BATCH
    read, behind = {
        "string": ("GETRANGE", ()),
        "list": ("LRANGE", ()),
        "zset": ("ZRANGE", ("WITHSCORES",)),
    }[seen.kind]
    for first in range(0, seen.length, step):
        here, there = pair.same([(read, key, str(first), str(first + step - 1), *behind)])
        if not _equal(seen.kind, here[0], there[0]):
            return False
    return True


def _elements(pair: Pair, scan: str, key: str) -> Iterator[list[str]]:
    cursor = "0"
    while True:
        cursor, items = pair.here(scan, key, cursor, "COUNT", str(BATCH))
        if items:
            yield items
        if cursor == "0":
            return


def _fields_same(pair: Pair, key: str, items: list[str]) -> bool:
    return list(pair.there("HMGET", key, *items[::2])) == items[1::2]


def _entries_same(pair: Pair, key: str) -> bool:
    after = "-"
    while True:
        here, there = pair.same([("XRANGE", key, after, "+", "COUNT", str(BATCH))])
        if not _equal("stream", here[0], there[0]):
            return False
        if not here[0]:
            return True
        after = f"({here[0][-1][0]}"


def _pipelined(work: tuple[Client, list[Command]]) -> list[Any]:
    client, commands = work
    if not commands:
        return []
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[Any] = pipeline.execute(raise_on_error=False)
    return answers


def _good(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer

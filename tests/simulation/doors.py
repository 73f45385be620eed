"""The doors of operations/ and facts/: what ``installed`` replaces, and nothing else.

Links, runtime sockets, shells and files, the clock, chance, signals and the beats. Everything behind them is the code
that carries out a plan on real servers, but a text that was read before is not read again, and what is printed has no
lines and no colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from keydb_runbooks.facts import condition, observation
from keydb_runbooks.operations import (
    compare,
    dump,
    holders,
    links,
    listed,
    lock,
    perform_fence,
    perform_routes,
    perform_sync,
    perform_waits,
    report,
    run,
    runbook,
    save,
    waits,
)
from tests.simulation import beats, machines, outside, texts
from tests.simulation.garbage import seldom_collected
from tests.simulation.outside import SCENE


def _in_any_order(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What is done at once is done one after the other here, in an order that differs from time to time."""
    todo = list(enumerate(items))
    SCENE.operator.chance.shuffle(todo)
    done = {number: work(item) for number, item in todo}
    return [done[number] for number in range(len(done))]


def _tell(sentence: str) -> None:
    SCENE.operator.told.append(sentence)


def _seconds(_clock: int = 0) -> float:
    return SCENE.world.now / 1000


def _now(zone: timezone) -> datetime:
    return datetime.fromtimestamp(_seconds(), zone)


def _beside(work: Callable[..., Any], *arguments: Any) -> SimpleNamespace:
    """As ``gevent.spawn``: it is done at once."""
    done = work(*arguments)
    return SimpleNamespace(get=lambda: done)


CLOCK = SimpleNamespace(
    CLOCK_BOOTTIME=0,
    clock_gettime=_seconds,
    monotonic=_seconds,
    perf_counter=_seconds,
    time=_seconds,
    sleep=lambda seconds: SCENE.operator.sleep(seconds),
    gmtime=lambda: None,
    strftime=lambda form, _moment: f"{SCENE.world.now:.0f}",
)
CHANCE = SimpleNamespace(token_hex=lambda size=8: SCENE.operator.token(size))
LOGGER = SimpleNamespace(info=_tell, warning=_tell, error=_tell, debug=lambda sentence: None)
SIGNALS = SimpleNamespace(check=lambda: SCENE.operator.check_signal(), listening=nullcontext)

EVERYWHERE: dict[str, object] = {
    "link": outside.open_link,
    "link_through": outside.open_link_through,
    "runtime": outside.open_runtime,
    "in_parallel": _in_any_order,
    "time": CLOCK,
    "secrets": CHANCE,
    "logger": LOGGER,
    "interrupt": SIGNALS,
    "node_from_info": texts.node,
    "proxy_from_statistics": texts.statistics,
    "read_clients": texts.clients,
    "wrap": lambda text, *_: [text],
    "failure_lines": lambda text, *_: [text],
    "format_text": lambda text, *_: text,
    "datetime": SimpleNamespace(now=_now, fromtimestamp=datetime.fromtimestamp),
}
MODULES: tuple[ModuleType, ...] = (
    *(condition, observation),
    *(compare, dump, holders, links, lock, perform_fence, perform_routes, perform_sync, perform_waits, report, run),
    *(listed, runbook, save, waits),
)

DOORS: tuple[tuple[ModuleType, str, object], ...] = (
    (observation, "ask_rights", outside.permitted),
    (observation, "gevent", SimpleNamespace(spawn=_beside)),
    (condition, "gevent", SimpleNamespace(with_timeout=lambda seconds, work, timeout_value: work())),
    (condition, "get_quietly", machines.get_quietly),
    # Whatever stops a PING stops the INFO behind it, and nobody reads what a round trip took, or the times of day.
    (observation, "round_trip", lambda client: 0.0005),
    (condition, "moment", lambda seconds: ""),
    (observation, "moment", lambda seconds: ""),
    (lock, "gevent", SimpleNamespace(spawn=beats.begin, killall=beats.end)),
    (run, "Task", lambda verb, node: holders.Task(verb, node, SCENE.operator.name, SCENE.operator.place)),
    (perform_fence, "ask", outside.permitted_behind_multi),
    # Records and reports are for people: nothing reads them.
    (run, "finish", machines.unwritten),
    (run, "read_through_proxies", machines.nobody_reads),
    (dump, "room", machines.room),
    (dump, "keep", machines.keep),
    (dump, "fetch", machines.bring),
    (dump, "write_beside", machines.note),
    (compare, "write_beside", machines.note),
    (compare, "_compare_all", machines.compared),
)


@contextmanager
def installed() -> Iterator[None]:
    """Let the model answer whatever these modules reach, until the end of the block."""
    patches = [
        mock.patch.object(module, name, door)
        for module in MODULES
        for name, door in EVERYWHERE.items()
        if hasattr(module, name)
    ]
    patches += [mock.patch.object(*door) for door in DOORS]
    for patch in patches:
        patch.start()
    try:
        with seldom_collected():
            yield
    finally:
        for patch in patches:
            patch.stop()

"""What can happen: each act is a tuple that begins with its name, as a script lists them.

An act that makes no sense now (waking a server that isn't frozen) does nothing, so that a script stays one when
acts are taken out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from keydb_runbooks.runbooks.plan import Request
from tests.simulation import processes, replication
from tests.simulation.operator import Operator
from tests.simulation.server import UP

if TYPE_CHECKING:
    from tests.simulation.world import World

BY_NODE = ("demote", "fence", "unfence")
"""Verbs that name the node which they act on by ``node``."""

Act = tuple  # type: ignore[type-arg]


def perform(world: World, act: Act) -> None:
    """Let an act happen."""
    name, *arguments = act
    if world.story is not None:
        world.tell(f"-- {' '.join(map(str, act))}")
    ACTS[name](world, *[_meant(world, one) for one in arguments])


def _meant(world: World, argument: object) -> object:
    """``new of A`` is the node that A's plan makes the primary, ``old of A`` the one that was it before."""
    if not isinstance(argument, str) or argument[:7] not in ("new of ", "old of "):
        return argument
    operator = world.operators.get(argument[7:])
    plan = None if operator is None else operator.plan
    if plan is None:
        return "keydb-1"
    about = plan.primary or plan.node if argument.startswith("new") else plan.former
    return about or "keydb-1"


def _begin(world: World, name: str, verb: str, to: str | None = None, manner: str = "plain") -> None:
    """Somebody asks for a verb; nothing is sent before he goes on."""
    if name in world.operators:
        return
    Operator(world, name, verb, request_of(world, to, manner, verb), minority=manner == "reckless")


def request_of(world: World, to: str | None, manner: str, verb: str = "") -> Request:
    """What a person gives with a verb: nothing, the truth about who is silent, or whatever helps."""
    if verb in BY_NODE:
        return replace(request_of(world, None, manner), node=to)
    silent = [one for one in world.servers.values() if not one.alive or one.name in world.off]
    if manner == "truthful":
        harmless = {one.name for one in silent if not one.is_primary or not one.running}
        return Request(to=to, allow_unread=frozenset(harmless))
    if manner == "reckless":
        every = frozenset([*world.servers, *world.proxies])
        return Request(to=to, allow_unread=every, accept_loss=every, accept_split=True)
    if manner == "careless":
        return Request(to=to, accept_loss=frozenset(world.servers), save="no")
    if manner == "giving up":
        return Request(to=to, accept_loss=frozenset(world.servers))
    return Request(to=to)


def _go(world: World, name: str, moments: int) -> None:
    if name in world.operators:
        world.operators[name].go(moments)


def _until(world: World, name: str, phase: int) -> None:
    """It goes on until it stands before a phase: 0 look, 1 lock and look again, 2 the first step."""
    if name in world.operators:
        world.operators[name].go(phase=phase)


def _end(world: World, name: str) -> None:
    if name in world.operators:
        world.operators[name].go()


def _interrupt(world: World, name: str) -> None:
    """Somebody presses Ctrl-C."""
    if name in world.operators:
        world.operators[name].signalled = True


def _die(world: World, name: str) -> None:
    if name in world.operators:
        world.operators[name].die()


def _kill(world: World, name: str) -> None:
    processes.kill(world, world.servers[name])


def _power_off(world: World, name: str) -> None:
    processes.kill(world, world.servers[name])
    world.off.add(name)


def _lose_power(world: World, spared: str, *back: str) -> None:
    """Every server but one dies at once; some come back, guarded."""
    for name in world.servers:
        if name != spared:
            _kill(world, name)
    for name in back:
        _start(world, name)


def _start(world: World, name: str, how: str = "guarded") -> None:
    """``how``: guarded, or plain: as what its file says, without the guard."""
    if not world.servers[name].running:
        world.off.discard(name)
        processes.start(world, world.servers[name], guarded=how == "guarded")


def _load(world: World, name: str) -> None:
    """A guarded start that takes its time."""
    if not world.servers[name].running:
        _start(world, name)
        world.servers[name].loading_until = world.now + 2500


def _lose_disk(world: World, name: str) -> None:
    """Its server ends, and its disk is empty afterwards."""
    processes.kill(world, world.servers[name])
    world.watch.losing_disk(world.servers[name])


def _save(world: World, name: str) -> None:
    if world.servers[name].alive:
        world.servers[name].save()


def _freeze(world: World, name: str) -> None:
    processes.freeze(world, world.servers[name])


def _wake(world: World, name: str) -> None:
    processes.wake(world, world.servers[name])


def _cut(world: World, one: str, other: str, mode: str = "lost") -> None:
    """No byte goes through between two; ``late``: what was sent meanwhile arrives when it is mended."""
    world.cuts[frozenset((one, other))] = (mode, world.now)


def _mend(world: World, one: str, other: str) -> None:
    processes.mend(world, frozenset((one, other)))


def _drop(world: World, name: str) -> None:
    """Every connection of an operator is reset somewhere on its way, and with them its lock is gone."""
    world.drop([one for one in world.connections.values() if one.owner == name])


def _reset(world: World, name: str) -> None:
    """A replication link breaks, and may come again."""
    replication.break_link(world, world.servers[name])


def _hold(world: World, name: str) -> None:
    """Somebody pauses a server's writes for 10 s with a client of his own."""
    server = world.servers[name]
    if server.alive:
        server.pause_until = max(server.pause_until, world.now + 10_000)


def _promote_by_hand(world: World, name: str) -> None:
    """Somebody makes a replica in sync a primary that takes writes, and counts nothing: the others know nothing of it."""
    server = world.servers[name]
    if server.alive and server.link == UP:
        server.term = world.new_term()
        world.watch.by_hand.add(server.term)
        replication.promote(world, server)
        server.min_replicas = 0


def _stop_proxy(world: World, name: str) -> None:
    proxy = world.proxies.get(name)
    if proxy is not None and proxy.running:
        proxy.running = False
        for server in world.servers:
            proxy.cut_sessions(world, server)


def _start_proxy(world: World, name: str) -> None:
    proxy = world.proxies.get(name)
    if proxy is not None and not proxy.running:
        proxy.start()


def _pass(world: World, milliseconds: float) -> None:
    world.advance(milliseconds)


ACTS: dict[str, Callable[..., None]] = {
    "begin": _begin,
    "go": _go,
    "until": _until,
    "end": _end,
    "die": _die,
    "interrupt": _interrupt,
    "kill": _kill,
    "power off": _power_off,
    "lose power": _lose_power,
    "start": _start,
    "load": _load,
    "lose disk": _lose_disk,
    "save": _save,
    "freeze": _freeze,
    "wake": _wake,
    "cut": _cut,
    "mend": _mend,
    "drop": _drop,
    "reset": _reset,
    "hold": _hold,
    "promote by hand": _promote_by_hand,
    "stop proxy": _stop_proxy,
    "start proxy": _start_proxy,
    "pass": _pass,
}

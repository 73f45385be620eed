"""The verbs that are killed and disturbed: what each finds, what is asked of it, and what finishes it.

A new verb is a row in ``VERBS`` and a function that makes its world.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kit import NODES, Sandbox, eventually

ENDLESS = 10**12
GUARD = ("REPLICAOF", "255.255.255.255", "1")


@dataclass(frozen=True)
class Places:
    """Which node plays which part in a round."""

    primary: str
    target: str
    sibling: str

    @property
    def names(self) -> dict[str, str]:
        return {self.primary: "primary", self.target: "target", self.sibling: "sibling", "proxy-1": "proxy"}


@dataclass(frozen=True)
class World:
    """What a verb finds: the parts of the nodes, the options that it is given, and who is the primary in the end."""

    places: Places
    data: dict[str, str]
    primary: str
    lossy: tuple[float, float] | None = None
    """Acknowledged writes of this time (monotonic seconds) may be lost."""


@dataclass(frozen=True)
class Verb:
    """A verb, a world for it, and what else has to be run until everybody is back.

    :param lossless: whether no acknowledged write may be lost, wherever it is killed
    """

    deploy: str
    world: Callable[[Sandbox, Places], World]
    then: tuple[str, ...] = ()


def places_of(sandbox: Sandbox) -> Places:
    """The parts in the group as it is now, which is healthy."""
    primary = sandbox.primaries()[0]
    target, sibling = (node for node in NODES if node != primary)
    return Places(primary, target, sibling)


def _healthy(sandbox: Sandbox, places: Places) -> World:
    return World(places, {"to": places.target}, places.target)


def _primary_killed(sandbox: Sandbox, places: Places) -> World:
    """The one with more becomes the target, as failover chooses by itself."""
    began = time.monotonic()
    sandbox.kill(places.primary)
    lossy = (began - 1, time.monotonic())
    for node in (places.target, places.sibling):
        eventually(lambda node=node: sandbox.info(node)["master_link_status"] == "down", f"{node} notices it")
    offset = {node: int(str(sandbox.info(node)["slave_repl_offset"])) for node in (places.target, places.sibling)}
    if offset[places.sibling] > offset[places.target]:
        places = Places(places.primary, places.sibling, places.target)
    return World(places, {"to": places.target}, places.target, lossy)


def _stray_and_paused(sandbox: Sandbox, places: Places) -> World:
    """A replica was started guarded, and a dead run left its pause on the primary."""
    sandbox.ask(places.sibling, *GUARD)
    sandbox.ask(places.primary, "CLIENT", "PAUSE", ENDLESS, "WRITE")
    return World(places, {}, places.primary)


def _two_dead(sandbox: Sandbox, places: Places) -> World:
    sandbox.kill(places.sibling)
    sandbox.kill("proxy-1")
    return World(places, {}, places.primary)


VERBS = {
    "switchover": Verb("switchover", _healthy),
    "failover": Verb("failover", _primary_killed, then=("start", "rejoin")),
    "rejoin": Verb("rejoin", _stray_and_paused),
    "start": Verb("start", _two_dead, then=("rejoin",)),
}
"""Every verb that moves or guards a role in a group that was founded; install's founding is told apart in its test."""

"""How every story ends: the faults are mended, and a person runs a verb and does what its refusals say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from keydb_runbooks.runbooks.plan import Request
from tests.simulation import processes
from tests.simulation.operator import DONE, NOTHING, REFUSED, Operator
from tests.simulation.world import KEEPALIVE_MILLISECONDS

if TYPE_CHECKING:
    from tests.simulation.world import World

SETTLE_MILLISECONDS = 3000
PATIENCE = 16
"""How many verbs a person tries in a healed world."""

STOP = (
    r"stop (keydb-\d+)",
    r"primary (keydb-\d+).*stop it",
)
"""Sentences that tell a person to stop a server; who starts it again starts it guarded."""


MOVES = ("switchover", "failover", "rejoin", "install")
"""Verbs that a person goes on with; the others only clear the way for them."""


class Wish(NamedTuple):
    """A verb, and what is given with it."""

    verb: str
    request: Request


def heal(world: World) -> None:
    """Every fault ends: runs end, networks are mended, processes run again, guarded if they had stopped."""
    for operator in list(world.operators.values()):
        operator.go()
    for pair in list(world.cuts):
        processes.mend(world, pair)
    for server in world.servers.values():
        processes.wake(world, server)
        world.off.discard(server.name)
        processes.start(world, server, guarded=True)
    for proxy in world.proxies.values():
        if not proxy.running:
            proxy.start()
    world.tell("-- everything is healed")
    world.advance(KEEPALIVE_MILLISECONDS if world.lingering else SETTLE_MILLISECONDS)


def recover(world: World, verb: str, to: str | None = None) -> None:
    """A person runs a verb and does what its refusals and its plan say, until it is done and nothing is left."""
    world.tell(f"-- a person runs {verb}, and follows the hints")
    goal = wish = Wish(verb, Request(to=to)) if verb in MOVES else Wish("rejoin", Request())
    for attempt in range(PATIENCE):
        operator = Operator(world, f"healer-{attempt}", wish.verb, wish.request)
        operator.go()
        done = operator.outcome in (DONE, NOTHING)
        following = _what_is_left(world, operator, goal) if done else _follow_hint(world, operator)
        if following is None:
            world.advance(SETTLE_MILLISECONDS)
            world.watch.healed()
            return
        wish = following
        if wish.verb in MOVES:
            goal = wish
        world.advance(1000)
    world.watch.despair(operator)


def _what_is_left(world: World, operator: Operator, goal: Wish) -> Wish | None:
    """Behind a verb that ended well: what a person wanted, whom the plan left out, and who is still fenced."""
    if operator.verb not in MOVES:
        return goal
    told = " ".join((operator.said, *(operator.plan.warnings if operator.plan is not None else ())))
    if left := set(re.findall(r"rejoin accept_loss=(keydb-\d+) saves and attaches it", told)):
        return Wish("rejoin", Request(accept_loss=goal.request.accept_loss | left))
    fenced = next((one.name for one in world.servers.values() if one.fenced), None)
    return Wish("unfence", Request(node=fenced)) if fenced else None


def _follow_hint(world: World, operator: Operator) -> Wish:
    """The next verb and its options, as the last sentence of a run names them."""
    told, request = operator.said, operator.request
    if operator.outcome != REFUSED:
        return Wish(operator.verb, request)
    if name := _to_stop(world, told):
        processes.kill(world, world.servers[name])
        processes.start(world, world.servers[name], guarded=True)
    if fenced := re.search(r"unfence node=(keydb-\d+)", told):
        return Wish("unfence", Request(node=fenced[1]))
    verb, to = (operator.verb, None) if "leave to= out" in told else _other_verb(operator, told)
    named = re.search(r"accept_loss=(keydb-\d+)", told)
    node = request.node if verb == operator.verb else None
    return Wish(verb, Request(to=to, node=node, accept_loss=request.accept_loss | ({named[1]} if named else set())))


def _to_stop(world: World, told: str) -> str:
    """Whom a person stops, if a sentence asks for it: of two primaries the one over which another was promoted."""
    if "are primaries, and neither" in told:
        return min((one for one in world.servers.values() if one.is_primary), key=lambda one: one.term).name
    return next((found[1] for found in (re.search(sentence, told) for sentence in STOP) if found), "")


def _other_verb(operator: Operator, told: str) -> tuple[str, str | None]:
    """Which verb a refusal names, and for whom."""
    wanted = re.search(r"\bto=(keydb-\d+)", told)
    if hinted := re.search(r"run (failover|rejoin|switchover|install)\b", told):
        return hinted[1], wanted[1] if wanted else None
    if "rejoin accept_loss=" in told:
        return "rejoin", None
    if "run status" in told:
        # It says of a node that follows nobody: run rejoin.
        return "rejoin", None
    if wanted:
        return operator.verb, wanted[1]
    if "choose another target" in told:
        return operator.verb, None
    if "plan-differs" in told and operator.plan is not None and operator.verb == "switchover":
        # Who is asked for no target in particular gets one or the other.
        return operator.verb, operator.plan.primary
    return operator.verb, operator.request.to

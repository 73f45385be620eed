"""Scripts: what a world is like, what happens in it, and which verb is asked for in the end; made from a seed."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from tests.simulation.events import BY_NODE, Act
from tests.simulation.world import Shape

MOVES = ("switchover", "switchover", "failover", "failover", "rejoin")
VERBS = (*MOVES, *MOVES, "install", "promote", "promote", "demote", "fence", "unfence", "abort", "abort")
MANNERS = ("plain",) * 28 + ("truthful",) * 10 + ("giving up",) * 2 + ("careless", "reckless")
TIMES = (20, 300, 1000, 1600, 2500, 4000, 4000, 12_000, 65_000)


class Script(NamedTuple):
    """A whole run, as values: the same script is the same run, to the last byte."""

    shape: Shape
    acts: tuple[Act, ...]
    last: tuple[str, str | None]


def script_of(seed: int) -> Script:
    """The script that a seed stands for."""
    chance = Random(seed)
    shape = _shape(chance)
    return Script(shape, tuple(_acts(chance, shape)), (chance.choice(MOVES), _target(chance, shape)))


def _shape(chance: Random) -> Shape:
    pick, rare = chance.choice, chance.random
    return Shape(
        nodes=pick((3, 3, 3, 3, 3, 3, 2, 4, 5)),
        proxies=pick((1, 1, 1, 1, 1, 2, 2, 0)),
        engine=pick(("keydb", "redis")),
        appends=rare() < 0.1,
        min_replicas=pick((1, 1, 1, 1, 1, 0)),
        through_proxies=rare() < 0.7,
        stray=rare() < 0.2,
        delay=pick((0, 0, 0, 5, 300)),
        full_milliseconds=pick((20, 20, 3000)),
        backlog_size=pick((1 << 20, 1 << 20, 1 << 20, 1000)),
        wakes_stale=rare() < 0.5,
        virgin=rare() < 0.04,
    )


def _acts(chance: Random, shape: Shape) -> list[Act]:
    """Something happened, then a run with troubles in it, its end, and often another one."""
    acts: list[Act] = []
    if shape.virgin:
        acts += [("begin", "founder", "install"), _part(chance, "founder"), _fault(chance, shape, "founder")]
    names = iter("ABCDEF")
    for _ in range(chance.choice((1, 1, 2, 2, 3))):
        acts += chance.choice((_lost_primary, _lost_primary, _lost_power, _lost_power, *(_troubles,) * 4, _mistake))(
            chance, shape
        )
        acts += _run(chance, shape, next(names), next(names))
    return acts


def _lost_primary(chance: Random, shape: Shape) -> list[Act]:
    """The primary is gone, and it is noticed a moment later."""
    kind = chance.choice(("kill", "kill", "freeze", "freeze", "power off", "lose disk"))
    acts: list[Act] = [(kind, "keydb-1"), ("pass", chance.choice(TIMES))]
    if chance.random() < 0.3:
        acts.append((chance.choice(("start", "wake")), "keydb-1"))
    return acts


def _lost_power(chance: Random, shape: Shape) -> list[Act]:
    """Several servers were gone at once, and some are back."""
    names = [_node(chance, shape) for _ in range(chance.choice((1, 2, 3, 4)))]
    return [("lose power", *names), _trouble(chance, shape, "A")] if chance.random() < 0.3 else []


def _mistake(chance: Random, shape: Shape) -> list[Act]:
    """Somebody promotes a replica by hand, or pauses a primary that acknowledged writes a moment ago, or both."""
    acts: list[Act] = []
    if chance.random() < 0.7:
        acts.append(("promote by hand", _node(chance, shape)))
    return [
        *acts,
        ("pass", chance.choice(TIMES)),
        ("hold", "keydb-1" if chance.random() < 0.7 else _node(chance, shape)),
    ]


def _troubles(chance: Random, shape: Shape) -> list[Act]:
    return [_trouble(chance, shape, "A") for _ in range(chance.choice((0, 0, 1, 1, 2)))]


def _run(chance: Random, shape: Shape, name: str, rival: str) -> list[Act]:
    acts: list[Act] = [_begin(chance, shape, name)]
    for _ in range(chance.choice((0, 1, 1, 1, 2))):
        acts.append(_part(chance, name))
        acts.append(
            _trouble(chance, shape, name) if chance.random() < 0.94 else (chance.choice(("drop", "interrupt")), name)
        )
    if chance.random() < 0.15:
        first = ("until", name, 1) if chance.random() < 0.3 else _part(chance, name)
        acts += [first, _begin(chance, shape, rival), _part(chance, rival), _part(chance, name)]
        acts.append(chance.choice((("end", rival), ("die", rival), _part(chance, rival))))
    if chance.random() < 0.4:
        return [*acts, _part(chance, name), ("die", name), *_aftermath(chance, shape, name)]
    return [*acts, ("end", name)]


def _aftermath(chance: Random, shape: Shape, name: str) -> list[Act]:
    """A run has died; what it was about may be hit as well."""
    if chance.random() < 0.5:
        return []
    node = chance.choice((f"new of {name}", f"new of {name}", f"old of {name}"))
    return [(chance.choice(("freeze", "kill", "power off", "lose disk")), node)]


def _part(chance: Random, name: str) -> Act:
    """A run goes on for some commands, or up to one of its steps."""
    if chance.random() < 0.4:
        return ("go", name, chance.choice((chance.randrange(12), chance.randrange(60))))
    return ("until", name, chance.randrange(1, 20))


def _begin(chance: Random, shape: Shape, name: str) -> Act:
    verb = chance.choice(VERBS)
    to = _target(chance, shape) if verb in ("switchover", "failover") else None
    if verb in ("promote", *BY_NODE):
        to = _node(chance, shape)
    return ("begin", name, verb, to, chance.choice(MANNERS))


def _target(chance: Random, shape: Shape) -> str | None:
    return None if chance.random() < 0.6 else _node(chance, shape)


def _node(chance: Random, shape: Shape) -> str:
    return f"keydb-{chance.randrange(shape.nodes) + 1}"


def _proxy(chance: Random, shape: Shape) -> str:
    return f"proxy-{chance.randrange(shape.proxies) + 1}" if shape.proxies else _node(chance, shape)


def _trouble(chance: Random, shape: Shape, name: str) -> Act:
    """A fault, the end of one, or time."""
    kind = chance.random()
    if kind < 0.3:
        return ("pass", chance.choice(TIMES))
    return _fault(chance, shape, name) if kind < 0.75 else _repair(chance, shape)


FAULTS = (
    ("kill", 3),
    ("freeze", 4),
    ("cut", 3),
    ("reset", 1),
    ("lose disk", 1),
    ("power off", 1),
    ("lose power", 1),
    ("hold", 1),
    ("save", 1),
    ("stop proxy", 1),
)
KINDS = tuple(kind for kind, weight in FAULTS for _ in range(weight))


def _fault(chance: Random, shape: Shape, name: str) -> Act:
    # Whom a run is about is hit more often than others.
    node = chance.choice((_node(chance, shape), _node(chance, shape), f"new of {name}", f"old of {name}"))
    kind = chance.choice(KINDS)
    if kind == "cut":
        return ("cut", *_pair(chance, shape, node), chance.choice(("lost", "late")))
    if kind == "lose power":
        return ("lose power", *[_node(chance, shape) for _ in range(chance.choice((1, 2, 3, 4)))])
    return (kind, _proxy(chance, shape) if kind == "stop proxy" else node)


def _pair(chance: Random, shape: Shape, node: str) -> tuple[str, str]:
    other = chance.choice(
        (_node(chance, shape), _node(chance, shape), f"desk-{chance.choice('ABC')}", _proxy(chance, shape))
    )
    return (node, other) if other != node else (node, "desk-A")


def _repair(chance: Random, shape: Shape) -> Act:
    node = _node(chance, shape) if chance.random() < 0.5 else "keydb-1"
    kind = chance.choice(("start", "start", "start", "load", "wake", "wake", "wake", "mend", "start proxy", "plain"))
    if kind == "plain":
        return ("start", node, "plain") if chance.random() < 0.3 else ("start", node)
    if kind == "mend":
        return ("mend", *_pair(chance, shape, node))
    return (kind, _proxy(chance, shape) if kind == "start proxy" else node)

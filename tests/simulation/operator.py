"""A person with a shell: asks for a verb, and the real operations carry it out in the model's world.

Each operator is a greenlet. Between any two commands that it sends it may have to wait: for time to pass, for a fault, for
another operator's commands, or for ever, when its machine dies.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from greenlet import GreenletExit, greenlet

from keydb_runbooks.operations import runbook
from keydb_runbooks.operations.failures import Stopped
from keydb_runbooks.operations.report import Outcome, Report
from keydb_runbooks.operations.run import Run
from keydb_runbooks.runbooks import abort, demote, failover, fence, founding, promote, rejoin, switchover, unfence
from keydb_runbooks.runbooks.plan import Answer, Plan, Refusal, Request
from keydb_runbooks.runbooks.topology import Topology
from tests.simulation.beats import beat
from tests.simulation.checks import KnownHole, Violation
from tests.simulation.machines import Machine, group_of
from tests.simulation.outside import SCENE

if TYPE_CHECKING:
    from tests.simulation.world import World

ENDLESS = 1 << 60
REFUSED, UNCHANGED, INCOMPLETE, DONE, NOTHING, DEAD = (
    "refused",
    "failed and unchanged",
    "incomplete",
    "done",
    "nothing to do",
    "dead",
)
OUTCOMES = {
    Outcome.REFUSED: REFUSED,
    Outcome.FAILED_UNCHANGED: UNCHANGED,
    Outcome.FAILED_INCOMPLETE: INCOMPLETE,
    Outcome.DONE: DONE,
    Outcome.NOTHING_TO_DO: NOTHING,
}


def _install(topology: Topology, request: Request, min_replicas: int) -> Answer:
    return founding.plan(topology, "keydb-1", min_replicas=min_replicas)


# Read anew at each call, so that what a test broke is what runs.
VERBS: dict[str, Callable[[Topology, Request, int], Answer]] = {
    "switchover": lambda *asked: switchover.plan(*asked),
    "failover": lambda *asked: failover.plan(*asked),
    "rejoin": lambda *asked: rejoin.plan(*asked),
    "promote": lambda *asked: promote.plan(*asked),
    "demote": lambda *asked: demote.plan(*asked),
    "fence": lambda *asked: fence.plan(*asked),
    "unfence": lambda *asked: unfence.plan(*asked),
    "abort": lambda *asked: abort.plan(*asked),
    "install": _install,
}
"""What a person can ask for, and who decides it."""


@dataclass(eq=False)
class Operator:
    """One run of one verb."""

    world: World
    name: str
    verb: str
    request: Request = field(default_factory=Request)
    minority: bool = False
    told: list[str] = field(default_factory=list)
    outcome: str = ""
    answer: Answer | None = None
    topology: Topology | None = None
    run: Run | None = None
    said: str = ""
    signalled: bool = False
    phase: int = 0
    repointed: bool = False
    locked_at: float = 0.0
    last_term: int = 0
    looked_at: float = 0.0

    def __post_init__(self) -> None:
        self.place = f"desk-{self.name}"
        self.group = group_of(self.world.shape)
        self.ready_at = 0.0
        self.naps = 0
        self.budget = self.stop_before = ENDLESS
        self.changes = 0
        self.chance = Random(self.name)
        self.greenlet: greenlet | None = None
        self.world.operators[self.name] = self

    @property
    def alive(self) -> bool:
        return not self.outcome

    @property
    def plan(self) -> Plan | None:
        return self.answer if isinstance(self.answer, Plan) else None

    # Its time

    def go(self, moments: int = ENDLESS, phase: int = ENDLESS) -> None:
        """Let it go on for a number of commands, until it stands before a phase, or to its end."""
        if not self.alive or self.phase >= phase:
            return
        self.budget, self.stop_before = moments, phase
        self.world.until(self.ready_at)
        SCENE.operator = self
        if self.greenlet is None:
            self.greenlet = greenlet(self._work)
        self.greenlet.switch()

    def die(self) -> None:
        """Its machine is switched off: nothing more is sent, and its connections end."""
        if not self.alive:
            return
        self.outcome = DEAD
        self.close()
        if self.greenlet is not None:
            SCENE.operator = self
            self.greenlet.throw(GreenletExit)

    def moment(self, milliseconds: float) -> None:
        """Between two commands: others may go on here; this one does so after some time at the earliest."""
        self.budget -= 1
        if self.budget < 0 and self.greenlet:
            self.ready_at = self.world.now + milliseconds
            self.greenlet.parent.switch()
            return
        world, lock = self.world, None if self.run is None else self.run.lock
        end = world.now + milliseconds
        while lock is not None and lock._beats:
            due = min([one.due for one in lock._beats])
            if due > end:
                break
            world.until(due)
            beat(world, lock)
        world.until(end)

    def check_signal(self) -> None:
        """As ``interrupt.check``.

        :raises Stopped: if somebody pressed Ctrl-C
        """
        if self.signalled:
            raise Stopped("told to stop by SIGINT")

    def sleep(self, seconds: float) -> None:
        """As time.sleep, which may last longer: whoever looks at the same thing again and again looks less often."""
        self.naps += 1
        self.moment(max(seconds * 1000, min(2.0 ** (self.naps % 16), 4000.0)))

    def token(self, size: int) -> str:
        return f"{self.chance.getrandbits(size * 8):0{size * 2}x}"

    def close(self) -> None:
        for connection in list(self.world.connections.values()):
            if connection.owner == self.name:
                self.world.hang_up(connection)

    # Its work

    def decide(self, topology: Topology) -> Answer:
        self.topology = topology
        return VERBS[self.verb](topology, self.request, self.world.shape.min_replicas)

    def _work(self) -> None:
        try:
            while self.alive:
                self.take_phase()
                if self.phase == self.stop_before and self.alive:
                    assert self.greenlet is not None
                    self.greenlet.parent.switch()
        except GreenletExit:
            return

    def take_phase(self) -> None:
        """Look and decide, begin, each step, end: as ``runbook.carry_out`` and its operation do it one by one."""
        # What is sent now may be carried out after another promotion, in the socket of a frozen server.
        self.last_term = self.world.terms
        if self.phase < 2:
            self.looked_at = self.world.now
        try:
            outcome = self._next_phase()
        except GreenletExit:
            raise
        except (KnownHole, Violation):
            raise
        except Exception:
            self.world.watch.broke(self, traceback.format_exc())
            raise
        self.phase += 1
        if outcome:
            self.outcome = outcome
            self.close()
            self.world.watch.ended(self)

    def _next_phase(self) -> str:
        """The outcome if this was the last phase, else nothing."""
        if self.phase == 0:
            return self._look()
        run, conductor = self.run, Machine(self.place, {})
        assert run is not None
        steps = len(run.plan.steps)
        if self.phase == 1:
            goes_on = run.begin(None, conductor, self.decide)
            self.locked_at = self.world.now
        elif self.phase < steps + 2:
            goes_on = run.step(None, conductor, self.phase - 2)
        else:
            goes_on = run.end(None, conductor)
        if goes_on and self.phase < steps + 2:
            return ""
        assert run.report.outcome is not None, self.told
        assert goes_on == (run.report.outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO)), self.told
        self.said = run.report.sentence
        return OUTCOMES[run.report.outcome]

    def _look(self) -> str:
        seen, self.answer = runbook._look(self.group, self.decide)
        if isinstance(self.answer, Plan):
            told = Report(self.verb, self.group.name, {"accept_minority_lock": "yes" if self.minority else "no"})
            self.run = Run(self.group, self.answer, told, silent=frozenset(node.name for node in seen.unread))
            return ""
        self.said = str(self.answer)
        return REFUSED if isinstance(self.answer, Refusal) else NOTHING

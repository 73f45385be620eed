"""One execution of a plan: begin, each of its steps, and the end, with all that is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import redis
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.output import format_text
from pyinfra.api.state import State

from keydb_runbooks.connectors.group import Group
from keydb_runbooks.connectors.link import LinkError
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import endings, interrupt, lock, record, report, traces
from keydb_runbooks.operations.failures import LeftBehind, StepFailed, Stopped, TooLate
from keydb_runbooks.operations.holders import Task
from keydb_runbooks.operations.invocation import command_line
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform_step
from keydb_runbooks.operations.reads import read_through_proxies
from keydb_runbooks.operations.report import Outcome, Report, StepTold
from keydb_runbooks.operations.show import failure_lines, wrap
from keydb_runbooks.operations.waits import until
from keydb_runbooks.runbooks.plan import Answer, NothingToDo, Plan, Refusal
from keydb_runbooks.runbooks.steps import Step, VerifyWrite
from keydb_runbooks.runbooks.steps_restart import LookAgain
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.verified import ended, left, truths, verify

Decide = Callable[[Topology], Answer]
Perform = Callable[[Step, Links], str]

LOOK_AGAIN_SECONDS = 0.2

PARTS = ("install", "add-node", "remove-node")
"""Verbs of which a plan is but a part, so that its end is not theirs."""

PLAN_DIFFERS = "it changed since the plan was shown; nothing was changed: run this again and read the new plan"


class Run:
    """One execution of a plan.

    Until the step that commits, the first failure stops the run, and what was done is undone. From then on clients wait
    for the rest, so one node that fails, a file that can't be written or a proxy that can't be told is left behind, and
    the run goes on with the others as long as the primary stands. What was left behind is told at the end.

    A signal (Ctrl-C, SIGTERM, SIGHUP) stops the run before the step that commits, and what was done is undone; behind
    it nothing is waited for any longer, and everything else is done. A node whose data are being saved or compared is
    left as it is.

    A plan of many nodes looks at the whole group again before each of them (``LookAgain``).

    :param told: the report that is filled
    :param perform: does one step, ``perform_step`` unless somebody puts a fault around it
    :param silent: names of the nodes that did not answer when the plan was made
    """

    def __init__(
        self,
        group: Group,
        plan: Plan,
        told: Report | None = None,
        perform: Perform = perform_step,
        silent: frozenset[str] = frozenset(),
    ) -> None:
        told = Report(verb=plan.verb, group=plan.group) if told is None else told
        self.group = group
        self.plan = plan
        self.silent = silent
        self.report = told
        self.links: Links | None = None
        self.lock: lock.Lock | None = None
        # A plan that moves no role has nothing to go back to; one that changes nothing can stop anywhere.
        self.committed = plan.locks and not any(step.commits for step in plan.steps)
        self.changed = False
        # Whether something was done that nothing takes back.
        self.lasting = False
        # Whether nothing was left to do when it began.
        self.over = False
        self.given_up: set[str] = set()
        # Who has to come back when it has been carried out, a sentence each.
        self.left: tuple[str, ...] = ()
        self.unfinished: list[str] = []
        self.started = 0.0
        # Who this run is for others, once it has the lock.
        self.task: Task | None = None
        self._shown: traces.AtWork | None = None
        self._perform = perform
        self._decide: Decide | None = None
        self._signals = ExitStack()
        told.plan = plan
        told.steps = [
            StepTold(number, step.where, step.code, step.sentence) for number, step in enumerate(plan.steps, start=1)
        ]

    # Begin

    def begin(self, state: State, host: Host, decide: Decide) -> bool:
        """Open every link, lock out other operators, and look once more; nothing is changed yet."""
        self.started = time.monotonic()
        self._decide = decide
        self._signals.enter_context(interrupt.listening())
        try:
            self._take(host)
            # A node that was silent is not given its whole time again: clients wait, and what proves that it takes no
            # writes is looked at again here. It only matters whether it has come back.
            answer = decide(observe(self.group, silent=self.silent))
            interrupt.check()
        except StepFailed as error:
            return self._ends(host, Outcome.FAILED_UNCHANGED, f"failed and unchanged: {error}")
        except lock.LockRefused as error:
            return self._ends(host, Outcome.REFUSED, f"refused: {error}", code=error.code)
        except (redis.RedisError, OSError) as error:
            told = f"failed and unchanged: the lock could not be taken: {error}"
            return self._ends(host, Outcome.FAILED_UNCHANGED, told)
        if isinstance(answer, Refusal):
            return self._ends(host, Outcome.REFUSED, str(answer), code=answer.code, where=answer.where)
        if isinstance(answer, NothingToDo):
            # A pause ended by itself, or somebody else was faster: what was wanted is there.
            self.over = True
            self._ends(host, Outcome.NOTHING_TO_DO, str(answer), code=answer.code, where=answer.where)
            return True
        if not same(answer, self.plan):
            told = f"refused: plan-differs {self.plan.group}: {PLAN_DIFFERS}"
            return self._ends(host, Outcome.REFUSED, told, code="plan-differs", where=self.plan.group)
        return True

    def _take(self, host: Host) -> None:
        self.links = Links(self.group, {step.where for step in self.plan.steps}, self.silent)
        if not self.plan.locks:
            return
        nodes = tuple(node.name for node in self.group.nodes)
        task = Task(self.plan.verb, self.plan.about)
        minority = self.report.options.get("accept_minority_lock", "no").lower() in ("yes", "true")
        self.lock = self.links.lock = lock.take(self.links.clients, nodes, task, minority)
        self.task = task
        self._shown = traces.AtWork(self.group, task, lambda: self.lock is not None and self.lock.lives)
        silent = [name for name in nodes if name not in self.links.clients]
        if len(silent) * 2 >= len(nodes):
            self._notice(f"the lock is held without {', '.join(silent)}, as you accepted")
        for sentence in self.lock.took_over:
            self._notice(sentence)

    def _notice(self, sentence: str) -> None:
        self.report.notices.append(sentence)
        logger.warning(f"    {format_text(sentence, 'yellow')}")

    # Act

    def step(self, state: State, host: Host, number: int) -> bool:
        """Do one step and print it with its duration; if it fails, whether the run goes on all the same."""
        if self.over:
            return True
        step, told = self.plan.steps[number], self.report.steps[number]
        place = f"{number + 1:>2}/{len(self.plan.steps)} {step.where:<10}"
        if step.where in self.given_up:
            logger.info(f"    {place} left out: {step.sentence}")
            told.outcome = "left out"
            return True
        before = time.monotonic()
        told.begun = round(before - self.started, 6)
        try:
            seen = self._do(step, number)
        except lock.LockLost as error:
            told.outcome, told.seen = "not begun", str(error)
            return self._lost(host, place, error)
        except StepFailed as error:
            told.milliseconds = round((time.monotonic() - before) * 1000, 3)
            told.outcome, told.seen = "failed", str(error)
            return self._failed(host, place, step, error)
        told.milliseconds = round((time.monotonic() - before) * 1000, 3)
        told.outcome, told.seen = "done", seen or None
        head = f"{place} {told.milliseconds:7.1f} ms  "
        for line in wrap(seen or step.sentence, head, len(head)):
            logger.info(f"    {line}")
        return True

    def _do(self, step: Step, number: int) -> str:
        """Every step is begun with a lock that is proved: what isn't sent over its connections obeys it as well."""
        assert self.links is not None
        if step.ends or step.vital or not self.committed:
            interrupt.check()
        if self.plan.locks:
            assert self.lock is not None
            self.lock.prove()
        self.committed = self.committed or step.commits
        self.changed = self.changed or step.changes
        self.lasting = self.lasting or step.lasting
        try:
            if isinstance(step, LookAgain):
                return self._look_again(step, number)
            return self._perform(step, self.links)
        except (StepFailed, lock.LockLost):
            raise
        except Exception as error:  # writers may be waiting, whatever it is
            raise StepFailed(f"a fault of this program: {type(error).__name__}: {error}") from error

    def _look_again(self, step: LookAgain, number: int) -> str:
        """Decide anew by what is there now: nothing but the rest of this plan may be left to do."""
        assert self._decide is not None
        decide, rest = self._decide, needed(self.plan.steps[number:])
        answer: Answer = self.plan

        def as_planned() -> bool | None:
            nonlocal answer
            answer = decide(observe(self.group, silent=self.silent))
            return True if isinstance(answer, Plan) and needed(answer.steps) == rest else None

        told = lambda: f"{step.where} is not touched yet: {_briefly(answer)}"  # noqa: E731
        if until(as_planned, step.timeout_seconds, LOOK_AGAIN_SECONDS, told) is None:
            raise StepFailed(f"the group is not as this plan left it: {_otherwise(answer)}")
        return f"everybody else is in order; {step.where} is next"

    def _failed(self, host: Host, place: str, step: Step, error: StepFailed) -> bool:
        goes_on = self._goes_on(step, error)
        told = f"{place} {step.sentence}: {error}{'; the run goes on' if goes_on else ''}"
        self._alarm(told, indent=17)
        return goes_on or self._give_up(host, error)

    def _alarm(self, sentence: str, indent: int = 2) -> None:
        for line in failure_lines(sentence, self.report.next_command, indent):
            logger.error(f"    {format_text(line, 'red')}")

    def _goes_on(self, step: Step, error: StepFailed) -> bool:
        """Whether the rest is done although a step failed, which is noted then."""
        if step.ends:
            return False
        if step.spare:
            return True
        if isinstance(error, LeftBehind):
            self.unfinished.append(str(error))
            return True
        cut_short = isinstance(error, Stopped) and not step.changes
        if cut_short and self.committed and not step.vital:
            self.unfinished.append(f"nobody waited until this was true of {step.where}: {step.sentence} ({error})")
            return True
        needed = step.where in (self.plan.primary, self.plan.node)
        if not self.committed or needed or not self._primary_stands():
            return False
        self.unfinished.append(f"{step.where} is left as it is ({error})" if cut_short else str(error))
        self.given_up.add(step.where)
        return True

    def _primary_stands(self) -> bool:
        assert self.links is not None
        return self.plan.primary is not None and self.links.stands(self.plan.primary)

    def _lost(self, host: Host, place: str, error: lock.LockLost) -> bool:
        """Somebody else may be at work: nothing more is changed, not even to undo."""
        self._alarm(f"{place} not begun: {error}", indent=17)
        if not self.changed:
            return self._ends(host, Outcome.FAILED_UNCHANGED, f"failed and unchanged: {error}", code="lock-lost")
        told = f"failed and incomplete: {error}; this run changes nothing more. Look first, then {self._again(host)}"
        return self._ends(host, Outcome.FAILED_INCOMPLETE, told, code="lock-lost")

    def _give_up(self, host: Host, error: StepFailed) -> bool:
        """Undo, or say what is true now and how to go on."""
        code = "catch-up-timeout" if isinstance(error, TooLate) else None
        if self.changed and not self.committed and not self._undo():
            told = f"failed and incomplete: writes may still be held back: {self._again(host)}"
            return self._ends(host, Outcome.FAILED_INCOMPLETE, told, code=code)
        if self.lasting or (self.committed and self.changed):
            left = sum(told.outcome == "not begun" for told in self.report.steps) + 1
            told = f"failed and incomplete, {left} steps are left: {self._again(host)}"
            return self._ends(host, Outcome.FAILED_INCOMPLETE, told, code=code)
        if code is not None:
            told = f"refused: {code} {error}; nothing was changed: wait until it is closer, or catch_up_timeout=SECONDS"
            return self._ends(host, Outcome.REFUSED, told, code=code, where=self.plan.primary)
        return self._ends(host, Outcome.FAILED_UNCHANGED, f"failed and unchanged: {self._again(host, moved=False)}")

    def _undo(self) -> bool:
        """Take back what was done, if nobody else can have gone on from it; False if anything may remain."""
        if not self._alone():
            return False
        return all([self._undo_step(step) for step in self.plan.undo])  # noqa: C419 - all are tried

    def _undo_step(self, step: Step) -> bool:
        assert self.links is not None
        assert self.lock is not None
        for attempt in (1, 2):
            try:
                self._perform(step, self.links)
                return True
            except StepFailed:
                # The held link may be what broke; a fresh one is tried once, under the same lock.
                if attempt == 1 and not self._reopen(step.where):
                    return False
        return False

    def _reopen(self, name: str) -> bool:
        assert self.links is not None
        assert self.lock is not None
        try:
            self.links.reopen(name)
            self.lock.adopt(name, self.links.node(name))
        except (LinkError, lock.LockLost, redis.RedisError, OSError):
            return False
        return True

    def _alone(self) -> bool:
        """Whether nobody else can have acted since this run began, or nobody did and this run has the lock again."""
        assert self.lock is not None
        assert self.links is not None
        try:
            self.lock.prove()
            return True
        except lock.LockLost:
            self._close()
        try:
            self.links = Links(self.group, {node.name for node in self.group.nodes})
            nodes = tuple(node.name for node in self.group.nodes)
            self.lock = lock.take(self.links.clients, nodes, Task(self.plan.verb, self.plan.about), False)
        except (StepFailed, lock.LockRefused, redis.RedisError, OSError):
            return False
        now = observe(self.group)
        return not now.unread and [node.name for node in now.primaries] == [self.plan.former]

    # End

    def end(self, state: State, host: Host) -> bool:
        """Look at the result from outside, and say how it ended; what was left behind is a failure."""
        if self.over:
            return True
        self._close()
        stands = self.plan.afterwards
        self._verify()
        if self.unfinished:
            self.report.left_behind = self.unfinished
            left = "; ".join(self.unfinished)
            told = f"failed and incomplete: {stands}, but {left}. Mend that, then {self._again(host)}"
            return self._ends(host, Outcome.FAILED_INCOMPLETE, told)
        seconds = time.monotonic() - self.started
        self._ends(host, Outcome.DONE, f"done: {self.plan.verb} in {seconds:.2f} s; {stands}")
        for line in (line for sentence in self.left for line in wrap(sentence, "", 2)):
            logger.info(f"    {format_text(line, 'yellow')}")
        return True

    def _verify(self) -> None:
        topology = observe(self.group, silent=self.silent)
        seen = verify(self.plan, topology)
        self.report.observed(topology, list(truths(topology)))
        self.left = tuple(left(topology, self.plan.primary, ended(self.plan)))
        self.report.notices += self.left
        for step, told in zip(self.plan.steps, self.report.steps, strict=True):
            if isinstance(step, VerifyWrite):
                check = {"what": "a write and a read", "where": step.where, "told": told.seen or told.outcome}
                (self.report.verified if told.outcome == "done" else self.report.not_verified).append(check)
        read, not_read = read_through_proxies(self.group, topology)
        self.report.verified += [dict(vars(check)) for check in (*seen.verified, *read)]
        self.report.not_verified += [dict(vars(check)) for check in (*seen.not_verified, *not_read)]
        self.unfinished += [sentence for sentence in seen.wrong if not self._told_already(sentence)]
        sentences = [f"verified: {_by_place(self.report.verified)}"]
        for check in self.report.not_verified:
            sentences.append(f"not verified: {check['where']}: {check['what']}: {check['told']}")
        for line in (line for sentence in sentences for line in wrap(sentence, "", 2)):
            logger.info(f"    {line}")

    def _told_already(self, sentence: str) -> bool:
        return sentence.split(" ", 1)[0] in self.given_up

    def _again(self, host: Host, moved: bool = True) -> str:
        self.report.next_command = self._next(host, moved)
        return f"{'run this to finish' if moved else 'run this to try again'}: {self.report.next_command}"

    def _next(self, host: Host, moved: bool) -> str:
        named = self.plan.verb in ("switchover", "failover", "promote")
        to = self.plan.primary if named and self.committed and moved else None
        return command_line(host, self.group.name, {**dict(self.plan.again), **({} if to is None else {"to": to})})

    def _ends(
        self, host: Host, outcome: Outcome, sentence: str, *, code: str | None = None, where: str | None = None
    ) -> bool:
        """Let go of everything, tell the end, what is true now, and write it down; False, as a step that failed."""
        reached = [] if self.links is None else [name for name in self.links.clients if self._is_node(name)]
        self._close()
        self._signals.close()
        if self._shown is not None:
            self._shown.done()
        if self.task is not None and outcome in (Outcome.DONE, Outcome.FAILED_INCOMPLETE) and self.committed:
            traces.moved(self.group, self.plan, self.task)
        self.report.ends(outcome, sentence, code=code, where=where)
        if self.plan.verb not in PARTS:
            endings.tell(endings.OF_OUTCOMES[outcome])
        if outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO):
            logger.info(f"    {format_text(sentence, 'green')}")
        else:
            self._alarm(sentence)
            self._tell_now()
        finish(host, self.report, self.group, reached)
        return False

    def _tell_now(self) -> None:
        if not self.report.now and any(told.outcome != "not begun" for told in self.report.steps):
            topology = observe(self.group, silent=self.silent)
            self.report.observed(topology, list(truths(topology)))
        for sentence in self.report.now:
            logger.info(f"    now: {sentence}")

    def _is_node(self, name: str) -> bool:
        return any(node.name == name for node in self.group.nodes)

    def _close(self) -> None:
        """The lock dies with its connections."""
        if self.lock is not None:
            self.lock.release()
        if self.links is not None:
            self.links.close()


def same(now: Plan, shown: Plan) -> bool:
    """Whether two plans go the same way: the same steps on the same nodes (run ids and targets are in the steps).

    A step that is done by itself a moment later, as a proxy's check does it, makes no difference.
    """
    agrees = now.primary == shown.primary and now.former == shown.former
    return agrees and needed(now.steps) == needed(shown.steps)


def needed(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Those that aren't done by themselves a moment later."""
    return tuple(step for step in steps if not step.spare)


def _otherwise(answer: Answer) -> str:
    """What would have to be done now, in place of the rest of a plan."""
    if isinstance(answer, Plan):
        first = next(step for step in answer.steps if step.changes)
        return f"now the first thing to do is, on {first.where}: {first.sentence}"
    return str(answer)


def _briefly(answer: Answer) -> str:
    return "the group changes" if isinstance(answer, Plan) else f"{answer.code} {answer.where}"


def finish(host: Host, told: Report, group: Group, reached: list[str]) -> None:
    """Write a run's report where it was asked for, and its record."""
    document = told.document()
    report.write(host, document)
    record.record(document, group, reached)


def _by_place(checks: list[dict[str, str]]) -> str:
    """Checks by place, places with the same ones together: ``keydb-1, keydb-2: role, lineage``."""
    kinds: dict[str, list[str]] = {}
    for check in checks:
        kinds.setdefault(check["where"], []).append(check["what"])
    places: dict[str, list[str]] = {}
    for where, what in kinds.items():
        places.setdefault(", ".join(what), []).append(where)
    return "; ".join(f"{', '.join(where)}: {what}" for what, where in places.items()) or "nothing"

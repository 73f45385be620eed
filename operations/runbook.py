"""Runs a plan: observe, decide, act, verify, as one pyinfra operation.

One operation that yields its steps as commands is the only thing of which pyinfra keeps the order and that
stops at the first failure (pyinfra-facts, "Order and failure"). It belongs to one host, the conductor; the
steps reach every node and proxy of the group through links that are opened before the first of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from functools import partial
from typing import NoReturn
from weakref import WeakSet

import redis
from gevent import GreenletExit
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.output import format_text
from pyinfra.api.state import State

from keydb_runbooks.connectors.group import Group, GroupError, advised, all_groups, the_group
from keydb_runbooks.connectors.link import LinkError
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import lock, options
from keydb_runbooks.operations.options import option
from keydb_runbooks.operations.perform import Links, NotSaved, StepFailed, perform_step
from keydb_runbooks.operations.show import plan_lines
from keydb_runbooks.runbooks import founding
from keydb_runbooks.runbooks.plan import Answer, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.replication import InfoError
from keydb_runbooks.runbooks.steps import Step
from keydb_runbooks.runbooks.topology import Topology

Commands = Generator[PyinfraCommand, None, None]
Decide = Callable[[Topology], Answer]

_stopped: WeakSet[State] = WeakSet()


def conducts(host: Host, group: Group) -> bool:
    """Whether this host's run of the deploy file carries the runbook: the group's first host that is connected."""
    connected = [member for member in group.hosts if member.connected]
    return bool(connected) and connected[0].name == host.name


def chosen_group(host: Host) -> Group:
    """The group that ``--data group=...`` names, or the only one there is.

    :raises SystemExit: after every error of the inventory was printed
    """
    _check_options(host)
    wanted = option(host, "group")
    try:
        return the_group(host.inventory, None if wanted is None else str(wanted))
    except GroupError as error:
        stop(host, str(error))


def groups(host: Host) -> tuple[Group, ...]:
    """Every group of the inventory, or the one that ``--data group=...`` names.

    :raises SystemExit: after every error of the inventory was printed
    """
    if option(host, "group") is not None:
        return (chosen_group(host),)
    _check_options(host)
    try:
        return tuple(all_groups(host.inventory).values())
    except GroupError as error:
        stop(host, str(error))


def _check_options(host: Host) -> None:
    refused = list(options.refuse(host.inventory.override_data))
    if refused:
        stop(host, "\n    ".join(refused))


def _check_names(host: Host, group: Group, request: Request) -> None:
    members = tuple(member.name for member in group.hosts)
    refused = [
        *options.refuse_names("allow_unread", request.allow_unread, members),
        *options.refuse_names("accept_loss", request.accept_loss, members),
    ]
    if refused:
        stop(host, "\n    ".join(refused))


def advise(group: Group) -> None:
    """Tell a person what would be better; nothing depends on it."""
    for sentence in advised(group):
        logger.info(f"    {format_text(sentence, 'yellow')}")


def request_of(host: Host) -> Request:
    """What was asked for with ``--data``: to, allow_unread, accept_loss, accept_split."""
    to = option(host, "to")
    return Request(
        to=None if to is None else str(to),
        allow_unread=_names(option(host, "allow_unread")),
        accept_loss=_names(option(host, "accept_loss")),
        accept_split=yes_or_no(host, "accept_split"),
    )


def carry_out(host: Host, title: str, decide: Callable[[Topology, Request, int], Answer]) -> None:
    """The body of a role verb's deploy: on the conductor show the plan, and add the operation that runs it.

    :param decide: decides from the topology, the request and the group's ``min-replicas-to-write``
    :raises SystemExit: when the verb is refused; the refusal is printed and nothing was changed
    """
    group = chosen_group(host)
    if not conducts(host, group):
        return
    request = request_of(host)
    _check_names(host, group, request)
    min_replicas = int(group.nodes[0].data("keydb_min_replicas_to_write"))

    def decided(topology: Topology) -> Answer:
        return decide(topology, request, min_replicas)

    shown = decided(observe(group))
    show_answer(host, shown)
    if isinstance(shown, Plan):
        run(name=f"{title} of {group.name}", group=group, decide=decided, shown=shown)


def show_answer(host: Host, answer: Answer) -> None:
    """Print a plan, or that nothing has to be done.

    :raises SystemExit: after a refusal was printed
    """
    if isinstance(answer, Refusal):
        stop(host, str(answer))
    for line in plan_lines(answer) if isinstance(answer, Plan) else [str(answer)]:
        logger.info(f"    {line}")


def stop(host: Host, sentence: str) -> NoReturn:
    """Say why nothing is done, and end the whole run without a traceback.

    Every host runs the deploy file for itself: the first one speaks for all.
    """
    if host.state in _stopped:
        raise GreenletExit
    _stopped.add(host.state)
    logger.error(format_text(sentence, "red"))
    raise SystemExit(1)


@operation()
def found(group: Group) -> Commands:
    """Give a group its first primary if it never had one, and new empty nodes their place. It moves no role.

    + group: the nodes and proxies, see ``connectors.group``
    """
    min_replicas = int(group.nodes[0].data("keydb_min_replicas_to_write"))
    decide = partial(founding.plan, first_primary=group.first_primary, min_replicas=min_replicas)
    yield from run._inner(group, decide)


@operation()
def run(group: Group, decide: Decide, shown: Plan | None = None) -> Commands:
    """Observe again, refuse if the plan is no longer the one that was shown, then act and verify.

    + group: the nodes and proxies, see ``connectors.group``
    + decide: a pure function from a ``Topology`` to a ``Plan``, ``NothingToDo`` or ``Refusal``
    + shown: the plan that a person saw; without it the plan is made now and shown now
    """
    answer: Answer | None = shown
    if answer is None:
        answer = _decide_now(group, decide)
    if isinstance(answer, NothingToDo):
        logger.info(str(answer))
        return
    if isinstance(answer, Refusal):
        yield FunctionCommand(_tell_refusal, (answer,), {})
        return
    running = Run(group, answer)
    yield FunctionCommand(running.begin, (decide,), {})
    for number, _ in enumerate(answer.steps):
        yield FunctionCommand(running.step, (number,), {})
    yield FunctionCommand(running.end, (), {})


class Run:
    """One execution of a plan.

    Until the step that commits, the first failure stops the run, and what was done is undone. From then on clients wait
    for the rest, so one node that fails, a file that can't be written or a proxy that can't be told is left behind, and
    the run goes on with the others as long as the primary stands. What was left behind is told at the end.
    """

    def __init__(self, group: Group, plan: Plan) -> None:
        self.group = group
        self.plan = plan
        self.links: Links | None = None
        # A plan that moves no role has nothing to go back to.
        self.committed = not any(step.commits for step in plan.steps)
        self.changed = False
        self.given_up: set[str] = set()
        self.unfinished: list[str] = []
        self.identity = ""
        self.started = 0.0

    def begin(self, state: State, host: Host, decide: Decide) -> bool:
        """Open every link, lock out other operators, and look once more; nothing is changed yet."""
        self.started = time.monotonic()
        try:
            self.links = Links(self.group, {step.where for step in self.plan.steps})
            minority = yes_or_no(host, "accept_minority_lock")
            self.identity = lock.take(self.links.clients, len(self.group.nodes), self.plan.verb, minority)
        except StepFailed as error:
            return self._tell(host, f"failed and unchanged: {error}")
        except lock.LockRefused as error:
            return self._tell(host, f"refused: {error}")
        except (redis.RedisError, OSError) as error:
            return self._tell(host, f"failed and unchanged: the lock could not be taken: {error}")
        answer = _decide_now(self.group, decide)
        if isinstance(answer, Refusal):
            return self._tell(host, str(answer))
        if not isinstance(answer, Plan) or not same(answer, self.plan):
            told = "it changed since the plan was shown; nothing was changed: run this again and read the new plan"
            return self._tell(host, f"refused: plan-differs {self.plan.group}: {told}")
        return True

    def _tell(self, host: Host, sentence: str) -> bool:
        host.log_styled(sentence, fg="red", log_func=logger.error)
        if self.links is not None:
            self.links.close()
        return False

    def step(self, state: State, host: Host, number: int) -> bool:
        """Do one step and print it with its duration; if it fails, whether the run goes on all the same."""
        assert self.links is not None
        step, before = self.plan.steps[number], time.monotonic()
        place = f"{number + 1:>2}/{len(self.plan.steps)} {step.where:<10}"
        if step.where in self.given_up:
            logger.info(f"    {place} left out: {step.sentence}")
            return True
        self.committed = self.committed or step.commits
        self.changed = self.changed or step.changes
        try:
            seen = perform_step(step, self.links)
        except StepFailed as error:
            goes_on = self._goes_on(step, error)
            told = f"{place} {step.sentence}: {error}{'; the run goes on' if goes_on else ''}"
            host.log_styled(told, fg="red", log_func=logger.error)
            if not goes_on:
                self._give_up(host, number)
            return goes_on
        milliseconds = (time.monotonic() - before) * 1000
        logger.info(f"    {place} {milliseconds:7.1f} ms  {seen or step.sentence}")
        return True

    def end(self, state: State, host: Host) -> bool:
        """Say how it ended; what was left behind is a failure, though the role moved."""
        assert self.links is not None
        self.links.close()
        stands = f"{self.plan.primary} is the primary of {self.plan.group}"
        if self.unfinished:
            told = f"failed and incomplete: {stands}, but {'; '.join(self.unfinished)}. Mend that, then {self._again}"
            host.log_styled(told, fg="red", log_func=logger.error)
            return False
        seconds = time.monotonic() - self.started
        logger.info(f"    {format_text(f'done: {self.plan.verb} in {seconds:.2f} s; {stands}', 'green')}")
        return True

    @property
    def _again(self) -> str:
        to = f" (to={self.plan.primary})" if self.plan.verb in ("switchover", "failover") else ""
        return f"run {self.plan.verb} again{to} to finish"

    def _goes_on(self, step: Step, error: StepFailed) -> bool:
        """Whether the rest is done although a step failed, which is noted then."""
        if step.spare:
            return True
        if isinstance(error, NotSaved):
            self.unfinished.append(str(error))
            return True
        if not self.committed or step.where == self.plan.primary or not self._primary_stands():
            return False
        self.unfinished.append(str(error))
        self.given_up.add(step.where)
        return True

    def _primary_stands(self) -> bool:
        """Over the very link that holds the lock: whoever lost that changes nothing more."""
        assert self.links is not None
        try:
            return self.links.read(self.plan.primary).is_primary
        except (redis.RedisError, OSError, InfoError):
            return False

    def _give_up(self, host: Host, number: int) -> None:
        """Undo, or say what is true now and how to go on."""
        links = self.links
        assert links is not None
        if not self.changed:
            told = "failed and unchanged"
        elif not self.committed:
            undone = all([self._undo(step, links) for step in self.plan.undo])  # noqa: C419 - all are tried
            told = "failed and unchanged" if undone else "failed, and writes are still held back: run the verb again"
        else:
            told = f"failed and incomplete, {len(self.plan.steps) - number} steps are left: {self._again}"
        host.log_styled(told, fg="red", log_func=logger.error)
        links.close()

    def _undo(self, step: Step, links: Links) -> bool:
        for attempt in (1, 2):
            try:
                perform_step(step, links)
                return True
            except StepFailed:
                # The held link may be what broke; a fresh one is tried once, under the lock that the others still hold.
                if attempt == 1 and not self._reopen(step.where, links):
                    return False
        return False

    def _reopen(self, name: str, links: Links) -> bool:
        try:
            links.reopen(name)
            lock.take_again(links.clients, name, len(self.group.nodes), self.plan.verb, self.identity)
        except (LinkError, lock.LockRefused, redis.RedisError, OSError):
            return False
        return True


def same(now: Plan, shown: Plan) -> bool:
    """Whether two plans go the same way: the same steps on the same nodes (run ids and targets are in the steps)."""
    return now.steps == shown.steps and now.primary == shown.primary and now.former == shown.former


def _decide_now(group: Group, decide: Decide) -> Answer:
    return decide(observe(group))


def _tell_refusal(state: State, host: Host, refusal: Refusal) -> bool:
    host.log_styled(str(refusal), fg="red", log_func=logger.error)
    return False


def _names(value: object) -> frozenset[str]:
    if value in (None, False):
        return frozenset()
    if isinstance(value, list | tuple):
        return frozenset(map(str, value))
    return frozenset(part.strip() for part in str(value).split(",") if part.strip())


def yes_or_no(host: Host, key: str) -> bool:
    """What ``--data KEY=yes`` says, no without it.

    :raises SystemExit: after it was printed that the value is something else
    """
    words = {"yes": True, "true": True, "no": False, "false": False}
    given = option(host, key)
    value = "no" if given is None else str(given).lower()
    if value not in words:
        stop(host, options.refuse_value(key, value, ("yes", "no")))
    return words[value]


def one_of(host: Host, key: str, *words: str) -> str:
    """What ``--data KEY=`` says, one of these words, the first one without it.

    :raises SystemExit: after it was printed that the value is something else
    """
    given = option(host, key)
    value = words[0] if given is None else str(given)
    if value not in words:
        stop(host, options.refuse_value(key, value, words))
    return value

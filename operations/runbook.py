"""Runs a plan: observe, decide, act, verify, as one pyinfra operation.

One operation that yields its steps as commands is the only thing of which pyinfra keeps the order and that
stops at the first failure (pyinfra-facts, "Order and failure"). It belongs to one host, the conductor; the
steps reach every node and proxy of the group through links that are opened before the first of them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial

from pyinfra import host as pyinfra_host
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

import keydb_runbooks.operations.perform_clients
import keydb_runbooks.operations.perform_fence
import keydb_runbooks.operations.perform_members
import keydb_runbooks.operations.perform_restart
import keydb_runbooks.operations.perform_routes
import keydb_runbooks.operations.perform_service
import keydb_runbooks.operations.perform_sync
import keydb_runbooks.operations.perform_waits  # noqa: F401 - they add the steps that they perform
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import (  # noqa: F401 - some perform steps of their own
    asked,
    compare,
    endings,
    report,
    save,
    scope,
    traces,
)
from keydb_runbooks.operations.invocation import invocation
from keydb_runbooks.operations.perform import perform_step
from keydb_runbooks.operations.report import Report
from keydb_runbooks.operations.run import Decide, Run, finish
from keydb_runbooks.operations.show import nothing_lines, plan_lines, refusal_lines, wrap
from keydb_runbooks.runbooks import founding
from keydb_runbooks.runbooks.evidence import gather
from keydb_runbooks.runbooks.exit_codes import ExitCode
from keydb_runbooks.runbooks.plan import Answer, NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.replication import LINK_ALIVE_SECONDS
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.verified import truths

Commands = Generator[PyinfraCommand, None, None]

AGAIN_SECONDS = 0.1


def carry_out(
    host: Host,
    title: str,
    decide: Callable[[Topology, Request, int], Answer],
    *,
    named_by: str = "to",
) -> None:
    """The body of a role verb's deploy: on the conductor show the plan, and add the operation that runs it.

    :param decide: decides from the topology, the request and the group's ``min-replicas-to-write``
    :param named_by: the option that names the verb's node, ``to`` or ``node``; the other one is not taken
    :raises SystemExit: when the verb is refused; the refusal is printed and nothing was changed
    """
    group = scope.chosen_group(host)
    if not scope.conducts(host, group):
        return
    request = asked.request_for(host, group, title.lower(), named_by)
    min_replicas = int(group.nodes[0].data("keydb_min_replicas_to_write"))

    def decided(topology: Topology) -> Answer:
        return decide(topology, request, min_replicas)

    called = invocation()
    if not called.dry:
        report.forget_previous(host)
    told = report.begin(host, title.lower(), group.name)
    seen, shown = _look(group, decided)
    if isinstance(shown, Plan) and called.asks and not _can_answer():
        shown = Refusal(
            "no-answer-possible", group.name, "nobody can be asked: standard input is no terminal", "give -y"
        )
    if isinstance(shown, Plan) and not shown.evidence:
        shown = replace(shown, evidence=gather(seen, shown.former or shown.primary))
    if not isinstance(shown, Plan):
        told.answered(shown)
        told.observed(seen, list(truths(seen)))
        if not called.dry:
            finish(host, told, group, [])
    show_answer(host, shown)
    if isinstance(shown, Plan):
        silent = frozenset(node.name for node in seen.unread)
        run(name=f"{title} of {group.name}", group=group, decide=decided, shown=shown, silent=silent)


def _look(group: Group, decide: Decide) -> tuple[Topology, Answer]:
    """What is there, and what to do; where a moment may tell more it is looked at for that long."""
    seen = observe(group)
    answer = decide(seen)
    if isinstance(answer, Refusal) and answer.passing:
        logger.info(f"    {answer.where}: {answer.sentence}; looking again for {LINK_ALIVE_SECONDS} s")
    began = time.monotonic()
    while isinstance(answer, Refusal) and answer.passing and time.monotonic() - began < LINK_ALIVE_SECONDS:
        time.sleep(AGAIN_SECONDS)
        seen = observe(group, LINK_ALIVE_SECONDS)
        answer = decide(seen)
    return seen, answer


def _can_answer() -> bool:
    """Whether somebody sits there who can press Enter."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def show_answer(host: Host, answer: Answer) -> None:
    """Print a plan, or that nothing has to be done.

    :raises SystemExit: after a refusal was printed
    """
    if isinstance(answer, Refusal):
        endings.stop(host, "\n    ".join(refusal_lines(answer)), ExitCode.REFUSED)
    if isinstance(answer, NothingToDo) or invocation().dry:
        endings.tell(ExitCode.DONE)
    for line in plan_lines(answer) if isinstance(answer, Plan) else nothing_lines(answer):
        logger.info(f"    {line}")


@operation()
def found(group: Group, accept_split: bool = False) -> Commands:
    """Give a group its first primary if it never had one, and new empty nodes their place. It moves no role.

    + group: the nodes and proxies, see ``connectors.group``
    + accept_split: found it although servers of pods that are gone may run on
    """
    decide = partial(
        founding.plan,
        first_primary=group.first_primary,
        min_replicas=int(group.nodes[0].data("keydb_min_replicas_to_write")),
        # This run leaves a trace of its own in a moment.
        before=traces.before(group),
        accept_split=accept_split,
    )
    yield from run._inner(group, decide, warns=True)


@operation()
def run(
    group: Group,
    decide: Decide,
    shown: Plan | None = None,
    silent: frozenset[str] = frozenset(),
    warns: bool = False,
) -> Commands:
    """Observe again, refuse if the plan is no longer the one that was shown, then act and verify.

    + group: the nodes and proxies, see ``connectors.group``
    + decide: a pure function from a ``Topology`` to a ``Plan``, ``NothingToDo`` or ``Refusal``
    + shown: the plan that a person saw; without it the plan is made now and shown now
    + silent: names of the nodes that did not answer when that plan was made
    + warns: whether the plan's warnings are told, where nobody was shown it
    """
    answer: Answer = decide(observe(group)) if shown is None else shown
    if isinstance(answer, NothingToDo):
        logger.info(str(answer))
        return
    verb = answer.verb if isinstance(answer, Plan) else "install"
    told = report.begin(pyinfra_host, verb, group.name)
    if isinstance(answer, Refusal):
        yield FunctionCommand(_tell_refusal, (told, answer, group), {})
        return
    if warns and answer.warnings:
        yield FunctionCommand(_warn, (answer,), {})
    running = Run(group, answer, told, perform_step, silent)
    yield FunctionCommand(running.begin, (decide,), {})
    for number, _ in enumerate(answer.steps):
        yield FunctionCommand(running.step, (number,), {})
    yield FunctionCommand(running.end, (), {})


def _warn(state: State, host: Host, plan: Plan) -> bool:
    for warning in plan.warnings:
        for line in wrap(f"notice: {warning}", "", 2):
            logger.info(f"    {line}")
    return True


def _tell_refusal(state: State, host: Host, told: Report, refusal: Refusal, group: Group) -> bool:
    host.log_styled(str(refusal), fg="red", log_func=logger.error)
    told.answered(refusal)
    finish(host, told, group, [])
    return False

"""Runs a plan: observe, decide, act, verify, as one pyinfra operation.

One operation that yields its steps as commands is the only thing of which pyinfra keeps the order and that
stops at the first failure (pyinfra-facts, "Order and failure"). It belongs to one host, the conductor; the
steps reach every node and proxy of the group through links that are opened before the first of them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import NoReturn
from weakref import WeakSet

from gevent import GreenletExit
from pyinfra import host as pyinfra_host
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.output import format_text
from pyinfra.api.state import State

import keydb_runbooks.operations.perform_fence
import keydb_runbooks.operations.perform_members
import keydb_runbooks.operations.perform_restart
import keydb_runbooks.operations.perform_routes
import keydb_runbooks.operations.perform_service
import keydb_runbooks.operations.perform_waits  # noqa: F401 - they add the steps that they perform
from keydb_runbooks.connectors.group import Group, GroupError, advised, all_groups, the_group
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import beginning, compare, endings, options, report, save  # noqa: F401 - some perform steps of their own
from keydb_runbooks.operations.invocation import invocation
from keydb_runbooks.operations.options import option
from keydb_runbooks.operations.perform import perform_step
from keydb_runbooks.operations.report import Report
from keydb_runbooks.operations.run import Decide, Run, finish
from keydb_runbooks.operations.show import nothing_lines, plan_lines, refusal_lines, wrap
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks import add_node, founding, remove_node, rolling
from keydb_runbooks.runbooks.checks import codes_that_can_be_accepted
from keydb_runbooks.runbooks.exit_codes import ExitCode
from keydb_runbooks.runbooks.plan import CATCH_UP_TIMEOUT_SECONDS, Answer, NothingToDo, Plan, Refusal, Request, Since
from keydb_runbooks.runbooks.replication import LINK_ALIVE_SECONDS, is_number
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.verified import truths

Commands = Generator[PyinfraCommand, None, None]

AGAIN_SECONDS = 0.1
LONGEST_CATCH_UP_SECONDS = 86_400.0

ACCEPTED = (*codes_that_can_be_accepted(), *rolling.CODES, *add_node.CODES, *remove_node.CODES)
"""What ``accept=`` may name."""

_stopped: WeakSet[State] = WeakSet()


def conducts(host: Host, group: Group) -> bool:
    """Whether this host's run of the deploy file carries the runbook: the group's first host that is connected."""
    connected = [member for member in group.hosts if member.connected]
    return bool(connected) and connected[0].name == host.name


def speaks_for_all(host: Host) -> bool:
    """Whether this host's run of the deploy file looks at all groups: every machine of one may be off."""
    return host.name == next(member.name for member in host.inventory if member.connected)


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


def refuse_mixture(host: Host, verb: str) -> None:
    """Say that a verb works on groups that are on pods or on machines, and on none that is on both.

    :raises SystemExit: if there is one
    """
    for group in groups(host):
        on_pods = {member.name: issubclass(member.connector_cls, KubernetesConnector) for member in group.hosts}
        if len(set(on_pods.values())) > 1:
            names = ", ".join(name for name, is_pod in on_pods.items() if is_pod)
            stop(host, f"refused: {verb} takes groups on pods or on machines: of {group.name} only {names} are pods")


def refuse_rotation(host: Host, verb: str) -> None:
    """Say that a verb which writes the new passwords alone has to wait until a rotation is over (docs/rotate.md).

    :raises SystemExit: if a user of the groups that it would work on has a previous password
    """
    nodes = [node for group in groups(host) for node in group.nodes]
    roles = [role for role in ACL if any(node.previous(role) for node in nodes)]
    if roles:
        told = f"refused: previous-passwords {' and '.join(roles)}: {verb} would take the old passwords away at once"
        hint = "run rotate with finish=yes, then take previous out of the inventory"
        stop(host, f"{told}; {hint}", ExitCode.REFUSED)


def refuse_adopted(host: Host, verb: str, *, servers: bool = False) -> None:
    """Say that a verb which writes HAProxy's file leaves somebody else's alone (docs/adopt.md).

    :param servers: whether it can't work on servers either that somebody else installed
    :raises SystemExit: if there is one among those it would work on
    """
    entries = [proxy for group in groups(host) for proxy in group.proxies if proxy.adopted]
    nodes = [node for group in groups(host) for node in group.nodes if servers and node.adopted]
    if names := [*(node.name for node in nodes), *(proxy.name for proxy in entries)]:
        told = f"refused: adopted {' and '.join(names)}: somebody else installed what {verb} would change"
        stop(host, f"{told}; do it by hand, docs/adopt.md tells how", ExitCode.REFUSED)


def _check_options(host: Host) -> None:
    # In a project of somebody else no config.py did so.
    beginning.listen()
    refused = list(options.refuse(host.inventory.override_data))
    if (place := option(host, "report")) and (told := report.refuse_place(place)):
        refused.append(told)
    if refused:
        stop(host, "\n    ".join(refused))


def _check_names(host: Host, group: Group, request: Request) -> None:
    members = (*(host.name for host in group.hosts), *(service.name for service in group.services))
    refused = [
        *options.refuse_names("allow_unread", request.allow_unread, members),
        *options.refuse_names("accept_loss", request.accept_loss, members),
        *options.refuse_codes("accept", request.accept, ACCEPTED),
        *filter(None, [options.refuse_loss_of(request.to, request.accept_loss)]),
    ]
    if refused:
        stop(host, "\n    ".join(refused))


def advise(group: Group) -> None:
    """Tell a person what would be better; nothing depends on it."""
    for line in (line for sentence in advised(group) for line in wrap(sentence, "", 2)):
        logger.info(f"    {format_text(line, 'yellow')}")


def request_of(host: Host) -> Request:
    """What was asked for with ``--data``, each option of ``Request``.

    :raises SystemExit: after it was printed that a value is not allowed
    """
    yes_or_no(host, "accept_minority_lock")
    lag = option(host, "allow_lag")
    if lag is not None and options.size(lag) is None:
        stop(host, f"--data allow_lag={lag}: is no size; allowed are a number of bytes, or one with k, kb, m or mb")
    return Request(
        to=_optional(option(host, "to")),
        allow_unread=_names(option(host, "allow_unread")),
        accept_loss=_names(option(host, "accept_loss")),
        accept_split=yes_or_no(host, "accept_split"),
        catch_up_timeout=seconds(host, "catch_up_timeout", CATCH_UP_TIMEOUT_SECONDS, LONGEST_CATCH_UP_SECONDS),
        node=_optional(option(host, "node")),
        allow_lag=None if lag is None else options.size(lag),
        accept=_names(option(host, "accept")),
        save=one_of(host, "save", "node", "fetch", "no"),
        save_to=str(option(host, "save_to") or Request.save_to),
        compare=one_of(host, "compare", "yes", "no") == "yes",
        listed=whole_number(host, "listed", Request.listed),
        since=moment(host, "since"),
        keep=count(host, "keep"),
        keep_days=count(host, "keep_days"),
        accept_replace=yes_or_no(host, "accept_replace"),
        accept_again=yes_or_no(host, "accept_again"),
    )


def request_for(host: Host, group: Group, verb: str, named_by: str) -> Request:
    """The same for a verb of one group, whose names are checked too.

    :param named_by: the option that names the verb's node, ``to`` or ``node``; the other one is not taken
    :raises SystemExit: after it was printed what is not allowed
    """
    request = request_of(host)
    _check_names(host, group, request)
    if refused := options.refuse_other_name(verb, named_by, {"to": request.to, "node": request.node}):
        stop(host, refused)
    return request


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
    group = chosen_group(host)
    if not conducts(host, group):
        return
    request = request_for(host, group, title.lower(), named_by)
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
        stop(host, "\n    ".join(refusal_lines(answer)), ExitCode.REFUSED)
    if isinstance(answer, NothingToDo) or invocation().dry:
        endings.tell(ExitCode.DONE)
    for line in plan_lines(answer) if isinstance(answer, Plan) else nothing_lines(answer):
        logger.info(f"    {line}")


def stop(host: Host, sentence: str, code: ExitCode = ExitCode.USAGE) -> NoReturn:
    """Say why nothing is done, and end the whole run without a traceback.

    :param code: what ``keydb-runbooks`` exits with; pyinfra exits with 1

    Every host runs the deploy file for itself: the first one speaks for all.
    """
    if host.state in _stopped:
        raise GreenletExit
    _stopped.add(host.state)
    endings.tell(code)
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
def run(group: Group, decide: Decide, shown: Plan | None = None, silent: frozenset[str] = frozenset()) -> Commands:
    """Observe again, refuse if the plan is no longer the one that was shown, then act and verify.

    + group: the nodes and proxies, see ``connectors.group``
    + decide: a pure function from a ``Topology`` to a ``Plan``, ``NothingToDo`` or ``Refusal``
    + shown: the plan that a person saw; without it the plan is made now and shown now
    + silent: names of the nodes that did not answer when that plan was made
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
    running = Run(group, answer, told, perform_step, silent)
    yield FunctionCommand(running.begin, (decide,), {})
    for number, _ in enumerate(answer.steps):
        yield FunctionCommand(running.step, (number,), {})
    yield FunctionCommand(running.end, (), {})


def _tell_refusal(state: State, host: Host, told: Report, refusal: Refusal, group: Group) -> bool:
    host.log_styled(str(refusal), fg="red", log_func=logger.error)
    told.answered(refusal)
    finish(host, told, group, [])
    return False


def _optional(value: object) -> str | None:
    return None if value is None else str(value)


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


def seconds(host: Host, key: str, default: float, largest: float) -> float:
    """What ``--data KEY=`` says in seconds, above 0 and at most ``largest``.

    :raises SystemExit: after it was printed that the value is something else
    """
    given = option(host, key)
    try:
        value = default if given is None else float(str(given))
    except ValueError:
        value = 0.0
    if not 0 < value <= largest:
        stop(host, f"--data {key}={given}: allowed are seconds above 0, {largest:,.0f} at most")
    return value


def one_of(host: Host, key: str, *words: str) -> str:
    """What ``--data KEY=`` says, one of these words, the first one without it.

    :raises SystemExit: after it was printed that the value is something else
    """
    given = option(host, key)
    value = words[0] if given is None else str(given)
    if value not in words:
        stop(host, options.refuse_value(key, value, words))
    return value


def moment(host: Host, key: str) -> Since | None:
    """The moment that stands behind ``--data KEY=``, None without it.

    :raises SystemExit: after it was printed that the value is none
    """
    given = option(host, key)
    if given is None:
        return None
    seconds = options.seconds_of(given)
    if seconds is None:
        stop(host, f"--data {key}={given}: is no moment; allowed is UTC as in {options.written(time.time())}")
    return Since(seconds, options.written(seconds))


def count(host: Host, key: str) -> int | None:
    """The number above 0 that stands behind ``--data KEY=``, None without it.

    :raises SystemExit: after it was printed that the value is something else
    """
    number = whole_number(host, key, 1)
    if number < 1:
        stop(host, f"--data {key}={number}: allowed are whole numbers above 0")
    return None if option(host, key) is None else number


def whole_number(host: Host, key: str, without: int) -> int:
    """The number that stands behind ``--data KEY=``, ``without`` it another one.

    :raises SystemExit: after it was printed that the value is something else
    """
    given = option(host, key)
    if given is None:
        return without
    if not is_number(str(given)):
        stop(host, f"--data {key}={given}: allowed are whole numbers")
    return int(str(given))

"""What a person asked a verb for with ``--data``: each option as the value that it stands for."""

from __future__ import annotations

import time

from pyinfra.api.host import Host

from keydb_runbooks.connectors.group import Group
from keydb_runbooks.operations import endings, options
from keydb_runbooks.operations.options import option
from keydb_runbooks.runbooks import add_node, remove_node, rolling
from keydb_runbooks.runbooks.checks import codes_that_can_be_accepted
from keydb_runbooks.runbooks.plan import CATCH_UP_TIMEOUT_SECONDS, Request, Since
from keydb_runbooks.runbooks.replication import is_number

LONGEST_CATCH_UP_SECONDS = 86_400.0

ACCEPTED = (*codes_that_can_be_accepted(), *rolling.CODES, *add_node.CODES, *remove_node.CODES)
"""What ``accept=`` may name."""


def request_of(host: Host) -> Request:
    """What was asked for with ``--data``, each option of ``Request``.

    :raises SystemExit: after it was printed that a value is not allowed
    """
    yes_or_no(host, "accept_minority_lock")
    lag = option(host, "allow_lag")
    if lag is not None and options.size(lag) is None:
        endings.stop(
            host, f"--data allow_lag={lag}: is no size; allowed are a number of bytes, or one with k, kb, m or mb"
        )
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
        endings.stop(host, refused)
    return request


def _check_names(host: Host, group: Group, request: Request) -> None:
    members = (*(host.name for host in group.hosts), *(service.name for service in group.services))
    refused = [
        *options.refuse_names("allow_unread", request.allow_unread, members),
        *options.refuse_names("accept_loss", request.accept_loss, members),
        *options.refuse_codes("accept", request.accept, ACCEPTED),
        *filter(None, [options.refuse_loss_of(request.to, request.accept_loss)]),
    ]
    if refused:
        endings.stop(host, "\n    ".join(refused))


def yes_or_no(host: Host, key: str) -> bool:
    """What ``--data KEY=yes`` says, no without it.

    :raises SystemExit: after it was printed that the value is something else
    """
    words = {"yes": True, "true": True, "no": False, "false": False}
    given = option(host, key)
    value = "no" if given is None else str(given).lower()
    if value not in words:
        endings.stop(host, options.refuse_value(key, value, ("yes", "no")))
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
        endings.stop(host, f"--data {key}={given}: allowed are seconds above 0, {largest:,.0f} at most")
    return value


def one_of(host: Host, key: str, *words: str) -> str:
    """What ``--data KEY=`` says, one of these words, the first one without it.

    :raises SystemExit: after it was printed that the value is something else
    """
    given = option(host, key)
    value = words[0] if given is None else str(given)
    if value not in words:
        endings.stop(host, options.refuse_value(key, value, words))
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
        endings.stop(host, f"--data {key}={given}: is no moment; allowed is UTC as in {options.written(time.time())}")
    return Since(seconds, options.written(seconds))


def count(host: Host, key: str) -> int | None:
    """The number above 0 that stands behind ``--data KEY=``, None without it.

    :raises SystemExit: after it was printed that the value is something else
    """
    number = whole_number(host, key, 1)
    if number < 1:
        endings.stop(host, f"--data {key}={number}: allowed are whole numbers above 0")
    return None if option(host, key) is None else number


def whole_number(host: Host, key: str, without: int) -> int:
    """The number that stands behind ``--data KEY=``, ``without`` it another one.

    :raises SystemExit: after it was printed that the value is something else
    """
    given = option(host, key)
    if given is None:
        return without
    if not is_number(str(given)):
        endings.stop(host, f"--data {key}={given}: allowed are whole numbers")
    return int(str(given))


def _optional(value: object) -> str | None:
    return None if value is None else str(value)


def _names(value: object) -> frozenset[str]:
    if value in (None, False):
        return frozenset()
    if isinstance(value, list | tuple):
        return frozenset(map(str, value))
    return frozenset(part.strip() for part in str(value).split(",") if part.strip())

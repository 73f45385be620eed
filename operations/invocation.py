"""The command line that began this run: what it named, whether it asks, and the same again with other options."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pyinfra
from pyinfra.api.host import Host

from keydb_runbooks.operations import options

called_as: tuple[str, ...] = ()
"""The words before the options, if it was ``keydb-runbooks`` that began this run."""


@dataclass(frozen=True)
class Invocation:
    """``pyinfra INVENTORY DEPLOY``; both unknown when somebody's own program runs this.

    ``asks`` is whether a person will be asked before anything is done.
    """

    inventory: str = "INVENTORY"
    deploy: str = "DEPLOY"
    dry: bool = False
    asks: bool = False


def invocation() -> Invocation:
    """What this process was started with."""
    if not pyinfra.is_cli:
        return Invocation()
    from pyinfra_cli.cli import cli

    # Parsed as pyinfra does it, without doing anything.
    given = cli.make_context("pyinfra", list(sys.argv[1:]), resilient_parsing=True).params
    deploys = given.get("operations") or ()
    dry, yes, as_json = (bool(given.get(name)) for name in ("dry", "yes", "json_output"))
    return Invocation(
        inventory=str(given.get("inventory") or Invocation.inventory),
        deploy=str(deploys[0] if deploys else Invocation.deploy),
        dry=dry,
        asks=not (dry or yes or as_json),
    )


def command_line(host: Host, group: str, changes: Mapping[str, str]) -> str:
    """The command that does the same again, to be pasted: its own options only, so no secret can be among them.

    :param group: is always named
    :param changes: options that are given instead of those of this run
    """
    called = invocation()
    given = {key: str(value) for key, value in host.inventory.override_data.items() if key in options.OPTIONS}
    began = called_as or ("pyinfra", called.inventory, called.deploy)
    words = _with_options(began, {**given, "group": group, **changes})
    return shlex.join([*words, "-y"] if not called.asks else words)


def command_of(verb: str, changes: Mapping[str, str]) -> str:
    """The command that does something else on the same inventory, to be pasted.

    :param changes: its options
    """
    called = invocation()
    beside = str(PurePath(called.deploy).with_name(f"{verb}.py"))
    words = (*called_as[:-1], verb) if called_as else ("pyinfra", called.inventory, beside)
    return shlex.join(_with_options(words, changes))


def _with_options(words: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """A command's words with its options, as whatever it calls takes them."""
    before = [] if called_as else ["--data"]
    return [*words, *(word for key, value in given.items() for word in (*before, f"{key}={value}"))]

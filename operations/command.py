"""The command ``keydb-runbooks``: the same deploys under pyinfra, with an exit code for each kind of end.

keydb-runbooks inventories/sandbox.py switchover to=keydb-2 -y
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_state
from pyinfra_cli import main as pyinfra_main
from pyinfra_cli.cli import cli as pyinfra_cli

from keydb_runbooks.operations import endings, invocation
from keydb_runbooks.runbooks.exit_codes import Ending, ExitCode, exit_code
from keydb_runbooks.schemas.nearest import did_you_mean

DEPLOYS = Path("deploys")

HELP = """Run a verb: deploys/VERB.py under pyinfra, which gets all other words. NAME=VALUE is --data NAME=VALUE.

\b
keydb-runbooks inventories/prod.py status
keydb-runbooks inventories/prod.py switchover to=keydb-2 --dry
keydb-runbooks inventories/prod.py failover -y

\b
Exit codes (docs/runs.md):
  0  done, or nothing to do        4  failed, and nothing was changed
  1  failed and incomplete         5  drift was found
  2  wrong usage or inventory      6  somebody could not be reached
  3  refused: nothing was changed
"""


@click.command(help=HELP, context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.argument("inventory")
@click.argument("verb")
@click.argument("words", metavar="[NAME=VALUE | PYINFRA'S OPTION]...", nargs=-1, type=click.UNPROCESSED)
def command(inventory: str, verb: str, words: tuple[str, ...]) -> None:
    """Read the command line and run the verb."""
    raise SystemExit(run(inventory, _deploy(verb), [*_as_pyinfra(words)], verb))


def _deploy(verb: str) -> str:
    """:raises click.UsageError: if there is no such verb here"""
    there = sorted(path.stem for path in DEPLOYS.glob("*.py"))
    if not there:
        raise click.UsageError(f"there is no {DEPLOYS}/ in {Path.cwd()}: go to the folder of keydb-runbooks")
    if verb not in there:
        raise click.UsageError(f"{verb} is no verb{did_you_mean(verb, there) or '.'} There are {', '.join(there)}")
    return str(DEPLOYS / f"{verb}.py")


def _as_pyinfra(words: Sequence[str]) -> Iterator[str]:
    """The words with ``--data`` before each NAME=VALUE that is not the value of one of pyinfra's options already."""
    options = [option for option in pyinfra_cli.params if isinstance(option, click.Option)]
    with_value = {name for option in options if not (option.is_flag or option.count) for name in option.opts}
    previous = ""
    for word in words:
        if previous not in with_value and re.match(r"\w+=", word):
            yield "--data"
        yield word
        previous = word


def run(inventory: str, deploy: str, words: list[str], verb: str) -> ExitCode:
    """Run pyinfra in this process, and tell how it ended."""
    sys.argv = ["pyinfra", inventory, deploy, *words]
    invocation.called_as = ("keydb-runbooks", inventory, verb)
    try:
        pyinfra_main.main()
        code: object = 0
    except SystemExit as ended:
        code = ended.code
    return exit_code(endings.told(), _ending(code))


def _ending(code: object) -> Ending:
    state = ctx_state.get() if ctx_state.isset() and ctx_state.get().initialised else None
    failed = set() if state is None else set(state.failed_hosts)
    reached = set() if state is None else set(state.activated_hosts)
    return Ending(
        code=code if isinstance(code, int) else int(code is not None),
        dry=invocation.invocation().dry,
        reached=bool(reached),
        executed=state is not None and state.current_stage >= StateStage.Execute,
        failed=bool(failed & reached),
        unreached=bool(failed - reached),
    )


def main() -> None:
    """What the command is."""
    command.main(prog_name="keydb-runbooks")

"""What a server's own warnings at its start ask of the kernel, set now and at each boot.

Huge pages are no matter of the machine's: every server that verbs know switches them off for its own process
(``disable-thp``, on by default). One that was told not to, as one that is adopted may be, is told of.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from weakref import WeakKeyDictionary

from pyinfra import host, logger
from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.output import format_text
from pyinfra.api.state import State

from keydb_runbooks.connectors.ahead import Question, answer
from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.kernel import HugePages, KernelSettings, Setting
from keydb_runbooks.operations.files import READABLE, put_file
from keydb_runbooks.operations.show import wrap

PATH = "/etc/sysctl.d/60-keydb-runbooks.conf"

OVERCOMMIT = "vm.overcommit_memory"
CONNECTIONS = "net.core.somaxconn"
WANTED = {OVERCOMMIT: 1, CONNECTIONS: 4096}
LEAST_CONNECTIONS = 511
"""The servers' own ``tcp-backlog``; they warn if the kernel has less."""

HARM = {
    OVERCOMMIT: "a save or a full resync may fail for lack of memory",
    CONNECTIONS: "many clients that connect at once may wait",
}

# Each argument is a setting and its value, NAME=VALUE.
SET = """
for pair; do
    echo "${pair#*=}" >"/proc/sys/$(echo "${pair%%=*}" | tr . /)" || exit 1
done
"""

SETTINGS: Question = (KernelSettings, {"file": PATH, "names": list(WANTED)})
"""What a machine is asked for."""

_seen: WeakKeyDictionary[State, dict[str, Mapping[str, Setting]]] = WeakKeyDictionary()
"""What was advised by, for the operation that comes next."""


@operation()
def settings() -> Generator[PyinfraCommand, None, None]:
    """Let the kernel be as the server asks in its warnings; what is good enough stays as it is.

    **Example:**

    .. code:: python

        kernel.settings(name="Let the kernel be as servers ask")
    """
    seen = _seen.get(host.state, {}).pop(host.name, None) or answer(host, SETTINGS)
    if seen is None:
        raise OperationError(f"{host.name}: its kernel's settings can't be read; look at /proc/sys there")
    now = {name: WANTED[name] for name in lacking(seen) if seen[name]["writable"]}
    kept = {name: WANTED[name] for name, setting in seen.items() if name in now or setting["kept"]}
    changes = list(put_file(host, PATH, text(kept), access=READABLE)) if kept else []
    yield from changes
    if now:
        yield script(SET, *(f"{name}={value}" for name, value in now.items()))
    if not changes and not now:
        host.noop("the kernel is as the server asks, or can't be changed")


def text(kept: Mapping[str, int]) -> str:
    """The text of sysctl's file."""
    lines = ["# Written by keydb-runbooks: what the server asks for in its warnings at its start."]
    return "\n".join([*lines, *(f"{name} = {value}" for name, value in kept.items()), ""])


def lacking(seen: Mapping[str, Setting]) -> Iterator[str]:
    """The settings that a server would warn of (upstream, ``linuxMemoryWarnings`` and ``checkTcpBacklogSettings``)."""
    if OVERCOMMIT in seen and seen[OVERCOMMIT]["value"] == 0:
        yield OVERCOMMIT
    if CONNECTIONS in seen and seen[CONNECTIONS]["value"] < LEAST_CONNECTIONS:
        yield CONNECTIONS


def advise(target: Host) -> None:
    """Tell a person what the machine itself can't change, as a container can't; nothing depends on it."""
    seen = answer(target, SETTINGS) or {}
    _seen.setdefault(target.state, {})[target.name] = seen
    for name in lacking(seen):
        if not seen[name]["writable"]:
            told = f"{target.name}: {name} is {seen[name]['value']}, and can't be changed from here: {HARM[name]}"
            _tell(f"{told}; set it to {WANTED[name]} on the machine that this one runs on")


def huge_pages_of(entry: NodeEntry) -> Question:
    """What a machine is asked for to tell whether its server runs on huge pages."""
    return HugePages, {"pid_file": entry.data("keydb_pid_file")}


def advise_huge_pages(entry: NodeEntry) -> None:
    """Tell a person of a server that kept huge pages: that takes a restart, and is its owner's to decide."""
    if answer(entry.host, huge_pages_of(entry)):
        told = f"{entry.name}: its server runs on huge pages: behind a fork, as for a save, each write copies 2 MB"
        _tell(f"{told}; set disable-thp yes in {entry.config_file}, then run restart")


def _tell(sentence: str) -> None:
    for line in wrap(sentence, "", 2):
        logger.info(f"    {format_text(line, 'yellow')}")

"""systemd's units of a node and of a proxy: a drop-in beside the package's unit, or beside one of our own without any.

A vendor's file is never edited. What is running goes on: systemd applies what changed when a unit starts the next time.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import FunctionCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.ahead import Question, answer
from keydb_runbooks.connectors.group import NodeEntry, ProxyEntry
from keydb_runbooks.facts.unit import Started, Unit, UnitStart
from keydb_runbooks.facts.unit import State as UnitState
from keydb_runbooks.operations import boot_guard, haproxy, keydb, owners, systemctl
from keydb_runbooks.operations.files import OURS, READABLE, put_file, read_file, seen_ahead
from keydb_runbooks.operations.service import guard_settings, guard_unit, proxy_unit, server_unit
from keydb_runbooks.templates import render

Commands = Generator[PyinfraCommand, None, None]

DIRECTORY = "/etc/systemd/system"


@operation()
def server(program: str) -> Commands:
    """Let systemd start this node's server, guarded, now and with the machine, and its boot guard behind it.

    + program: path of the server's program

    **Example:**

    .. code:: python

        units.server(name="Let systemd start the server", program="/usr/bin/keydb-server")
    """
    entry = keydb.this_node(host)
    unit = server_unit(entry)
    state = _ask(unit)
    packaged = entry.adopted or bool(entry.data("keydb_package")) or _is_packaged(unit, state)
    wanted = wanted_for_server(entry, program)
    yield from _installed(unit, state, wanted, packaged=packaged, kept=entry.adopted)


@operation()
def proxy(program: str) -> Commands:
    """Let systemd start this proxy's HAProxy, now and with the machine.

    + program: path of HAProxy's program

    **Example:**

    .. code:: python

        units.proxy(name="Let systemd start the proxy", program="/usr/sbin/haproxy")
    """
    _, entry = haproxy.this_proxy(host)
    unit = proxy_unit(entry)
    state = _ask(unit)
    packaged = bool(entry.data("haproxy_package")) or _is_packaged(unit, state)
    wanted = wanted_for_proxy(entry, program, packaged=packaged)
    yield from _installed(unit, state, wanted, packaged=packaged)


def wanted_for_server(entry: NodeEntry, program: str) -> dict[str, str]:
    """The text of each file."""
    config = keydb.config_path(entry)
    names = {"unit": server_unit(entry), "guard_unit": guard_unit(entry)}
    files = {"guard": boot_guard.script_path(entry), "guard_settings": guard_settings(entry), "config": config}
    own, beside, guard = paths(entry)
    guard_text = render("server-guard.service.j2", **names, **files)
    if entry.adopted:
        arguments = _arguments(entry)
        return {
            beside: render("server-adopted.conf.j2", **names, **files, program=program, arguments=arguments),
            guard: guard_text,
        }
    drop_in = render(
        "server-unit.conf.j2",
        **names,
        **files,
        engine=entry.data("keydb_engine"),
        program=program,
        owner=owners.system_owner(entry),
        data_directory=entry.data("keydb_data_directory"),
        runtime_directory=_below_run(entry.data("keydb_pid_file")),
        written=_written(entry),
    )
    return {
        own: render("server.service.j2", engine=entry.data("keydb_engine"), **names),
        beside: drop_in,
        guard: guard_text,
    }


def paths(entry: NodeEntry) -> tuple[str, str, str]:
    """The unit's own file, ours beside it, and the guard's unit."""
    own = f"{DIRECTORY}/{server_unit(entry)}"
    return own, f"{own}.d/keydb-runbooks.conf", f"{DIRECTORY}/{guard_unit(entry)}"


def _arguments(entry: NodeEntry) -> list[str]:
    """What somebody else's unit gives to the server's program, which stays as it is.

    :raises OperationError: if systemd does not tell
    """
    started: Started | None = entry.host.get_fact(UnitStart, unit=server_unit(entry))
    if started is None or not started["command"]:
        raise OperationError(f"{entry.name}: {server_unit(entry)} does not say how it starts the server")
    return started["command"][1:]


def drop_in(entry: NodeEntry, program: str) -> tuple[str, str]:
    """Path and text of the file that names a server's program."""
    _, path, _ = paths(entry)
    return path, wanted_for_server(entry, program)[path]


def wanted_for_proxy(entry: ProxyEntry, program: str, *, packaged: bool) -> dict[str, str]:
    """The text of each file.

    :param packaged: whether a package brought the unit; it runs as that says, unless the inventory names a program
    """
    drop_in = render(
        "proxy-unit.conf.j2",
        packaged=packaged and not entry.data("haproxy_program"),
        program=program,
        config=haproxy.config_path(entry),
        pid_file=entry.data("haproxy_pid_file"),
        runtime_directory=_below_run(entry.data("haproxy_runtime_socket")),
        max_connections=entry.data("haproxy_max_connections"),
    )
    return {
        f"{DIRECTORY}/{proxy_unit(entry)}": render("proxy.service.j2", unit=proxy_unit(entry)),
        f"{DIRECTORY}/{proxy_unit(entry)}.d/keydb-runbooks.conf": drop_in,
    }


def paths_of_proxy(entry: ProxyEntry) -> tuple[str, str]:
    """The unit's own file, and ours beside it."""
    own = f"{DIRECTORY}/{proxy_unit(entry)}"
    return own, f"{own}.d/keydb-runbooks.conf"


def _installed(
    unit: str, state: UnitState, wanted: Mapping[str, str], *, packaged: bool, kept: bool = False
) -> Commands:
    """
    :param packaged: whether a package brought the unit, or will have by then; its own file is left alone
    :param kept: whether it stays with somebody else if it starts with the machine
    """
    own = f"{DIRECTORY}/{unit}"
    changes: list[PyinfraCommand] = []
    for path, content in wanted.items():
        if path != own or not packaged:
            changes += put_file(host, path, content, access=READABLE)
    if changes:
        yield StringCommand("mkdir", "-p", QuoteString(f"{own}.d"))
    yield from changes
    if changes or state["outdated"] or not (kept or state["enabled"]):
        yield systemctl.reread() if kept else systemctl.enable(unit)
        if changes and state["active"] == "active":
            yield FunctionCommand(_tell_later, (unit,), {})
    else:
        host.noop(f"{unit} is as wanted")


def _is_packaged(unit: str, state: UnitState) -> bool:
    """Whether somebody else brought the unit: a package, or who runs the machine."""
    own = f"{DIRECTORY}/{unit}"
    return state["file"] not in ("", own) or (state["file"] == own and not _text(own).startswith(OURS))


def _text(path: str) -> str:
    """A unit's file; it is asked for again soon."""
    seen = seen_ahead(host, path, keep=True)
    return seen.text if seen is not None else read_file(host, path) or ""


def state_of(unit: str) -> Question:
    """What a machine is asked for to tell how a unit is."""
    return Unit, {"unit": unit}


def _ask(unit: str) -> UnitState:
    """How a unit is, on a machine where units can be changed.

    :raises OperationError: if they can't
    """
    state: UnitState | None = answer(host, state_of(unit))
    if state is None:
        raise OperationError(f"{host.name}: systemd does not say how {unit} is; try `systemctl status {unit}` there")
    if not state["systemd"]:
        told = "it is not systemd that started this machine, and nothing else is known here to keep a server running"
        raise OperationError(f"{host.name}: {told}; start it by something of your own, through docs/boot-guard.md")
    if not state["root"]:
        raise OperationError(f"{host.name}: only root can install; set _sudo = True in the inventory's data")
    return state


def _tell_later(state: State, host: Host, unit: str) -> bool:
    host.log_styled(f"{unit} runs on as it was started; what changed takes effect with a restart", fg="yellow")
    return True


def _below_run(path: str) -> str:
    """The directory of a file below /run, where directories are gone after a reboot; else systemd leaves it alone."""
    place = PurePosixPath(path).parent
    below = place.is_relative_to("/run") and place != PurePosixPath("/run")
    return str(place.relative_to("/run")) if below else ""


def _written(entry: NodeEntry) -> list[str]:
    """The directories that the server writes to, beside those that systemd makes for it."""
    directories = [entry.data("keydb_config_directory"), entry.data("keydb_data_directory")]
    directories += [str(PurePosixPath(entry.data(key)).parent) for key in ("keydb_log_file", "keydb_pid_file")]
    return [path for path in dict.fromkeys(directories) if not _below_run(f"{path}/x")]

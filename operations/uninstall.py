"""Taking away what install brought: the process, systemd's units, boot guard, configuration; data only on request.

Only files that install wrote go: each says so in its first lines, or has a name that is nobody else's. A configuration
file that was there before stays, as do logs, histories and the system's users. A server that was there before runs on.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import PurePosixPath

import redis
from pyinfra import host, logger
from pyinfra.api import FactBase, FunctionCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import LinkError, link
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.haproxy import HaproxyProcess
from keydb_runbooks.facts.keydb import KeydbProcess
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import (
    asked,
    boot_guard,
    dump,
    firewall,
    haproxy,
    kernel,
    keydb,
    systemctl,
    together,
    units,
)
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.options import option
from keydb_runbooks.operations.service import guard_settings, guard_unit, has_systemd, proxy_unit, server_unit
from keydb_runbooks.runbooks.plan import Refusal
from keydb_runbooks.runbooks.uninstall import Removal, decide

Commands = Generator[PyinfraCommand, None, None]

# Each argument is a path. Told are those that are there, and whether install wrote them: "ours PATH", "theirs PATH".
LOOK = """
for path in "$@"; do
    [ -e "$path" ] || continue
    whose=ours
    case ${path%.previous} in
    *.conf|*.cfg|*.service) head -n 2 -- "$path" | grep -q "Written by keydb-runbooks" || whose=theirs ;;
    esac
    echo "$whose $path"
done
"""

# $1 the pid file, $2 the configuration file, with which its process was started. Another process is left alone.
STOP = """
pid=$(cat -- "$1" 2>/dev/null)
[ -n "$pid" ] && tr '\\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$2" || exit 0
kill "$pid" || exit 1
n=0
# One that nobody has asked for how it ended is still there.
while [ -e "/proc/$pid" ] && [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" != Z ]; do
    n=$((n+1))
    [ $n -gt 1500 ] && { echo "process $pid has not ended within 30 s; look at its log" >&2; exit 1; }
    sleep 0.02
done
"""

REMOVE = 'rm -f -- "$@"'
# Directories go only if nothing is left in them, and if no file system is mounted there.
RMDIR = 'mountpoint -q -- "$path" || rmdir --ignore-fail-on-non-empty -- "$path" || exit 1'
EMPTY = f'for path; do [ ! -d "$path" ] || {{ {RMDIR}; }}; done'
DATA = f'path=$1; find "$path" -xdev -mindepth 1 -delete && {{ {RMDIR}; }}'


def chosen(target: Host, group: Group) -> Removal:
    """What goes, as ``node`` or ``whole_group`` names it; it is printed by the first host alone.

    :raises SystemExit: after a refusal was printed
    """
    return together.decided(target, group, lambda: _decided(target, group))


def _decided(target: Host, group: Group) -> Removal | Refusal:
    node, whole = option(target, "node"), option(target, "whole_group")
    remove_data = asked.yes_or_no(target, "remove_data")
    adopted = [node.name for node in group.nodes if node.adopted]
    adopted += [proxy.name for proxy in group.proxies if proxy.adopted]
    return decide(
        observe(group),
        None if node is None else str(node),
        None if whole is None else str(whole),
        remove_data=remove_data,
        adopted=adopted,
    )


@operation()
def server(remove_data: bool, alone: bool) -> Commands:
    """Take a node's server away; what it holds is saved first, and stays unless its data go too.

    + remove_data: whether the directory of its data is emptied and removed
    + alone: whether the rest of its group goes on; it is refused then if it has become the primary

    **Example:**

    .. code:: python

        uninstall.server(name="Take the server away", remove_data=False, alone=True)
    """
    entry = keydb.this_node(host)
    config, data = keydb.config_path(entry), str(entry.data("keydb_data_directory"))
    if remove_data and len(PurePosixPath(data).parts) < 3:
        raise OperationError(f"{host.name}: {data} is too near to / to be emptied; look at keydb_data_directory")
    pid_file = str(entry.data("keydb_pid_file"))
    own = [f"{units.DIRECTORY}/{unit}" for unit in (server_unit(entry), guard_unit(entry))] if has_systemd(host) else []
    filtering = firewall.files(entry) if own else []
    beside = [*_drop_in(own[:1]), *([kernel.PATH] if own else []), *filtering]
    files, theirs = _look([*_own_files(entry), *own, *beside, config, pid_file])
    runs = _process(KeydbProcess, pid_file)
    holds = remove_data and bool(run_quietly(host, StringCommand("ls", "-d", QuoteString(data))))
    if not files and not runs and not holds:
        host.noop(f"nothing of install is left on {host.name}")
        return
    if runs:
        yield FunctionCommand(_leave, (entry, alone, remove_data), {})
    if own and files:
        yield systemctl.disable(server_unit(entry), guard_unit(entry))
    if runs:
        yield script(STOP, pid_file, config)
        yield FunctionCommand(_ended, (KeydbProcess, pid_file), {})
    if {*filtering} & {*files}:
        yield firewall.taken_away(entry)
    yield from _removed(files, own, str(entry.data("keydb_config_directory")))
    if holds:
        yield script(DATA, data)
    yield FunctionCommand(_tell, (theirs, "" if remove_data else f"its data stay in {data}"), {})


@operation()
def given_back() -> Commands:
    """Give a node back to whoever installed its server, which goes on as it runs; what install put beside it goes.

    Its file keeps our users: by them replicas and clients log in, and what was there before is not known any more.

    **Example:**

    .. code:: python

        uninstall.given_back(name="Give the server back")
    """
    entry = keydb.this_node(host)
    own = [f"{units.DIRECTORY}/{server_unit(entry)}"] if has_systemd(host) else []
    filtering = firewall.files(entry) if own else []
    guard = [f"{units.DIRECTORY}/{guard_unit(entry)}"] if own else []
    settings = [kernel.PATH] if own and entry.names("keydb_kernel_settings") else []
    files, theirs = _look([*_unused(entry), *_drop_in(own), *guard, *settings, *filtering])
    if not files:
        host.noop(f"nothing of install is left beside {host.name}")
        return
    if own:
        # First: a server whose unit leads to a boot guard that is gone does not start.
        yield script(REMOVE, *_drop_in(own))
        yield systemctl.reread()
        yield systemctl.disable(guard_unit(entry))
    if {*filtering} & {*files}:
        yield firewall.taken_away(entry)
    yield from _removed(files, own, str(entry.data("keydb_config_directory")))
    told = f"{entry.config_file} stays, with the users in it, and {server_unit(entry)} runs on"
    yield FunctionCommand(_tell, (theirs, told), {})


@operation()
def proxy() -> Commands:
    """Take a proxy's HAProxy away.

    **Example:**

    .. code:: python

        uninstall.proxy(name="Take the proxy away")
    """
    _, entry = haproxy.this_proxy(host)
    config, pid_file = haproxy.config_path(entry), str(entry.data("haproxy_pid_file"))
    own = [f"{units.DIRECTORY}/{proxy_unit(entry)}"] if has_systemd(host) else []
    beside = [haproxy.ca_path(entry)] if entry.data("keydb_tls_ca") else []
    beside.append(haproxy.states_path(entry))
    files, theirs = _look([*own, *_drop_in(own), *beside, config, pid_file, str(entry.data("haproxy_runtime_socket"))])
    if not files:
        host.noop(f"nothing of install is left on {host.name}")
        return
    runs = _process(HaproxyProcess, pid_file)
    if own:
        yield systemctl.disable(proxy_unit(entry))
    if runs:
        yield script(STOP, pid_file, config)
        yield FunctionCommand(_ended, (HaproxyProcess, pid_file), {})
    yield from _removed(files, own, str(entry.data("haproxy_config_directory")))
    yield FunctionCommand(_tell, (theirs, ""), {})


def _own_files(entry: NodeEntry) -> list[str]:
    settings = guard_settings(entry)
    secrets = [boot_guard.credentials_path(entry), keydb.credentials_path(entry)]
    return [settings, boot_guard.script_path(entry), *secrets, *keydb.certificate_paths(entry).values()]


def _unused(entry: NodeEntry) -> list[str]:
    """The same without a certificate that install gave to a server which goes on with it."""
    kept = keydb.certificate_paths(entry).values() if entry.data("keydb_tls_certificate") else ()
    return [path for path in _own_files(entry) if path not in kept]


def _drop_in(own: list[str]) -> list[str]:
    return [f"{path}.d/keydb-runbooks.conf" for path in own]


def _look(paths: list[str]) -> tuple[list[str], list[str]]:
    """Which of these files are there: those that install wrote, and those of somebody else."""
    lines = run_quietly(host, script(LOOK, *paths, *(f"{path}.previous" for path in paths)))
    if lines is None:
        raise OperationError(f"{host.name}: its files can't be looked at")
    told = [line.partition(" ") for line in lines]
    return [path for kind, _, path in told if kind == "ours"], [path for kind, _, path in told if kind == "theirs"]


def _process(fact: type[FactBase[int]], pid_file: str) -> int:
    """The process that runs, 0 if none does."""
    pid: int | None = host.get_fact(fact, pid_file=pid_file)
    if pid is None:
        raise OperationError(f"{host.name}: it is unknown whether something runs there; look at {pid_file}")
    return pid


def _removed(files: list[str], own: list[str], directory: str) -> Commands:
    if files:
        yield script(REMOVE, *files)
    yield script(EMPTY, *(f"{path}.d" for path in own), directory)
    if own:
        yield StringCommand("systemctl", "daemon-reload")


def _leave(state: State, host: Host, entry: NodeEntry, alone: bool, remove_data: bool) -> bool:
    """See that its role has not changed, and let it save: its data stay, whatever ``keydb_persistence`` says."""
    try:
        if alone and keydb.read_role(entry).is_primary:
            told = f"{entry.name} is a primary by now, so it stays: run switchover first, then this again"
            host.log_styled(told, fg="red", log_func=logger.error)
            return False
        if not remove_data:
            client = link(entry)
            try:
                dump.background_save(entry.name, client)
            finally:
                client.close()
    except (LinkError, OperationError, StepFailed, redis.RedisError, OSError) as error:
        told = f"its role and its data can't be made sure of, so it stays: {error}"
        host.log_styled(told, fg="red", log_func=logger.error)
        return False
    return True


def _ended(state: State, host: Host, fact: type[FactBase[int]], pid_file: str) -> bool:
    pid = host.get_fact(fact, pid_file=pid_file)
    if pid != 0:
        told = f"process {pid} of {pid_file} still runs; somebody else started it: stop it, then this again"
        host.log_styled(told, fg="red", log_func=logger.error)
    return bool(pid == 0)


def _tell(state: State, host: Host, theirs: list[str], sentence: str) -> bool:
    for path in theirs:
        host.log_styled(f"{path} stays: install did not write it", fg="yellow")
    if sentence:
        host.log(sentence)
    return True

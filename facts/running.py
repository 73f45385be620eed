"""Read what a group's servers and proxies run with, and what their files say: the material of ``runbooks.drift``.

Only who answered before is asked again, so that a machine that is off costs its time-out once. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import redis
from pyinfra.api.host import Host

from keydb_runbooks.connectors.ahead import Question, answer, quiet_answer
from keydb_runbooks.connectors.group import Group, NodeEntry, PodProxies, ProxyEntry
from keydb_runbooks.connectors.link import LinkError, explain, in_parallel, link
from keydb_runbooks.connectors.runtime import RuntimeSocketError, runtime
from keydb_runbooks.facts.haproxy import HaproxyProcess
from keydb_runbooks.facts.keydb import KeydbProcess
from keydb_runbooks.facts.machine import FileText, Listeners, RealDirectory
from keydb_runbooks.facts.users import read_clients
from keydb_runbooks.runbooks.drift_machine import File, Listener, Process
from keydb_runbooks.runbooks.drift_proxy import AnswerError, ProxyState, RunningProxy, running_proxy
from keydb_runbooks.runbooks.drift_server import RunningServer, ServerState
from keydb_runbooks.runbooks.fencing import with_fence
from keydb_runbooks.runbooks.replication import InfoError, node_from_info, read_info
from keydb_runbooks.runbooks.topology import Topology

LISTENERS: Question = (Listeners, {})

RUNTIME_QUESTIONS = ("show info", "show stat", "show servers state", "show env HAPROXY_CFGFILES")


def read_servers(group: Group, topology: Topology, wanted: Callable[[NodeEntry], str]) -> tuple[ServerState, ...]:
    """Every server of a group; one that the topology doesn't have is not asked.

    :param wanted: the text of a node's ``keydb.conf`` that the inventory asks for
    """
    return tuple(in_parallel(partial(_server, topology, wanted), group.nodes))


def read_proxies(group: Group, topology: Topology, wanted: Callable[[ProxyEntry], str]) -> tuple[ProxyState, ...]:
    """Every proxy of a group; one that the topology doesn't have is not asked.

    :param wanted: the text of a proxy's ``haproxy.cfg`` that the inventory asks for
    """
    return tuple(in_parallel(partial(_proxy, topology, wanted), group.proxies))


def questions_of_server(entry: NodeEntry) -> tuple[Question, ...]:
    """What ``read_servers`` will want to know of a node's machine, for ``ahead.ask``."""
    return text_of(entry.config_file), directory_of(entry), recorded_of(entry), LISTENERS


def questions_of_proxy(entry: ProxyEntry) -> tuple[Question, ...]:
    """What ``read_proxies`` will want to know of a proxy's machine, for ``ahead.ask``."""
    return text_of(proxy_config_of(entry)), recorded_of(entry), LISTENERS


def text_of(path: str) -> Question:
    """What a machine is asked for to tell a file's text."""
    return FileText, {"path": path}


def directory_of(entry: NodeEntry) -> Question:
    """What a node's machine is asked for to tell where its data really are."""
    return RealDirectory, {"path": entry.data("keydb_data_directory")}


def recorded_of(entry: NodeEntry | ProxyEntry) -> Question:
    """What a machine is asked for to tell which process a pid file names."""
    if isinstance(entry, NodeEntry):
        return KeydbProcess, {"pid_file": entry.data("keydb_pid_file")}
    return HaproxyProcess, {"pid_file": entry.data("haproxy_pid_file")}


def proxy_config_of(entry: ProxyEntry | PodProxies) -> str:
    """Where a proxy's configuration is."""
    return f"{entry.data('haproxy_config_directory')}/haproxy.cfg"


def _server(topology: Topology, wanted: Callable[[NodeEntry], str], entry: NodeEntry) -> ServerState:
    state = ServerState(
        name=entry.name,
        engine=entry.data("keydb_engine"),
        wanted=wanted(entry),
        file=read_text(entry.host, entry.config_file),
        running=None,
        same_directory=_real_directory(entry),
    )
    if topology.node(entry.name) is None:
        return _as_fenced(entry, state, _lines_of_users(state.file))
    try:
        asked = _ask(entry, state)
        told = asked.running.users if asked.running is not None else None
        return _as_fenced(entry, asked, _lines_of_users(state.file) if told is None else told)
    except (LinkError, InfoError, redis.RedisError, OSError) as error:
        detail = str(error) if isinstance(error, InfoError) else explain(error, entry.address).detail
        return replace(state, detail=detail)


def _as_fenced(entry: NodeEntry, state: ServerState, users: Sequence[str]) -> ServerState:
    """What is wanted of a node that is fenced: its fence. That it is fenced is told by the topology."""
    application = entry.user("application").name
    if not any(user.name == application and user.fenced for user in read_clients(entry, users)):
        return state
    return replace(state, wanted=with_fence(state.wanted, application, users))


def _lines_of_users(file: File) -> list[str]:
    return [line for line in (file.text or "").split("\n") if line.split()[:1] == ["user"]]


def _ask(entry: NodeEntry, state: ServerState) -> ServerState:
    client = link(entry)
    try:
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command("INFO")
        pipeline.execute_command("CONFIG GET", "*")
        pipeline.execute_command("ACL LIST")
        # A command that is not permitted leaves the others' answers.
        text, values, users = pipeline.execute(raise_on_error=False)
    finally:
        client.close()
    if isinstance(text, Exception):
        raise text
    refused = [str(answer) for answer in (values, users) if isinstance(answer, Exception)]
    fields = read_info(text)
    answering = int(fields["process_id"][0])
    running = RunningServer(
        engine=node_from_info(entry.name, entry.address, text).engine,
        values=None if isinstance(values, Exception) else {**_texts(values), **_told_by_info(fields)},
        users=None if isinstance(users, Exception) else tuple(users),
        config_file=fields.get("config_file", [""])[0],
        process=_process(entry, answering, answer(entry.host, recorded_of(entry))),
    )
    return replace(state, running=running, detail="; ".join(refused))


def _texts(values: dict[str, object]) -> dict[str, str]:
    """CONFIG GET's answer; a value that is a list is written as a file has it."""
    return {
        name: " ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in values.items()
    }


def _told_by_info(fields: dict[str, list[str]]) -> dict[str, str]:
    """A directive that KeyDB tells in INFO only."""
    return {"server-threads": fields["server_threads"][0]} if "server_threads" in fields else {}


def _proxy(topology: Topology, wanted: Callable[[ProxyEntry], str], entry: ProxyEntry) -> ProxyState:
    state = ProxyState(entry.name, wanted(entry), read_text(entry.host, proxy_config_of(entry)), None)
    recorded = answer(entry.host, recorded_of(entry)) if entry.host.connected else None
    if entry.name not in {proxy.name for proxy in topology.proxies}:
        return replace(state, stopped=recorded == 0)
    try:
        running = _ask_proxy(entry)
    except (RuntimeSocketError, AnswerError) as error:
        return replace(state, detail=str(error))
    assert running.process is not None
    return replace(state, running=replace(running, process=_process(entry, running.process.answering, recorded)))


def _ask_proxy(entry: ProxyEntry) -> RunningProxy:
    socket = runtime(entry)
    try:
        return running_proxy(*map(socket.command, RUNTIME_QUESTIONS))
    finally:
        socket.close()


def read_text(host: Host, path: str) -> File:
    """A file of a machine, whose text is unknown if the machine is off or the user may not read it."""
    found = quiet_answer(host, text_of(path)) if host.connected else None
    return File(path, None) if found is None else File(path, found["text"], found["changed"])


def _real_directory(entry: NodeEntry) -> str | None:
    if not entry.host.connected:
        return None
    found: str | None = answer(entry.host, directory_of(entry))
    return found


def _process(entry: NodeEntry | ProxyEntry, answering: int, recorded: int | None) -> Process:
    rows = answer(entry.host, LISTENERS)
    return Process(answering, recorded, None if rows is None else tuple(Listener(**row) for row in rows))

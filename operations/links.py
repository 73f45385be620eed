"""The connections that a run holds, to every node and every proxy, from its first step to its last."""

from __future__ import annotations

from collections.abc import Container
from typing import cast

import redis

from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import Client, LinkError, in_parallel, link
from keydb_runbooks.connectors.runtime import Runtime, RuntimeSocketError, runtime
from keydb_runbooks.connectors.services import ServiceClient
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.lock import Lock
from keydb_runbooks.runbooks.replication import InfoError, Node, node_from_info


def read_once(entry: NodeEntry) -> Node:
    """What a server says of itself now, over a link of its own: for whoever holds none, or one that met silence.

    :raises LinkError: if it can't be reached; redis.RedisError and OSError if it says nothing then
    :raises InfoError: if it is no server of ours
    """
    client = link(entry)
    try:
        return node_from_info(entry.name, entry.address, client.execute_command("INFO"))
    finally:
        client.close()


class Links:
    """The held connections of a run: to every node and every proxy that answers, opened before it begins.

    :param needed: names of those without which the run can't begin
    :param silent: names of those that did not answer when the plan was made: nobody waits for them again
    :raises StepFailed: if one that is needed can't be opened
    """

    def __init__(self, group: Group, needed: set[str], silent: Container[str] = ()) -> None:
        self.group = group
        self.clients: dict[str, Client] = {}
        # Held over these connections; whoever opens one anew lets it hold the lock as well.
        self.lock: Lock | None = None
        self._runtimes: dict[str, Runtime] = {}
        self.moved_at: dict[str, float] = {}
        """When a Service was moved by this run, by the monotonic clock."""
        members: list[NodeEntry | ProxyEntry] = [*group.nodes, *group.proxies]
        entries = [entry for entry in members if entry.name not in silent]
        for entry, link_or_error in zip(entries, in_parallel(_try_to_open, entries), strict=True):
            if isinstance(link_or_error, Runtime):
                self._runtimes[entry.name] = link_or_error
            elif not isinstance(link_or_error, Exception):
                self.clients[entry.name] = link_or_error
            elif entry.name in needed:
                self.close()
                raise StepFailed(str(link_or_error))

    def node(self, name: str) -> Client:
        return self.clients[name]

    def proxy(self, name: str) -> Runtime:
        return self._runtimes[name]

    def service(self, name: str) -> ServiceClient:
        """A Service of Kubernetes; each call opens its own connection to the API server."""
        entry = next(service for service in self.group.services if service.name == name)
        return ServiceClient(entry.host, entry.name, entry.data("keydb_connect_timeout"))

    def read(self, name: str) -> Node:
        """What a node says of itself now."""
        return self.understood(name, self.info(name))

    def info(self, name: str) -> str:
        """The same as text."""
        return cast("str", self.node(name).execute_command("INFO"))

    def understood(self, name: str, info: str) -> Node:
        """What the text of a node's INFO says."""
        return node_from_info(name, self.group.node(name).address, info)

    def read_same(self, name: str, run_id: str) -> Node:
        """The same, of the process that is meant.

        :raises StepFailed: if it is another one by now
        """
        node = self.read(name)
        if node.run_id != run_id:
            raise another_process(name)
        return node

    def stands(self, name: str) -> bool:
        """Whether a node says that it is a primary, over the link that holds the lock.

        A proxy's socket or the API server doesn't hold it: who asks this before an order that goes there gives none
        once the lock is lost.
        """
        try:
            return self.read(name).is_primary
        except (redis.RedisError, OSError, InfoError):
            return False

    def reopen(self, name: str, *, loading: bool = False) -> None:
        """A fresh link, when the held one broke; ``loading`` is whether one to who loads its data will do."""
        self.clients[name] = link(self.group.node(name), loading=loading)

    def reopen_proxy(self, name: str) -> Runtime:
        """A fresh connection to a proxy, whose process may be another one by now."""
        self._runtimes[name] = runtime(self.group.proxy(name))
        return self._runtimes[name]

    def close(self) -> None:
        for client in self.clients.values():
            client.close()
        for socket in self._runtimes.values():
            socket.close()


def _try_to_open(entry: NodeEntry | ProxyEntry) -> Client | Runtime | Exception:
    try:
        return link(entry) if isinstance(entry, NodeEntry) else runtime(entry)
    except (LinkError, RuntimeSocketError) as error:
        return error


def another_process(name: str) -> StepFailed:
    """What ends a step whose server is not the process that was meant."""
    return StepFailed(f"{name} was restarted meanwhile: it is another process now")

"""Who is in a group: the nodes and proxies that an inventory names, checked before anything else happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.connectors.local import LocalConnector

from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.secrets import unmask
from keydb_runbooks.connectors.tls import refuse_ca, refuse_certificate
from keydb_runbooks.runbooks.replication import Address
from keydb_runbooks.schemas import ADMIN, PREFIXES, SECRETS, Complaint, advice, check_hosts, default_of
from keydb_runbooks.schemas.nearest import did_you_mean, slipped

NODES = "keydb"
"""The inventory's group of servers."""

PROXIES = "haproxy"
"""The inventory's group of proxies."""

ABSENT = object()
"""What a host's data have for a key that nobody named."""


class GroupError(PyinfraError):
    """The inventory's data are wrong, or don't say which group is meant."""


@dataclass(frozen=True)
class Credentials:
    """An ACL user. The password never shows in a repr."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.name!r}, ***)"


@dataclass(frozen=True)
class NodeEntry:
    """A server that the inventory names, with the pyinfra host it runs on."""

    host: Host
    address: Address

    @property
    def name(self) -> str:
        return str(self.host.name)

    def user(self, role: str) -> Credentials:
        """The ACL user of a role: application, replication, operator, monitoring or check."""
        user = unmask(self.host.data.get(SECRETS)[role])
        return Credentials(user["name"], user["password"])

    def previous(self, role: str) -> Credentials | None:
        """The same user with the password before, None if the inventory has no other one."""
        user = unmask(self.host.data.get(SECRETS)[role])
        before = user.get("previous")
        return None if before in (None, "", user["password"]) else Credentials(user["name"], before)

    @property
    def admin(self) -> Credentials | None:
        """Who may make our users on a server that is adopted, if the inventory tells."""
        user = unmask(self.host.data.get(SECRETS).get(ADMIN))
        return None if user is None else Credentials(user["name"], user["password"])

    @property
    def adopted(self) -> bool:
        """Whether somebody else installed the server, so that install manages what the inventory names alone."""
        return bool(self.data("keydb_adopted"))

    @property
    def config_file(self) -> str:
        """The server's own configuration file."""
        return str(self.data("keydb_configuration_file") or f"{self.data('keydb_config_directory')}/keydb.conf")

    def data(self, key: str) -> Any:
        """The inventory's value, or the schema's default."""
        return value_of(self.host, key)

    def names(self, key: str) -> bool:
        """Whether the inventory says something of a key itself."""
        return self.host.data.get(key, ABSENT) is not ABSENT


@dataclass(frozen=True)
class ProxyEntry:
    """A proxy that the inventory names."""

    host: Host
    write_address: Address

    @property
    def name(self) -> str:
        return str(self.host.name)

    @property
    def read_address(self) -> Address:
        return Address(self.write_address.host, self.data("haproxy_read_port"))

    @property
    def adopted(self) -> bool:
        """Whether HAProxy is somebody else's, so that install leaves it alone."""
        return bool(self.data("haproxy_adopted"))

    def data(self, key: str) -> Any:
        return value_of(self.host, key)


@dataclass(frozen=True)
class PodProxies:
    """Proxies that are pods: what the inventory says of all of them, whether one is there or not."""

    values: Mapping[str, Any]

    def data(self, key: str) -> Any:
        return self.values[key] if key in self.values else default_of(key)


@dataclass(frozen=True)
class ServiceEntry:
    """A Service of Kubernetes that the inventory names; any pod's host knows the way to its API server."""

    host: Host
    name: str

    def data(self, key: str) -> Any:
        return value_of(self.host, key)


@dataclass(frozen=True)
class Group:
    """The nodes, proxies and Services that belong together."""

    name: str
    nodes: tuple[NodeEntry, ...]
    proxies: tuple[ProxyEntry, ...]
    services: tuple[ServiceEntry, ...] = ()
    pod_proxies: PodProxies | None = field(default=None, hash=False)
    """Where clients of pods come through proxies (``keydb_routing``): those that install makes."""

    @property
    def first_primary(self) -> str:
        marked = [node.name for node in self.nodes if node.data("keydb_first_primary")]
        return marked[0] if marked else self.nodes[0].name

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (*(node.host for node in self.nodes), *(proxy.host for proxy in self.proxies))

    def node(self, name: str) -> NodeEntry:
        return next(node for node in self.nodes if node.name == name)

    def proxy(self, name: str) -> ProxyEntry:
        return next(proxy for proxy in self.proxies if proxy.name == name)

    # By name: inside a deploy ``host`` is pyinfra's stand-in for the host, not the object itself.
    def node_of(self, host: Host) -> NodeEntry | None:
        return next((node for node in self.nodes if node.name == host.name), None)

    def proxy_of(self, host: Host) -> ProxyEntry | None:
        return next((proxy for proxy in self.proxies if proxy.name == host.name), None)


def value_of(host: Host, key: str) -> Any:
    """A host's datum, or the default that the schema states for it."""
    value = host.data.get(key, ABSENT)
    return default_of(key) if value is ABSENT else value


@lru_cache(maxsize=1)
def all_groups(inventory: Inventory) -> dict[str, Group]:
    """Every group of an inventory by its name.

    :raises GroupError: with every error of the inventory at once, a line each
    """
    nodes = list(inventory.groups.get(NODES, []))
    proxies = list(inventory.groups.get(PROXIES, []))
    complaints = list(_check_names(inventory))
    wished = _wished(nodes, inventory)
    if nodes:
        machines = {host.name: _machine(host) for host in inventory}
        complaints += check_hosts(_data(nodes), _data(proxies) or _as_hosts(wished), machines)
    complaints = complaints or [*_check_services(nodes), *_check_certificates(nodes, proxies)]
    if complaints:
        raise GroupError(_told(complaints))
    names = dict.fromkeys(value_of(host, "keydb_group") for host in nodes)
    return {name: _group(name, nodes, proxies, wished.get(name)) for name in names}


def the_group(inventory: Inventory, wanted: str | None) -> Group:
    """The one group that a verb acts on.

    :param wanted: what was given as ``--data group=...``, needed only if there are several
    """
    groups = all_groups(inventory)
    if wanted is not None and wanted not in groups:
        meant = did_you_mean(wanted, groups) or ";"
        raise GroupError(f"there is no group {wanted!r}{meant} allowed are {', '.join(groups)}")
    if wanted is None and len(groups) > 1:
        raise GroupError(f"the inventory has several groups: add --data group=..., one of {', '.join(groups)}")
    return groups[wanted] if wanted is not None else next(iter(groups.values()))


def _group(name: str, nodes: list[Host], proxies: list[Host], wished: Mapping[str, Any] | None) -> Group:
    fronts = [host for host in proxies if value_of(host, "keydb_group") == name]
    return Group(
        name,
        tuple(
            NodeEntry(host, Address(value_of(host, "keydb_address"), value_of(host, "keydb_port")))
            for host in nodes
            if value_of(host, "keydb_group") == name
        ),
        tuple(
            ProxyEntry(host, Address(value_of(host, "haproxy_address"), value_of(host, "haproxy_write_port")))
            for host in fronts
        ),
        tuple(_services(host for host in nodes if value_of(host, "keydb_group") == name)),
        None if wished is None else PodProxies(wished),
    )


def _is_behind(host: Host) -> bool:
    """Whether a node's clients come through proxies that are pods as well."""
    return bool(value_of(host, "keydb_routing") == "haproxy")


def _wished(nodes: list[Host], inventory: Inventory) -> dict[str, dict[str, Any]]:
    """What the inventory says of the proxies that install makes, by the group that they are of.

    Of a Deployment that isn't there nothing is known but what stands for all of them.
    """
    behind = dict.fromkeys(value_of(host, "keydb_group") for host in nodes if _is_behind(host))
    given = unmask({**inventory.data, **inventory.group_data.get(PROXIES, {}), **inventory.override_data})
    return {name: {**given, "keydb_group": name} if len(behind) > 1 else given for name in behind}


def _as_hosts(wished: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same, as if there was a pod of each group's proxies."""
    names = {name: f"{PROXIES} of {name}" if len(wished) > 1 else PROXIES for name in wished}
    return {names[name]: {**data, "kubernetes_pod": names[name]} for name, data in wished.items()}


def _services(nodes: Iterable[Host]) -> Iterator[ServiceEntry]:
    """The Service that is moved: one, as all nodes of a group name the same; none that leads to proxies."""
    for host in nodes:
        if _is_behind(host):
            return
        if name := value_of(host, "keydb_write_service"):
            yield ServiceEntry(host, name)
            return


def advised(group: Group) -> list[str]:
    """What a person should know about a group that is as it may be, and could be better."""
    return [f"advice: {complaint}" for complaint in advice(_data([node.host for node in group.nodes]))]


def _data(hosts: list[Host]) -> dict[str, dict[str, Any]]:
    """Everything that the inventory says of each host, passwords in plain."""
    return {host.name: unmask(host.data.dict()) for host in hosts}


def _machine(host: Host) -> str:
    """Which machine a host is, as far as the inventory tells."""
    if issubclass(host.connector_cls, LocalConnector):
        return "this machine"
    return f"{host.data.get('ssh_hostname', host.name)}:{host.data.get('ssh_port', 22)}"


def _check_names(inventory: Inventory) -> Iterator[Complaint]:
    """A group that is missing, empty, or meant by another name; other names are other people's."""
    names = {NODES: "the servers", PROXIES: "the proxies"}
    for name, members in names.items():
        meant = [other for other in inventory.group_data if other not in names and slipped(other, name)]
        for other in meant:
            if _is_meant(inventory, other, name):
                yield Complaint("inventory", other, f"is not a group that is known; did you mean {name}, {members}?")
    if not inventory.groups.get(NODES):
        told = "is empty" if NODES in inventory.group_data else "is missing"
        yield Complaint("inventory", NODES, f"{told}: list the servers in the group of this name")


def _is_meant(inventory: Inventory, other: str, name: str) -> bool:
    """Whether a group stands where ours should: ours has no hosts, or the other has no hosts and data of ours."""
    if inventory.groups.get(other):
        return not inventory.groups.get(name)
    return any(str(key).startswith(PREFIXES) for key in inventory.group_data[other])


def _check_services(nodes: list[Host]) -> Iterator[Complaint]:
    """Only pods have a Service, and one can be moved only among the pods of its own namespace."""
    places: dict[str, tuple[str, object]] = {}
    for host in nodes:
        if not issubclass(host.connector_cls, KubernetesConnector):
            of_pods = {key: value_of(host, key) for key in ("keydb_tls_secret", "keydb_write_service")}
            for key, asked in {"keydb_routing": _is_behind(host), **of_pods}.items():
                if asked:
                    yield Complaint(host.name, key, "is for pods: @kubernetes/NAMESPACE/POD")
            continue
        if not value_of(host, "keydb_write_service"):
            continue
        place = (host.data.get("kubernetes_namespace"), host.data.get("kubernetes_context"))
        first, other = places.setdefault(value_of(host, "keydb_group"), (host.name, place))
        if other != place:
            told = f"is of another namespace or context than {first}; a Service leads to pods of its own only"
            yield Complaint(host.name, "keydb_write_service", told)


def _check_certificates(nodes: list[Host], proxies: list[Host]) -> Iterator[Complaint]:
    """A certificate that a link or a client would refuse is told before a server gets it."""
    for host in nodes:
        if not value_of(host, "keydb_tls_ca"):
            continue
        # A server that is adopted may keep its own, and a pod's may lie in a Secret: nobody here has the key.
        if not value_of(host, "keydb_tls_certificate"):
            if (reason := refuse_ca(value_of(host, "keydb_tls_ca"))) is not None:
                yield Complaint(host.name, "keydb_tls_ca", f"can't be used: {reason}")
            continue
        certificate, key, ca = (value_of(host, f"keydb_tls_{name}") for name in ("certificate", "key", "ca"))
        fronts = [proxy for proxy in proxies if value_of(proxy, "keydb_group") == value_of(host, "keydb_group")]
        places = [value_of(host, "keydb_address"), *(value_of(proxy, "haproxy_address") for proxy in fronts)]
        for place in dict.fromkeys(places):
            reason = refuse_certificate(certificate, key, ca, place)
            if reason is not None:
                yield Complaint(host.name, "keydb_tls_certificate", f"is refused by who calls {place}: {reason}")


def _told(complaints: list[Complaint]) -> str:
    count = len(complaints)
    head = (
        "1 error in the inventory, nothing was changed:"
        if count == 1
        else (f"{count} errors in the inventory, nothing was changed:")
    )
    return "\n".join([head, *(f"    {complaint}" for complaint in complaints)])

"""What a schema of one host can't say: hosts that don't go together, and what would be better."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from posixpath import normpath
from typing import Any

from keydb_runbooks.schemas.document import ADMIN, SECRETS, Complaint, Hosts, text_in, users_in, value_in
from keydb_runbooks.schemas.nearest import did_you_mean

TLS_CA = "keydb_tls_ca"
TLS_FILES = (TLS_CA, "keydb_tls_certificate", "keydb_tls_key")
TLS_SECRET = "keydb_tls_secret"  # noqa: S105 - a key's name

PACKAGE_KEYS = (
    ("keydb_package_version", "keydb_package"),
    ("keydb_apt_repository", "keydb_package"),
    ("keydb_apt_repository", "keydb_apt_key"),
    ("keydb_apt_key", "keydb_apt_repository"),
    ("keydb_program_source", "keydb_program_sha256"),
    ("keydb_program_sha256", "keydb_program_source"),
    ("keydb_program_member", "keydb_program_source"),
)
"""Each with the key that it makes no sense without."""

BRINGERS = ("keydb_server", "keydb_package", "keydb_program_source")
"""Each says where the server's program comes from."""

# The runbooks read these from the first node of a group.
SAME_IN_A_GROUP = (
    "keydb_clients_only_through_proxies",
    "keydb_min_replicas_to_write",
    "keydb_min_replicas_max_lag",
    "keydb_preferred_zones",
    "keydb_routing",
    "keydb_write_service",
    "keydb_read_service",
    "keydb_image",
    "keydb_image_pull_secret",
    "keydb_secret",
    "keydb_tls_secret",
    "keydb_volume_size",
    "keydb_volume_class",
    "keydb_cpu",
    "keydb_memory",
    "keydb_spread",
    "keydb_client_namespaces",
)
NODE_PATHS = (
    "keydb_config_directory",
    "keydb_configuration_file",
    "keydb_data_directory",
    "keydb_log_file",
    "keydb_pid_file",
)
PROXY_PATHS = ("haproxy_config_directory", "haproxy_runtime_socket", "haproxy_pid_file")

LOOPBACK = "127.0.0.1"


def check_together(nodes: Hosts, proxies: Hosts, machines: Mapping[str, str]) -> Iterator[Complaint]:
    """Check hosts against each other.

    :param machines: which machine a host is, if that isn't its name
    """
    yield from _check_places(nodes, proxies, machines)
    yield from _check_paths(nodes, NODE_PATHS, "node", machines)
    yield from _check_paths(proxies, PROXY_PATHS, "proxy", machines)
    yield from _check_first_primaries(nodes)
    yield from _check_tls(nodes, proxies)
    yield from _check_packages(nodes)
    yield from _check_adopted(nodes)
    yield from _check_firewalls(nodes, proxies)
    yield from _check_groups(nodes, proxies)
    yield from _check_reach(nodes, proxies, machines)
    yield from _check_sameness(nodes, proxies)
    yield from _check_replicas_needed(nodes)
    yield from _check_zones(nodes)


def advice(nodes: Hosts) -> list[Complaint]:
    """What is allowed, and would be better otherwise."""
    told = []
    for group, members in _by_group(nodes).items():
        count = len(members)
        if count % 2 == 0:
            lost, needed = count // 2 - 1, count // 2 + 1
            sentence = f"the operators' lock needs {needed} of {count} nodes and bears the loss of {lost}"
            sentence += f", no more than with {count - 1}; an odd number is advised"
            told.append(Complaint(f"group {group}", "keydb", sentence))
    return told


@dataclass(frozen=True)
class Place:
    """Where something listens: the host and the key that say so, and on which machine."""

    host: str
    key: str
    machine: str
    address: str
    port: str

    @property
    def owner(self) -> tuple[str, str]:
        return (self.host, self.key)

    def meets(self, other: Place) -> bool:
        """Whether both can't listen at the same time."""
        if self.port != other.port:
            return False
        everywhere = {"0.0.0.0", "::"} & {self.address, other.address}  # noqa: S104 - compared, not bound
        # Every machine has these.
        if everywhere or _is_loopback(self.address):
            return self.machine == other.machine and (bool(everywhere) or self.address == other.address)
        return self.address == other.address

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def _check_places(nodes: Hosts, proxies: Hosts, machines: Mapping[str, str]) -> Iterator[Complaint]:
    before: list[Place] = []
    for place in _places(nodes, proxies, machines):
        met = next((other for other in before if place.meets(other) and place.owner != other.owner), None)
        if met is not None:
            owner = f"{met.host}'s" if met.host != place.host else f"its {met.key}'s"
            both_nodes = met.key == place.key == "keydb_port"
            what_next = "every node needs its own" if both_nodes else "take another one"
            yield Complaint(place.host, place.key, f"{place} is {owner} already; {what_next}")
        before.append(place)


def _places(nodes: Hosts, proxies: Hosts, machines: Mapping[str, str]) -> Iterator[Place]:
    for name, data in nodes.items():
        listed = data.get("keydb_bind")
        given = [data["keydb_address"]] if "keydb_address" in data else []
        for address in dict.fromkeys(map(_address, [*given, *(listed if isinstance(listed, list) else [])])):
            yield Place(name, "keydb_port", machines.get(name, name), address, text_in(data, "keydb_port"))
    for name, data in proxies.items():
        for key in ("haproxy_write_port", "haproxy_read_port", "haproxy_statistics_port"):
            bound = LOOPBACK if key == "haproxy_statistics_port" else data.get("haproxy_address")
            if bound is not None and "kubernetes_pod" in data:
                # Their address is the Service that leads to all of them.
                bound = "0.0.0.0"  # noqa: S104 - compared, not bound
            if bound is not None:
                yield Place(name, key, machines.get(name, name), _address(bound), text_in(data, key))


def _address(value: object) -> str:
    """An address as it is compared: the same one may be written in several ways."""
    text = str(value).lower()
    try:
        return LOOPBACK if text == "localhost" else str(ip_address(text))
    except ValueError:
        return text


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _check_paths(hosts: Hosts, keys: tuple[str, ...], kind: str, machines: Mapping[str, str]) -> Iterator[Complaint]:
    """Two servers on one machine that share a file would destroy each other's."""
    owners: dict[tuple[str, str, str], str] = {}
    for name, data in hosts.items():
        for key in (key for key in keys if value_in(data, key) is not None):
            path = normpath(text_in(data, key))
            owner = owners.setdefault((machines.get(name, name), key, path), name)
            if owner != name:
                told = f"{path} is {owner}'s already, on the same machine; every {kind} needs its own"
                yield Complaint(name, key, told)


def _check_tls(nodes: Hosts, proxies: Hosts) -> Iterator[Complaint]:
    """A group speaks TLS as a whole, and a server that does has all three files."""
    encrypted = {text_in(data, "keydb_group") for data in nodes.values() if data.get(TLS_CA)}
    for name, data in {**nodes, **proxies}.items():
        if text_in(data, "keydb_group") in encrypted and not data.get(TLS_CA):
            yield Complaint(name, TLS_CA, "is missing, but other hosts of its group have one")
    for name, data in nodes.items():
        given = [key for key in TLS_FILES if data.get(key)]
        if data.get(TLS_SECRET):
            yield from _check_tls_secret(name, given)
            continue
        # A server that is adopted may keep the certificate that it has.
        keeps = data.get("keydb_adopted") is True and given == [TLS_CA]
        for key in () if keeps else TLS_FILES:
            if given and key not in given:
                yield Complaint(name, key, f"is missing, but {given[0]} is given; TLS needs all three")


def _check_tls_secret(name: str, given: list[str]) -> Iterator[Complaint]:
    """Of a Secret that has the certificate links know nothing but the CA."""
    if TLS_CA not in given:
        yield Complaint(name, TLS_CA, f"is missing, but {TLS_SECRET} is given; links trust nobody else's certificates")
    for key in given:
        if key != TLS_CA:
            yield Complaint(name, key, f"and {TLS_SECRET} name two certificates; allowed is one of them")


def _check_packages(nodes: Hosts) -> Iterator[Complaint]:
    """A program comes from one place, a package's repository is known by its key, and an archive by its checksum."""
    for name, data in nodes.items():
        for key, needed in PACKAGE_KEYS:
            if data.get(key) and not data.get(needed):
                yield Complaint(name, needed, f"is missing, but {key} is given")
        given = [key for key in BRINGERS if data.get(key)]
        if "keydb_program_source" in given and len(given) > 1:
            other = next(key for key in given if key != "keydb_program_source")
            yield Complaint(name, "keydb_program_source", f"and {other} name two programs; allowed is one of them")


def _check_adopted(nodes: Hosts) -> Iterator[Complaint]:
    """What is only for a server that somebody else installed."""
    for name, data in nodes.items():
        users = data.get(SECRETS)
        if isinstance(users, Mapping) and ADMIN in users and data.get("keydb_adopted") is not True:
            told = "is for servers that are adopted (keydb_adopted), and for no others"
            yield Complaint(name, f"{SECRETS}.{ADMIN}", told)


def _check_firewalls(nodes: Hosts, proxies: Hosts) -> Iterator[Complaint]:
    """A name may mean another address when the rules are read at a boot."""
    behind = {text_in(data, "keydb_group") for data in nodes.values() if data.get("keydb_firewall") is True}
    keys = ("keydb_address", "haproxy_source_address", "haproxy_address")
    for name, data in {**nodes, **proxies}.items():
        key = next((key for key in keys if data.get(key)), None)
        if key is not None and text_in(data, "keydb_group") in behind and not _is_number(text_in(data, key)):
            yield Complaint(name, key, f"{data[key]!r} is a name; keydb_firewall, which its group has, needs addresses")


def _is_number(address: str) -> bool:
    try:
        return bool(ip_address(address))
    except ValueError:
        return False


def _check_first_primaries(nodes: Hosts) -> Iterator[Complaint]:
    first: dict[str, str] = {}
    for name, data in nodes.items():
        group = text_in(data, "keydb_group")
        if data.get("keydb_first_primary") is not True:
            continue
        if group in first:
            told = f"{first[group]} is the first primary of {group} already; allowed is one"
            yield Complaint(name, "keydb_first_primary", told)
        first[group] = name


def _check_groups(nodes: Hosts, proxies: Hosts) -> Iterator[Complaint]:
    groups = _by_group(nodes)
    for name, data in proxies.items():
        group = text_in(data, "keydb_group")
        if group not in groups:
            allowed = ", ".join(sorted(groups))
            meant = did_you_mean(group, groups) or ";"
            yield Complaint(name, "keydb_group", f"no node is in {group!r}{meant} allowed are {allowed}")
    written: dict[str, str] = {}
    for group, members in groups.items():
        other = written.setdefault(group.casefold(), group)
        if other != group:
            told = f"{group!r} and {groups[other][0]}'s {other!r} differ in capitals only; allowed is one of them"
            yield Complaint(", ".join(members), "keydb_group", told)


def _check_sameness(nodes: Hosts, proxies: Hosts) -> Iterator[Complaint]:
    """What the runbooks read from a group's first node must be the same on all its hosts."""
    for group, members in _by_group(nodes).items():
        leader = members[0]
        fronts = [name for name in _by_group(proxies).get(group, []) if name not in members]
        for name in [*members[1:], *fronts]:
            # A proxy only has the first of them.
            data, keys = (nodes[name], SAME_IN_A_GROUP) if name in nodes else (proxies[name], SAME_IN_A_GROUP[:1])
            for key, shown in _differing(nodes[leader], data, keys):
                yield Complaint(name, key, f"differs from {leader}'s{shown}; all hosts of a group have the same")


def _differing(data: Mapping[str, Any], other: Mapping[str, Any], keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Keys whose values differ; a value of another type is the schema's complaint, and a user's is never shown."""
    for key in keys:
        value, another = value_in(data, key), value_in(other, key)
        if type(value) is type(another) and value != another:
            yield key, f" {value!r}"
    users = {role: rest for role, *rest in users_in(data)}
    for role, *rest in users_in(other):
        if users.get(role, rest) != rest:
            yield f"{SECRETS}.{role}", ""


def _check_reach(nodes: Hosts, proxies: Hosts, machines: Mapping[str, str]) -> Iterator[Complaint]:
    fronts = _by_group(proxies)
    for group, members in _by_group(nodes).items():
        if len({machines.get(name, name) for name in [*members, *fronts.get(group, [])]}) > 1:
            for name in members:
                if _is_loopback(_address(nodes[name].get("keydb_address"))):
                    told = (
                        f"{nodes[name]['keydb_address']!r} is every machine's own; allowed is one that the others reach"
                    )
                    yield Complaint(name, "keydb_address", told)


def _check_replicas_needed(nodes: Hosts) -> Iterator[Complaint]:
    groups = _by_group(nodes)
    for group, members in groups.items():
        needed, count = value_in(nodes[members[0]], "keydb_min_replicas_to_write"), len(members)
        if type(needed) is int and needed >= count:
            # A misspelt group has one node, as a rule.
            meant = did_you_mean(group, [other for other in groups if other != group])
            misspelt = f" (or is keydb_group {group!r} misspelt{meant})" if meant else ""
            told = f"{needed} can never be met by {_nodes(count)}; allowed is {count - 1} at most{misspelt}"
            yield Complaint(", ".join(members), "keydb_min_replicas_to_write", told)


def _check_zones(nodes: Hosts) -> Iterator[Complaint]:
    """A preferred zone in which no node of the group is."""
    for members in _by_group(nodes).values():
        zones = {zone for name in members if isinstance(zone := nodes[name].get("keydb_zone"), str)}
        wanted = value_in(nodes[members[0]], "keydb_preferred_zones")
        for zone in wanted if isinstance(wanted, list) else ():
            if isinstance(zone, str) and zone not in zones:
                meant = did_you_mean(zone, zones) or ";"
                told = f"no node is in zone {zone!r}{meant} allowed are {', '.join(sorted(zones)) or 'none'}"
                yield Complaint(", ".join(members), "keydb_preferred_zones", told)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _by_group(hosts: Hosts) -> dict[str, list[str]]:
    """The names of hosts by the group they say they are in."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, data in hosts.items():
        groups[text_in(data, "keydb_group")].append(name)
    return dict(groups)

"""Install on pods: every object is tried on the API server and shown, then applied; pods come up guarded.

What the pods run with stands in ``templates/pods``; docs/kubernetes.md tells what it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import host as pyinfra_host
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.output import format_text
from pyinfra.api.state import State

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, NodeEntry, PodProxies, all_groups
from keydb_runbooks.connectors.objects import Document, Objects
from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import asked, boot_guard, endings, keydb, manifests, pods_tls, programs
from keydb_runbooks.operations.failed import failed
from keydb_runbooks.operations.files import put_file
from keydb_runbooks.operations.invocation import invocation
from keydb_runbooks.operations.pod_objects import are_pods, objects_of, runs
from keydb_runbooks.operations.show import refusal_lines, wrap
from keydb_runbooks.runbooks.exit_codes import ExitCode
from keydb_runbooks.runbooks.objects import (
    Tried,
    refuse,
    refuse_encrypted,
    refuse_fewer,
    refuse_rerouted,
    taken_away,
)
from keydb_runbooks.runbooks.plan import Refusal
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.schemas.document import known_keys

Commands = Generator[PyinfraCommand, None, None]

SAME = (
    "keydb_config_directory",
    "keydb_data_directory",
    "keydb_engine",
    "keydb_port",
    "keydb_server",
    "keydb_maxmemory",
    "keydb_tls_ca",
    "keydb_tls_certificate",
    "keydb_tls_key",
)
"""Keys of which the pods of one StatefulSet have one value."""

SELECTOR_OWNER = "f:selector"


_given_up: WeakKeyDictionary[State, set[str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Wanted:
    """The objects of a group as they were tried, each with the document that makes it."""

    objects: Objects
    tried: tuple[tuple[Tried, Document], ...]
    force: bool

    def of_servers(self, group: Group) -> Wanted:
        """What makes the servers and what leads to them, without their proxies."""
        return self._chosen(lambda name: name != manifests.proxies_name(group))

    def of_proxies(self, group: Group) -> Wanted:
        return self._chosen(lambda name: name == manifests.proxies_name(group))

    def _chosen(self, is_meant: Callable[[str], bool]) -> Wanted:
        return replace(self, tried=tuple(one for one in self.tried if is_meant(one[0].name)))

    @property
    def changed(self) -> list[tuple[Tried, Document]]:
        """Those that are not as wanted yet."""
        return [(one, document) for one, document in self.tried if one.changes]


def wanted(host: Host, group: Group) -> Wanted:
    """What has to be applied: tried on the server, and shown.

    :raises SystemExit: after it was printed why nothing may be changed
    """
    force = asked.yes_or_no(host, "force_conflicts")
    if told := list(wrong(group)):
        endings.stop(host, "\n    ".join(told))
    try:
        objects = objects_of(group)
    except ClusterError as error:
        endings.stop(host, error.detail)
    documents = wanted_documents(group, objects, partial(observe, group))
    made = Wanted(objects, tuple((try_out(objects, one, force=force), one) for one in documents), force)
    compared = [(one.where, one.live, document) for one, document in made.tried]
    refusal = refuse_rerouted(compared) or refuse_encrypted(compared)
    refusal = refusal or refuse((one for one, _ in made.tried), group.name, objects.told, force=force)
    refusal = refusal or refuse_secret(group, objects) or pods_tls.refuse(group, objects)
    refusal = refusal or (None if force else pods_tls.refuse_renewal(group, _live_certificate(group, made)))
    refusal = refusal or _refuse_fewer(group, made)
    if refusal is not None:
        endings.stop(host, "\n    ".join(refusal_lines(refusal)), ExitCode.REFUSED)
    for line in _shown(made):
        logger.info(f"    {line}")
    return made


@operation()
def applied(group: Group, wanted: Wanted) -> Commands:
    """Let the API server have every object as it is wanted.

    + group: the nodes, see ``connectors.group``
    + wanted: what ``wanted`` returned

    **Example:**

    .. code:: python

        pods.applied(name="Apply what the pods need", group=group, wanted=pods.wanted(host, group))
    """
    for one, document in wanted.changed:
        yield FunctionCommand(_apply, (group, wanted, one, document), {})
    if not wanted.changed:
        pyinfra_host.noop("every object is as wanted")


@operation()
def configuration() -> Commands:
    """Give this pod's server its ``keydb.conf`` and those who log in their passwords, where they differ.

    A pod that isn't there gets both when it starts.

    **Example:**

    .. code:: python

        pods.configuration(name="Configure the server")
    """
    entry = keydb.this_node(pyinfra_host)
    if is_given_up(pyinfra_host.state, entry):
        pyinfra_host.noop("its group's objects could not be made, so it is left as it is")
        return
    if not runs(pyinfra_host):
        pyinfra_host.noop(f"{entry.name} gets its configuration when it starts")
        return
    yield from keydb.configuration._inner(programs.on_path(entry))
    yield from logins._inner()


@operation()
def logins() -> Commands:
    """Give this pod the passwords of those who log in: its boot guard and its probes.

    **Example:**

    .. code:: python

        pods.logins(name="Let guards and probes use new ones")
    """
    entry = keydb.this_node(pyinfra_host)
    for role, path in (("operator", boot_guard.credentials_path(entry)), ("monitoring", keydb.credentials_path(entry))):
        yield from put_file(pyinfra_host, path, manifests.login(entry, role))


def wrong(group: Group) -> Iterator[str]:
    """What of the inventory makes no group on pods, a sentence each."""
    node = group.nodes[0]
    if not node.data("keydb_image"):
        yield f"{node.name}: keydb_image: is missing: the image of the server, which install needs on pods"
    if node.data("keydb_tls_ca") and not (node.data("keydb_tls_certificate") or node.data("keydb_tls_secret")):
        yield f"{node.name}: keydb_tls_certificate: is missing, and so is keydb_tls_secret: a pod keeps none of its own"
    for one in group.nodes:
        yield from _wrong_of_one(node, one)
    try:
        named = manifests.ordinals(group).name
    except manifests.NotOfOneSet as error:
        yield str(error)
        return
    for one in group.nodes:
        address = f"{one.name}.{named}.{one.host.data.get('kubernetes_namespace')}.svc"
        if not one.address.host.startswith(address):
            told = f"{one.address.host!r} is not the pod's name in DNS; allowed is {address}.CLUSTER-DOMAIN"
            yield f"{one.name}: keydb_address: {told}"
    if group.pod_proxies is not None:
        yield from _wrong_of_proxies(group, group.pod_proxies)
    yield from _twice(group, named)


def _wrong_of_one(first: NodeEntry, one: NodeEntry) -> Iterator[str]:
    for key in manifests.outside_of_the_volume(one):
        told = f"{one.data(key)} is not on the pod's volume, keydb_data_directory, and all else is read-only"
        yield f"{one.name}: {key}: {told}"
    wanted = one.host.data.get("kubernetes_container")
    if wanted not in (None, manifests.CONTAINER):
        yield f"{one.name}: kubernetes_container: {wanted!r} is wrong; install calls it {manifests.CONTAINER}"
    if not {"0.0.0.0", "127.0.0.1"} & set(one.data("keydb_bind") or ()):  # noqa: S104 - the pod's
        told = "lacks 0.0.0.0: links and probes come in on the pod's loopback address, peers on its own"
        yield f"{one.name}: keydb_bind: {told}"
    for key in SAME:
        if one.data(key) != first.data(key):
            yield f"{one.name}: {key}: differs from {first.name}'s {first.data(key)!r}; all pods of a set have the same"


def _wrong_of_proxies(group: Group, proxies: PodProxies) -> Iterator[str]:
    if not proxies.data("haproxy_image"):
        yield "haproxy: haproxy_image: is missing: the image of the proxies, which install needs on pods"
    if not group.nodes[0].data("keydb_write_service"):
        yield f"{group.nodes[0].name}: keydb_write_service: is missing: clients find the proxies by it"
    folder, pid_file = proxies.data("haproxy_config_directory"), PurePosixPath(proxies.data("haproxy_pid_file"))
    if proxies.data("keydb_tls_ca") != group.nodes[0].data("keydb_tls_ca"):
        yield f"haproxy: keydb_tls_ca: differs from {group.nodes[0].name}'s; all of a group trust the same"
    if not pid_file.is_relative_to(folder):
        told = f"{pid_file} is not below haproxy_config_directory, {folder}, and all else is read-only"
        yield f"haproxy: haproxy_pid_file: {told}"
    wanted = manifests.proxies_name(group)
    for entry in group.proxies:
        named = entry.host.data.get("kubernetes_deployment")
        if named != wanted:
            told = f"is no pod of Deployment {wanted}; allowed is @kubernetes/NAMESPACE/deployment/{wanted}"
            yield f"{entry.name}: haproxy: {told}, and keydb_group beside another one"
            continue
        for key in (key for key in known_keys() if key.startswith("haproxy_") and key != "haproxy_address"):
            if entry.data(key) != proxies.data(key):
                told = f"{entry.data(key)!r} is not what the inventory's group haproxy says, {proxies.data(key)!r}"
                yield f"{entry.name}: {key}: {told}, and install makes all proxies of that"


def _twice(group: Group, name: str) -> Iterator[str]:
    """Another group of the inventory with pods of the same StatefulSet, or the same Services."""
    for other in all_groups(group.nodes[0].host.inventory).values():
        if other.name == group.name or not are_pods(other) or _place(other) != _place(group):
            continue
        if any(node.name.rpartition("-")[0] == name for node in other.nodes):
            yield f"groups {group.name} and {other.name} both have pods of StatefulSet {name}; each needs its own"
        for key in ("keydb_write_service", "keydb_read_service"):
            service = group.nodes[0].data(key)
            if service and service == other.nodes[0].data(key):
                yield f"groups {group.name} and {other.name} both have {key} {service}; each needs its own"


def _place(group: Group) -> tuple[object, ...]:
    data = group.nodes[0].host.data
    return tuple(data.get(f"kubernetes_{part}") for part in ("namespace", "context", "config"))


def wanted_documents(group: Group, objects: Objects, observed: Callable[[], Topology]) -> list[Document]:
    """Every object as install wants it, in the order in which it is applied.

    :param observed: asked only where the write Service is to be made
    :raises NotOfOneSet: as ``manifests.ordinals``
    """
    write = group.nodes[0].data("keydb_write_service")
    live = _read(objects, "Service", write) if write else None
    return list(manifests.documents(group, _selector(group, live, observed)))


def try_out(objects: Objects, document: Document, *, force: bool = False) -> Tried:
    """What is there of an object, and what the server would make of its document."""
    kind, name = document["kind"], document["metadata"]["name"]
    there = _read(objects, kind, name)
    if isinstance(there, ClusterError):
        return Tried(kind, name, None, None, there.code, there.detail, verb="get")
    return objects.try_out(document, there, force=force)


def _read(objects: Objects, kind: str, name: str) -> dict[str, Any] | ClusterError | None:
    try:
        return objects.read(kind, name)
    except ClusterError as error:
        return error


def _selector(
    group: Group, live: dict[str, Any] | ClusterError | None, observed: Callable[[], Topology]
) -> Mapping[str, str] | None:
    """Whom the write Service leads to: it belongs to the verbs, so install sets it once and keeps it from then on.
    One that leads to proxies belongs to install."""
    if group.pod_proxies is not None:
        return manifests.first_selector(group, "")
    if isinstance(live, dict):
        return dict(live["spec"].get("selector") or {}) if _applied_selector(live) else None
    primary = None
    if any(runs(node.host) for node in group.nodes):
        primary = observed().rightful_primary()
    return manifests.first_selector(group, group.first_primary if primary is None else primary.name)


def _applied_selector(live: Mapping[str, Any]) -> bool:
    """Whether the selector is still the one that install gave: left out, it would be taken away."""
    return any(
        one.get("operation") == "Apply" and SELECTOR_OWNER in one.get("fieldsV1", {}).get("f:spec", {})
        for one in live["metadata"].get("managedFields") or []
    )


def refuse_secret(group: Group, objects: Objects) -> Refusal | None:
    """A Secret that somebody else keeps has to have the inventory's passwords."""
    from base64 import b64decode

    name = group.nodes[0].data("keydb_secret")
    if not name:
        return None
    where, hint = f"secret/{name}", "it needs the five passwords, each under its role (docs/kubernetes.md)"
    there = _read(objects, "Secret", name)
    if isinstance(there, ClusterError):
        return Refusal("no-right", where, there.detail, "docs/kubernetes.md lists the rights that install needs")
    if there is None:
        return Refusal("no-secret", where, f"keydb_secret names it, and {objects.told} has none", hint)
    data = there.get("data") or {}
    for role, password in manifests.passwords(group).items():
        if role not in data:
            return Refusal("no-secret", where, f"has no key {role}", hint)
        if b64decode(data[role]) != password.encode():
            return Refusal("no-secret", where, f"has another password of {role} than the inventory", hint)
    return None


def _live_certificate(group: Group, made: Wanted) -> Mapping[str, Any] | None:
    """The Secret with the certificate that an install before has made."""
    where = f"secret/{manifests.tls_secret(group)}"
    return next((one.live for one, _ in made.tried if one.where == where), None)


def _refuse_fewer(group: Group, made: Wanted) -> Refusal | None:
    going = taken_away(one for one, _ in made.tried)
    primary = observe(group).rightful_primary() if going else None
    return refuse_fewer(going, None if primary is None else primary.name, group.name)


def _shown(made: Wanted) -> Iterator[str]:
    """Each object that changes; all of a new one only where nothing is done but shown."""
    dry = invocation().dry
    for one, document in made.changed:
        yield format_text(f"{one.where} is {'new' if one.is_new else 'changed'}", "green" if one.is_new else "yellow")
        if not one.is_new:
            yield from (part for line in one.changes for part in wrap(line, "    ", 8))
        elif dry:
            yield from (f"    + {line}" for line in manifests.readable(document))


def give_up(state: State, group: Group) -> None:
    """Something of a group's objects could not be done: none of its servers is configured in this run."""
    _given_up.setdefault(state, set()).add(group.name)


def is_given_up(state: State, entry: NodeEntry) -> bool:
    """Whether something of the objects of a node's group could not be done."""
    return entry.data("keydb_group") in _given_up.get(state, ())


def _apply(state: State, host: Host, group: Group, wanted: Wanted, one: Tried, document: Document) -> bool:
    try:
        wanted.objects.apply(document, force=wanted.force)
    except ClusterError as error:
        give_up(state, group)
        told = f"{one.where} could not be applied: {error.detail}; what stands before it is done, run this again"
        return failed(state, host, told)
    host.log(f"{one.where} {'made' if one.is_new else 'changed'}")
    return True

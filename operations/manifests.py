"""The objects of a group on pods, out of ``templates/pods``: what is applied, and nothing is asked for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from keydb_runbooks.connectors.group import Credentials, Group, NodeEntry, PodProxies
from keydb_runbooks.connectors.tls import Certificate
from keydb_runbooks.operations import haproxy, keydb, programs
from keydb_runbooks.operations.pod_objects import SECRET_FILES
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks.configuration import in_bytes
from keydb_runbooks.runbooks.objects import GROUP, MANAGED_BY, OURS, TLS_MOUNT
from keydb_runbooks.runbooks.steps_service import POD_NAME
from keydb_runbooks.templates import plain, render

INSTANCE = "app.kubernetes.io/instance"

CONTAINER = "server"

PROXY = "proxy"
"""The container of a proxy, and what is put behind the StatefulSet's name for its Deployment's."""

TEMPLATES = ("configuration", "services", "protection", "statefulset")
"""In this order they are applied: the pods come last."""

LOGINS = ("operator", "monitoring")
"""Roles whose passwords lie beside ``keydb.conf``, each in a file of its own: the boot guard's, and the probes'."""

SCRIPTS = {
    "start": "pods/start.sh",
    "connect": "pods/connect.sh",
    "probe": "pods/probe.sh",
    "stop": "pods/stop.sh",
    "boot-guard": "boot-guard.sh",
}

WIDTH = 64
"""Of what is shown of a document."""

CHECK_MARK = "@check@"
"""Where a proxy's start puts what its checks send."""

MEMORY_BESIDE = 128 * 1024**2
"""Bytes that a pod needs beside twice its data: a child that saves them may copy all of them."""


@dataclass(frozen=True)
class Ordinals:
    """The StatefulSet that a group's pods are of, and the numbers of its pods: ``first`` and those behind it."""

    name: str
    first: int
    count: int


class NotOfOneSet(ValueError):
    """The names of pods aren't those of one StatefulSet; the text says why."""


def ordinals(group: Group) -> Ordinals:
    """The StatefulSet by the names of the group's pods.

    :raises NotOfOneSet: if they aren't NAME-0, NAME-1, ...
    """
    found = [re.fullmatch(r"([a-z]([-a-z0-9]*[a-z0-9])?)-(\d+)", node.name) for node in group.nodes]
    names = {match[1] for match in found if match}
    numbers = sorted(int(match[3]) for match in found if match)
    if None in found or len(names) > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        told = ", ".join(node.name for node in group.nodes)
        raise NotOfOneSet(f"{told} are no pods of one StatefulSet; allowed are NAME-0, NAME-1 and so on")
    return Ordinals(names.pop(), numbers[0], len(numbers))


def documents(group: Group, write_selector: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """Every object that install wants, in the order in which they are applied.

    :param write_selector: whom the write Service leads to, None to leave that as it is
    :raises NotOfOneSet: as ``ordinals``
    """
    import yaml

    values = _values(group, write_selector)
    every = [(template, values) for template in TEMPLATES]
    if group.pod_proxies is not None:
        every.append(("proxies", _proxy_values(group, group.pod_proxies)))
    found = []
    for template, given in every:
        for document in yaml.safe_load_all(render(f"pods/{template}.yaml.j2", **given)):
            document["metadata"]["labels"] = {INSTANCE: values["name"], MANAGED_BY: OURS}
            document["metadata"]["annotations"] = {GROUP: group.name}
            found.append(document)
    return found


def secrets(group: Group) -> list[dict[str, Any]]:
    """The Secret with the passwords that install makes; none where somebody else keeps one."""
    name = secret_name(group)
    return [one for one in documents(group, None) if (one["kind"], one["metadata"]["name"]) == ("Secret", name)]


def trial(group: Group) -> dict[str, Any]:
    """A pod that says whether the image has all that the pods need, and ends."""
    values = {**_values(group, None), "trial": f"{ordinals(group).name}-image", "shell": "bash"}
    return _trial(group, {**values, "script": plain("pods/image.sh")})


def proxy_trial(group: Group, proxies: PodProxies) -> dict[str, Any]:
    """The same for the proxies' image."""
    values = {**_proxy_values(group, proxies), "trial": f"{proxies_name(group)}-image", "shell": "sh", "program": ""}
    return _trial(group, {**values, "script": plain("pods/proxy-image.sh")})


def _trial(group: Group, values: Mapping[str, Any]) -> dict[str, Any]:
    import yaml

    document = yaml.safe_load(render("pods/trial.yaml.j2", **values))
    return {**document, "metadata": {**document["metadata"], "annotations": {GROUP: group.name}}}


def proxies_name(group: Group) -> str:
    """The Deployment of a group's proxies, which has the StatefulSet's name in its own."""
    return f"{ordinals(group).name}-{PROXY}"


def readable(document: Mapping[str, Any]) -> list[str]:
    """A document as lines of YAML for people: no password, and of a long text only how long it is."""
    import yaml

    def shown(value: object) -> object:
        if document["kind"] == "Secret":
            return "(secret)"
        lines = str(value).count("\n")
        return f"({lines} lines)" if lines > 1 else value

    parts = dict(document)
    if "data" in parts:
        parts["data"] = {key: shown(value) for key, value in parts["data"].items()}
    text = yaml.safe_dump(parts, sort_keys=False, default_flow_style=False, width=WIDTH)
    return [str(line) for line in text.splitlines()]


def login(node: NodeEntry, role: str) -> str:
    """A file with a user's password, as the start of a pod writes it."""
    user = node.user(role)
    quoted = "".join(chr(b) if b < 128 and chr(b).isalnum() else f"\\x{b:02x}" for b in user.password.encode())
    return f'AUTH {user.name} "{quoted}"\n'


def first_selector(group: Group, primary: str) -> dict[str, str]:
    """What a write Service selects when it is made."""
    if group.pod_proxies is not None:
        return {INSTANCE: proxies_name(group)}
    return {INSTANCE: ordinals(group).name, POD_NAME: primary}


def secret_name(group: Group) -> str:
    """The Secret with the passwords."""
    return str(group.nodes[0].data("keydb_secret") or ordinals(group).name)


def tls_secret(group: Group) -> str | None:
    """The Secret with the certificate, None where a group speaks no TLS."""
    if not group.nodes[0].data("keydb_tls_ca"):
        return None
    return str(group.nodes[0].data("keydb_tls_secret") or f"{ordinals(group).name}-tls")


def certificate(group: Group) -> Certificate | None:
    """What install puts into that Secret; None where somebody else keeps it, or there is none.

    :raises OSError: if one of the inventory's files can't be read
    """
    node = group.nodes[0]
    if tls_secret(group) is None or node.data("keydb_tls_secret"):
        return None
    return Certificate(*(Path(node.data(key)).read_bytes() for key in SECRET_FILES))


def called(group: Group) -> list[str]:
    """The names by which servers are called, each of which their certificate has to have."""
    node, pods = group.nodes[0], ordinals(group)
    domain = node.address.host.removeprefix(f"{node.name}.{pods.name}.")
    services = [node.data("keydb_write_service"), node.data("keydb_read_service")]
    return [*(one.address.host for one in group.nodes), *(f"{name}.{domain}" for name in services if name)]


def passwords(group: Group) -> dict[str, str]:
    """What that Secret must have: the password of each user under its role."""
    return {role: group.nodes[0].user(role).password for role in ACL}


def _values(group: Group, write_selector: Mapping[str, str] | None) -> dict[str, Any]:
    node, pods = group.nodes[0], ordinals(group)
    return {
        "name": pods.name,
        "first": pods.first,
        "replicas": pods.count,
        "container": CONTAINER,
        "port": node.address.port,
        "image": node.data("keydb_image"),
        "program": programs.on_path(node),
        "pull_secret": node.data("keydb_image_pull_secret"),
        "spread": node.data("keydb_spread"),
        "cpu": node.data("keydb_cpu"),
        "memory": node.data("keydb_memory") or _memory(node),
        "mount": node.data("keydb_data_directory"),
        "volume_size": node.data("keydb_volume_size"),
        "volume_class": node.data("keydb_volume_class"),
        "secret": secret_name(group),
        "passwords": None if node.data("keydb_secret") else passwords(group),
        "tls_secret": tls_secret(group),
        "tls_mount": TLS_MOUNT,
        "certificate": _secret_data(group),
        "files": files(group),
        "write_service": node.data("keydb_write_service"),
        "write_selector": write_selector,
        "read_service": node.data("keydb_read_service"),
        "client_namespaces": node.data("keydb_client_namespaces"),
        "proxies": None if group.pod_proxies is None else proxies_name(group),
        "only_through": group.pod_proxies is not None and node.data("keydb_clients_only_through_proxies"),
    }


def _secret_data(group: Group) -> dict[str, str] | None:
    found = certificate(group)
    if found is None:
        return None
    contents = (found.ca, found.certificate, found.key)
    return {name: content.decode() for name, content in zip(SECRET_FILES.values(), contents, strict=True)}


def _proxy_values(group: Group, proxies: PodProxies) -> dict[str, Any]:
    node = group.nodes[0]
    files = {
        "haproxy.cfg": haproxy.pod_configuration(group, proxies, CHECK_MARK),
        "proxy": plain("pods/proxy.sh"),
    }
    keys = ("image", "replicas", "memory", "write_port", "read_port", "pid_file")
    return {
        **{key: proxies.data(f"haproxy_{key}") for key in keys},
        "cpu": proxies.data("haproxy_processors"),
        "name": proxies_name(group),
        "container": PROXY,
        "files": files,
        "checksum": sha256(repr(_read_at_start(proxies, files)).encode()).hexdigest()[:16],
        "tls_secret": tls_secret(group),
        "tls_mount": TLS_MOUNT,
        "ca": SECRET_FILES["keydb_tls_ca"],
        "pull_secret": proxies.data("haproxy_image_pull_secret"),
        "mount": proxies.data("haproxy_config_directory"),
        "config": haproxy.config_path(proxies),
        "probe_port": haproxy.PROBE_PORT,
        "check_user": node.user("check").name,
        "secret": secret_name(group),
        "client_namespaces": node.data("keydb_client_namespaces"),
    }


def _read_at_start(proxies: PodProxies, files: Mapping[str, str]) -> Mapping[str, str]:
    """All that HAProxy reads when it starts and never again."""
    ca = proxies.data("keydb_tls_ca")
    return {**files, "ca": Path(ca).read_text(encoding="utf-8")} if ca else files


def files(group: Group) -> dict[str, str]:
    """What lies in the ConfigMap: each pod's configuration, with the places of passwords, and what is run."""
    node = group.nodes[0]
    users = {role: Credentials(node.user(role).name, f"@password-{role}@") for role in ACL}
    return {
        "config-path": keydb.config_path(node),
        "nodes": " ".join(f"{one.name}={one.address}" for one in group.nodes),
        **{f"{one.name}.conf": _configuration(one, users) for one in group.nodes},
        **{f"{role}.auth": f"AUTH {users[role].name} @password-{role}@\n" for role in LOGINS},
        **{file: plain(path) for file, path in SCRIPTS.items()},
    }


def _configuration(node: NodeEntry, users: Mapping[str, Credentials]) -> str:
    text = keydb.configuration_text(node, users)
    for role, user in users.items():
        text = text.replace(sha256(user.password.encode()).hexdigest(), f"@sha256-{role}@")
    return text


def _memory(node: NodeEntry) -> str:
    limit = in_bytes(str(node.data("keydb_maxmemory")))
    assert isinstance(limit, int)
    return str(2 * limit + MEMORY_BESIDE)


def outside_of_the_volume(node: NodeEntry) -> list[str]:
    """Keys of a node whose path is neither on its volume nor where a pod may write otherwise."""
    volume = PurePosixPath(node.data("keydb_data_directory"))
    keys = ("keydb_config_directory", "keydb_log_file", "keydb_pid_file", "keydb_history_file")
    free = (volume, PurePosixPath("/tmp"), PurePosixPath("/dev"))  # noqa: S108 - the pod's own
    paths = {key: PurePosixPath(node.data(key)) for key in keys}
    allowed = {"keydb_config_directory": (volume,)}
    return [key for key, path in paths.items() if not any(path.is_relative_to(one) for one in allowed.get(key, free))]

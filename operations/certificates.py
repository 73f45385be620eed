"""What nodes and proxies have of their certificates, read for drift: checksums, and what a server shows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography import x509

from keydb_runbooks.connectors.ahead import Question, quiet_answer
from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, NodeEntry, ProxyEntry
from keydb_runbooks.connectors.link import LinkError, certificate_of, in_parallel
from keydb_runbooks.connectors.tls import Certificate, fingerprint_of
from keydb_runbooks.facts.machine import Checksums
from keydb_runbooks.facts.running import read_text, text_of
from keydb_runbooks.operations import haproxy, keydb, manifests
from keydb_runbooks.operations.pod_objects import SECRET_FILES, is_pod, objects_of
from keydb_runbooks.operations.pods_drift import is_installed
from keydb_runbooks.operations.pods_tls import in_secret
from keydb_runbooks.runbooks.drift_certificate import Certificates, Shown, ca_drift
from keydb_runbooks.runbooks.drift_values import Drift, unknown
from keydb_runbooks.runbooks.topology import Topology


@dataclass(frozen=True)
class Given:
    """Who says which files servers shall have, and what these hold, by the inventory's key; nothing if unknown."""

    source: str
    files: Mapping[str, bytes]


def of_authority(group: Group) -> tuple[Drift, ...]:
    """Whether the CA of a group runs out soon."""
    ca = group.nodes[0].data("keydb_tls_ca")
    if not ca:
        return ()
    try:
        return tuple(ca_drift(group.name, ca_ends(ca), time.time()))
    except ValueError as error:
        return (unknown("certificate-unknown", group.name, f"when {ca} runs out can't be told: {error}"),)


def ca_ends(path: str) -> float:
    """When the last certificate of a file of CAs runs out, in seconds since 1970.

    Whatever a link trusts is in it: a server's own certificate, too, which isn't marked as a CA's.

    :raises OSError: if the file can't be read
    :raises ValueError: if a certificate in it can't be read
    """
    held = x509.load_pem_x509_certificates(Path(path).read_bytes())
    return max(one.not_valid_after_utc.timestamp() for one in held)


def of_servers(group: Group, topology: Topology) -> list[Certificates | None]:
    """What each node has; None where it has nothing to do with TLS, or its machine can't be asked."""
    in_pods = _of_secret(group)

    def look(entry: NodeEntry) -> Certificates | None:
        paths = keydb.certificate_paths(entry)
        if not paths or not entry.host.connected:
            return None
        given = in_pods if is_pod(entry) else _of_inventory(entry, paths)
        shown = _shown(entry) if topology.node(entry.name) is not None else None
        return _held(entry, paths, given, shown)

    return in_parallel(look, group.nodes)


def of_proxies(proxies: Iterable[ProxyEntry]) -> list[Certificates | None]:
    """The same of proxies on machines, which have the CA alone; those in pods read it when they start."""

    def look(entry: ProxyEntry) -> Certificates | None:
        if not entry.data("keydb_tls_ca") or is_pod(entry) or not entry.host.connected:
            return None
        paths = {"keydb_tls_ca": haproxy.ca_path(entry)}
        return _held(entry, paths, _of_inventory(entry, paths), None)

    return in_parallel(look, proxies)


def questions_of_server(entry: NodeEntry) -> tuple[Question, ...]:
    """What ``of_servers`` will want to know of a node's machine, for ``ahead.ask``."""
    paths = {} if is_pod(entry) else keydb.certificate_paths(entry)
    if not paths:
        return ()
    own = paths.get("keydb_tls_certificate")
    return checksums_of(paths.values()), *((text_of(own),) if own else ())


def questions_of_proxy(entry: ProxyEntry) -> tuple[Question, ...]:
    """What ``of_proxies`` will want to know of a proxy's machine, for ``ahead.ask``."""
    if not entry.data("keydb_tls_ca") or is_pod(entry):
        return ()
    return (checksums_of([haproxy.ca_path(entry)]),)


def checksums_of(paths: Iterable[str]) -> Question:
    """What a machine is asked for to tell what is in files."""
    return Checksums, {"paths": list(paths)}


def _held(entry: NodeEntry | ProxyEntry, paths: Mapping[str, str], given: Given, shown: Shown | None) -> Certificates:
    wanted: dict[str, str] = {paths[key]: _checksum(content) for key, content in given.files.items()}
    found: dict[str, str] = quiet_answer(entry.host, checksums_of(wanted)) if wanted else {}
    own = paths.get("keydb_tls_certificate")
    return Certificates(
        source=given.source,
        wanted=wanted,
        found=found,
        on_disk=fingerprint_of(read_text(entry.host, own).text or "") if own and shown else "",
        shown=shown,
        looked_at=time.time(),
        in_pod=is_pod(entry),
    )


def _of_inventory(entry: NodeEntry | ProxyEntry, paths: Iterable[str]) -> Given:
    return Given("the inventory", {key: Path(entry.data(key)).read_bytes() for key in paths})


def _of_secret(group: Group) -> Given:
    """What the Secret has that pods are given; that it isn't what the inventory says is told of the Secret."""
    if not is_installed(group):
        return Given("", {})
    with suppress(ClusterError, manifests.NotOfOneSet):
        name = manifests.tls_secret(group)
        if name is not None and (there := objects_of(group).read("Secret", name)) is not None:
            held = in_secret(there)
            if isinstance(held, Certificate):
                contents = (held.ca, held.certificate, held.key)
                return Given(f"secret/{name}", dict(zip(SECRET_FILES, contents, strict=True)))
    return Given("", {})


def _shown(entry: NodeEntry) -> Shown | None:
    with suppress(LinkError, OSError):
        return certificate_of(entry)
    return None


def _checksum(content: bytes) -> str:
    """As ``facts.machine.Checksums``."""
    return sha256(content if content.endswith(b"\n") or not content else content + b"\n").hexdigest()

"""Certificates of groups on pods: whether everybody would trust a new one, those who have the old one's CA as well."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.link import LinkError, in_parallel, link
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.connectors.tls import Certificate, refuse_in_memory
from keydb_runbooks.operations import manifests
from keydb_runbooks.operations.pod_objects import SECRET_FILES, runs
from keydb_runbooks.runbooks.plan import Refusal

OVERLOOKED = ("certificate has expired", "Hostname mismatch")
"""What a certificate that runs may be refused for, as OpenSSL says it: nobody trusts it as it is, and a new one mends
that."""

CHANGE_CA = "give the old and the new CA in one file first (docs/tls.md), or force_conflicts=yes, and clients wait"


def refuse(group: Group, objects: Objects) -> Refusal | None:
    """Why the certificate that the inventory asks for is of no use, or would not be trusted; None if it is."""
    name = manifests.tls_secret(group)
    if name is None:
        return None
    wanted = manifests.certificate(group)
    if wanted is None:
        return _refuse_theirs(group, objects, name)
    untrusted = _untrusted(group, wanted, wanted.ca)
    return _refusal(name, untrusted, "keydb_tls_certificate needs another one") if untrusted else None


def refuse_renewal(group: Group, live: Mapping[str, Any] | None) -> Refusal | None:
    """Servers, proxies and clients get a new certificate or CA one after the other, and meet each other meanwhile.

    :param live: the Secret that install made before, None if it made none
    """
    name, wanted = manifests.tls_secret(group), manifests.certificate(group)
    if name is None:
        return None
    before = None if live is None else in_secret(live)
    if wanted is not None and isinstance(before, Certificate):
        untrusted = _untrusted(group, wanted, before.ca)
        if untrusted:
            return _refusal(name, f"{untrusted}, with the CA that servers have now", CHANGE_CA)
    for told in in_parallel(_stranger, [node for node in group.nodes if runs(node.host)]):
        if told:
            return _refusal(name, told, CHANGE_CA)
    return None


def _stranger(node: NodeEntry) -> str:
    """Why a server that runs is not trusted any more with the CA that the inventory names, "" if it is."""
    try:
        link(node).close()
    except LinkError as error:
        if error.code == "not-trusted" and not any(told in error.detail for told in OVERLOOKED):
            return error.detail
    return ""


def _refuse_theirs(group: Group, objects: Objects, name: str) -> Refusal | None:
    """A Secret that somebody else keeps has to have what servers need, and what links and clients trust."""
    hint = f"it needs {', '.join(SECRET_FILES.values())} (docs/kubernetes.md)"
    try:
        there = objects.read("Secret", name)
    except ClusterError as error:
        hint = "docs/kubernetes.md lists the rights that install needs"
        return Refusal("no-right", f"secret/{name}", error.detail, hint)
    if there is None:
        told = f"keydb_tls_secret names it, and {objects.told} has none"
        return Refusal("no-secret", f"secret/{name}", told, hint)
    found = in_secret(there)
    if isinstance(found, str):
        return Refusal("no-secret", f"secret/{name}", f"has no key {found}", hint)
    ours = Path(group.nodes[0].data("keydb_tls_ca")).read_bytes()
    untrusted = _untrusted(group, found, found.ca) or _untrusted(group, found, ours)
    return _refusal(name, untrusted, "mend it there, or keydb_tls_ca") if untrusted else None


def _untrusted(group: Group, shown: Certificate, ca: bytes) -> str:
    """Who would not trust a certificate and why, "" if everybody does."""
    refused = refuse_in_memory(shown, ca, manifests.called(group))
    return "" if refused is None else f"is refused by who calls {refused[0]}: {refused[1]}"


def _refusal(name: str, told: str, hint: str) -> Refusal:
    return Refusal("not-trusted", f"secret/{name}", told, hint)


def in_secret(document: Mapping[str, Any]) -> Certificate | str:
    """What a Secret has, or the key that it lacks."""
    data = document.get("data") or {}
    lacking = [key for key in SECRET_FILES.values() if not data.get(key)]
    return lacking[0] if lacking else Certificate(*(b64decode(data[key]) for key in SECRET_FILES.values()))

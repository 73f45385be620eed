"""Objects of a cluster as install wants them: whose they are, what would change, and why it must not.

What would change is told by the API server, which tries each object and keeps nothing; here two of its answers are
compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import ndiff
from typing import Any

from keydb_runbooks.runbooks.plan import Refusal

GROUP = "keydb-runbooks/group"
"""An annotation: which group an object was made for."""

MANAGED_BY, OURS = "app.kubernetes.io/managed-by", "keydb-runbooks"
"""A label of what install made, and its value."""

TLS_MOUNT = "/etc/keydb-tls"
"""Where pods of a group that speaks TLS have their certificate, and others have nothing."""

Wished = tuple[str, Mapping[str, Any] | None, Mapping[str, Any]]
"""An object's name, what it is now, None if there is none, and what install wants."""

_NOBODYS = {
    "metadata.creationTimestamp",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.uid",
    "status",
}
"""Fields that the server keeps by itself."""


@dataclass(frozen=True)
class Field:
    """A leaf of an object: what it is, and what it is wished to be; None is nothing, and ``secret`` is for nobody."""

    path: str
    is_now: Any
    wished: Any
    secret: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it has lines."""
        return any(isinstance(side, str) and "\n" in side for side in (self.is_now, self.wished))

    @property
    def line_changes(self) -> tuple[str, ...]:
        """The lines that go and that come, each behind its sign."""
        old, new = (() if side is None else str(side).splitlines() for side in (self.is_now, self.wished))
        return tuple(line for line in ndiff(old, new) if line[:1] in "+-")


@dataclass(frozen=True)
class Tried:
    """An object that was tried on the server: what is there, None if nothing is, and what would be.

    ``problem`` is the code of what the server said instead, ``detail`` its sentence, ``fields`` the fields that others
    own, with their owners. ``verb`` is what it was asked for, as RBAC calls it: ``get`` where ``live`` isn't known.
    """

    kind: str
    name: str
    live: Mapping[str, Any] | None
    wished: Mapping[str, Any] | None
    problem: str = ""
    detail: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    verb: str = "patch"

    @property
    def where(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    @property
    def is_new(self) -> bool:
        return self.live is None

    @property
    def changes(self) -> tuple[str, ...]:
        """What would become other than it is, a line each; nothing of a Secret's values."""
        return tuple(line for field in self.differing for line in _lines(field))

    @property
    def differing(self) -> tuple[Field, ...]:
        """What would become other than it is, field by field."""
        before, after = dict(flat(self.live or {})), dict(flat(self.wished or {}))
        return tuple(
            Field(path, *sides, secret=self.kind == "Secret" and path.startswith("data."))
            for path in {**before, **after}
            if (sides := (before.get(path), after.get(path)))[0] != sides[1]
        )


def refuse(tried: Iterable[Tried], group: str, place: str, *, force: bool) -> Refusal | None:
    """Every reason why nothing may be changed, in one refusal; None if everything may.

    :param place: the namespace and the cluster, in words
    :param force: take over what others own
    """
    every = tuple(tried)
    found = [refusal for one in every if (refusal := _refuse_one(one, group, place)) is not None]
    found += [] if force else [refusal for one in every if (refusal := _refuse_emptied(one)) is not None]
    # A namespace that isn't there is no reason for each object in it.
    found = list({(one.code, one.where, one.sentence): one for one in found}.values())
    if not found:
        return None
    first, *others = found
    return Refusal(first.code, first.where, first.sentence, first.hint, also=tuple(others))


def taken_away(tried: Iterable[Tried]) -> tuple[str, ...]:
    """The pods that are there and would go, since fewer are wanted or others."""
    for one in tried:
        if one.kind == "StatefulSet" and one.live is not None and one.wished is not None:
            wished = _pods(one.name, one.wished)
            return tuple(pod for pod in _pods(one.name, one.live) if pod not in wished)
    return ()


def _pods(name: str, document: Mapping[str, Any]) -> tuple[str, ...]:
    spec = document["spec"]
    first = spec.get("ordinals", {}).get("start", 0)
    return tuple(f"{name}-{number}" for number in range(first, first + spec["replicas"]))


def refuse_fewer(pods: tuple[str, ...], primary: str | None, group: str) -> Refusal | None:
    """Nobody may be taken away of whom it is not known that it is no primary.

    :param pods: those that would go
    :param primary: the group's primary, if it is one of those that stay
    """
    if not pods or primary is not None:
        return None
    names = " and ".join(pods)
    told = f"{names} would go, and none of those that stay is the primary, so it may be among them"
    return Refusal(
        "primary-would-go", group, told, "with all of them in the inventory: status, then switchover to a lower number"
    )


def refuse_rerouted(wished: Iterable[Wished]) -> Refusal | None:
    """Clients that are connected would stay where a Service led them before, and no verb would look for them there."""
    for where, was in _turned(wished, "Service", _to_proxies):
        now, then = ("proxies", "a server") if was else ("a server", "proxies")
        told = f"leads to {now}, and to {then} it is to lead: clients that are connected would not follow"
        hint = "set keydb_routing back; or uninstall, which leaves the volumes, and install"
        return Refusal("routing-differs", where, told, hint)
    return None


def refuse_encrypted(wished: Iterable[Wished]) -> Refusal | None:
    """A server has one port, and speaks one way at it: replicas and clients that speak the other one are cut off."""
    for where, was in _turned(wished, "StatefulSet", _encrypted):
        now, then = ("TLS", "no TLS") if was else ("no TLS", "TLS")
        told = f"its pods speak {now}, and the inventory asks for {then}: nobody could speak to those that run on"
        hint = "set the inventory's keydb_tls_... back; or uninstall, which leaves the volumes, and install"
        return Refusal("tls-differs", where, told, hint)
    return None


def _turned(
    wished: Iterable[Wished], kind: str, look: Callable[[Mapping[str, Any]], bool]
) -> Iterator[tuple[str, bool]]:
    """The objects of a kind that install made before and in which it would turn something: their names, what it was."""
    for where, live, document in wished:
        if document["kind"] != kind or live is None or GROUP not in live["metadata"].get("annotations", {}):
            continue
        if look(live) != look(document):
            yield where, look(live)


def _encrypted(pods: Mapping[str, Any]) -> bool:
    containers = pods["spec"].get("template", {}).get("spec", {}).get("containers") or ()
    return any(one["mountPath"] == TLS_MOUNT for part in containers for one in part.get("volumeMounts") or ())


def _to_proxies(service: Mapping[str, Any]) -> bool:
    return any(port.get("targetPort") in ("write", "read") for port in service["spec"].get("ports") or ())


def _refuse_one(one: Tried, group: str, place: str) -> Refusal | None:
    owner = None if one.live is None else one.live["metadata"].get("annotations", {}).get(GROUP)
    if one.live is not None and owner is None:
        told = f"is there already, and install did not make it ({_makers(one.live)})"
        return Refusal("not-ours", one.where, told, "take another name in the inventory, or remove it first")
    if owner is not None and owner != group:
        told = f"belongs to group {owner}, and this one is {group}"
        return Refusal("other-group", one.where, told, "every group needs names of its own in a namespace")
    if one.problem == "missing":
        return Refusal("no-namespace", place, one.detail, "make it first: install makes none")
    if one.fields:
        owners = "; ".join(f"{field} is {manager}'s" for field, manager in one.fields)
        hint = "let them give it up, or force_conflicts=yes takes it over"
        return Refusal("owned-by-others", one.where, owners, hint)
    if one.problem == "not-permitted":
        return Refusal("no-right", one.where, one.detail, "docs/kubernetes.md lists the rights that install needs")
    if one.problem == "no-answer":
        return Refusal("no-api-server", place, one.detail, "reach it, then this again")
    if one.problem:
        return Refusal("not-accepted", one.where, one.detail, "mend that in the inventory")
    return None


def scaled_to_zero(one: Tried) -> int:
    """How many pods are wanted where somebody took all of them away on purpose, 0 where nobody did.

    The server doesn't say who it was, since 0 is nobody's field.
    """
    pods = [0 if side is None else side.get("spec", {}).get("replicas") for side in (one.live, one.wished)]
    return int(pods[1] or 0) if one.kind == "StatefulSet" and one.live is not None and pods[0] == 0 else 0


def scale_up(one: Tried) -> str:
    """What brings the pods back that somebody took away from a StatefulSet that is there."""
    assert one.live is not None
    up = scaling(str(one.live["metadata"]["namespace"]), one.name, scaled_to_zero(one))
    return f"{up} brings them back, and so does install with force_conflicts=yes"


def scaling(namespace: str, name: str, replicas: int | str) -> str:
    """The command that gives a StatefulSet so many pods, to be pasted."""
    return f"kubectl -n {namespace} scale statefulset {name} --replicas={replicas}"


def _refuse_emptied(one: Tried) -> Refusal | None:
    if not (wanted := scaled_to_zero(one)):
        return None
    told = f"somebody scaled it to 0 pods, and {wanted} are wanted"
    return Refusal("scaled-to-zero", one.where, told, scale_up(one))


def _makers(live: Mapping[str, Any]) -> str:
    names = {str(one.get("manager")) for one in live["metadata"].get("managedFields") or []}
    return f"{' and '.join(sorted(names))} did" if names else "nobody is named as its owner"


def _lines(field: Field) -> Iterator[str]:
    if field.secret:
        yield f"{_sign(field)} {field.path}: (secret)"
    elif field.is_text:
        yield f"{_sign(field)} {field.path}:"
        yield from (f"  {line}" for line in field.line_changes)
    else:
        if field.is_now is not None:
            yield f"- {field.path}: {field.is_now}"
        if field.wished is not None:
            yield f"+ {field.path}: {field.wished}"


def _sign(field: Field) -> str:
    return "+" if field.is_now is None else "-" if field.wished is None else "~"


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path; a list's elements go by their names, where they have some."""
    if path in _NOBODYS:
        return
    if value and isinstance(value, Mapping | list):
        for name, part in _parts(value, path):
            yield from flat(part, name)
    elif path:
        yield path, value


def path_of(field: str, document: Mapping[str, Any]) -> str:
    """The path of a field that the API server names: ``ports[port=6379,protocol="TCP"]`` is ``ports[keydb]``.

    An element that the document doesn't have keeps the server's name.
    """
    path = ""
    every = tuple(_elements(document))
    for text, selector in re.findall(r"([^\[]+)(?:\[([^\]]*)\])?", field):
        path += str(text)
        if selector:
            keys = {key: json.loads(value) for key, value in re.findall(r'(\w+)=("[^"]*"|\w+)', selector)}
            known = (name for at, name, one in every if at == path and keys and keys.items() <= one.items())
            path = next(known, f"{path}[{selector}]")
    return path


def _elements(value: Any, path: str = "") -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The path of every list of objects, with that of each of its elements, and the element."""
    if isinstance(value, Mapping | list):
        for name, part in _parts(value, path):
            if isinstance(value, list) and isinstance(part, Mapping):
                yield path, name, part
            yield from _elements(part, name)


def _parts(value: Mapping[str, Any] | list[Any], path: str) -> Iterator[tuple[str, Any]]:
    """What an object or a list holds, each with its path."""
    if isinstance(value, Mapping):
        yield from ((f"{path}.{key}" if path else str(key), part) for key, part in value.items())
        return
    for number, part in enumerate(value):
        name = part.get("name", number) if isinstance(part, Mapping) else number
        yield f"{path}[{name}]", part

"""The shape of an inventory's data, as JSON Schema (draft 2020-12), and its check.

Every error comes at once, each as ``host: key.path: what is wrong, what is allowed``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

PREFIXES = ("keydb_", "haproxy_")
"""Data with these prefixes are this project's; everything else belongs to somebody else."""

SECRETS = "keydb_users"


@dataclass(frozen=True)
class Complaint:
    """One error: which host, which key, what is wrong and what is allowed."""

    where: str
    key: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.sentence}"


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of a host's data; ``$defs`` has one part for nodes and one for proxies."""
    text = (files(__package__) / "inventory.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def default_of(key: str) -> Any:
    """The default that the schema states for a key, None if it states none."""
    for part in ("node", "proxy"):
        properties = schema()["$defs"][part]["properties"]
        if key in properties:
            return properties[key].get("default")
    return None


def check_hosts(nodes: Mapping[str, Mapping[str, Any]], proxies: Mapping[str, Mapping[str, Any]]) -> list[Complaint]:
    """Check the data of all hosts; return every error at once, those that all hosts share only once."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for part, hosts in (("node", nodes), ("proxy", proxies)):
        for name, data in hosts.items():
            for key, sentence in _check_host(part, data):
                if name not in found[key, sentence]:
                    found[key, sentence].append(name)
    everybody = len({*nodes, *proxies})
    complaints = [
        Complaint("every host" if len(names) == everybody > 1 else ", ".join(names), key, sentence)
        for (key, sentence), names in found.items()
    ]
    return complaints + list(_check_together(nodes, proxies))


def _check_host(part: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    validator = Draft202012Validator({"$ref": f"#/$defs/{part}", "$defs": schema()["$defs"]})
    own = {key: value for key, value in data.items() if key.startswith(PREFIXES)}
    properties = schema()["$defs"]
    known = {key for name in ("node", "proxy") for key in properties[name]["properties"]}
    for error in sorted(validator.iter_errors(own), key=lambda error: list(map(str, error.path))):
        yield from _sentences(error, known)


def _sentences(error: ValidationError, known: set[str]) -> Iterator[tuple[str, str]]:
    path, part = [str(key) for key in error.absolute_path], _part(error)
    if error.validator == "additionalProperties":
        given = set(map(str, _instance(error))) - set(part.get("properties", {}))
        for key in sorted(given - known if not path else given):
            yield ".".join([*path, key]), "is not a key that is known" + _allowed_keys(error, path)
    elif error.validator == "required":
        missing = [key for key in part["required"] if key not in _instance(error)]
        for key in missing:
            if error.message.startswith(repr(key)):
                yield ".".join([*path, key]), "is missing" + _description(part["properties"].get(key, {}))
    else:
        yield ".".join(path), _wrong_value(error, path)


def _allowed_keys(error: ValidationError, path: list[str]) -> str:
    return f"; allowed are {', '.join(_part(error)['properties'])}" if path else "; docs/inventory.md lists them"


def _part(error: ValidationError) -> Mapping[str, Any]:
    """The part of the schema that was violated."""
    return error.schema if isinstance(error.schema, Mapping) else {}


def _instance(error: ValidationError) -> Mapping[str, Any]:
    """The dictionary that was checked."""
    return error.instance if isinstance(error.instance, Mapping) else {}


def _wrong_value(error: ValidationError, path: list[str]) -> str:
    # A rejected secret is never repeated.
    secret = path[:1] == [SECRETS] and path[-1] != "name"
    shown = "its value" if secret else repr(error.instance)
    part = _part(error)
    if "enum" in part:
        return f"{shown} is wrong; allowed are {', '.join(map(str, part['enum']))}"
    return f"{shown} is wrong; allowed is {part.get('x-allowed', 'something else')}"


def _description(part: Mapping[str, Any]) -> str:
    text = part.get("description")
    return f": {text}" if text else ""


def _check_together(
    nodes: Mapping[str, Mapping[str, Any]], proxies: Mapping[str, Mapping[str, Any]]
) -> Iterator[Complaint]:
    """What a schema of one host can't say."""
    yield from _check_places(nodes)
    yield from _check_first_primaries(nodes)
    groups = {_text(data, "keydb_group") for data in nodes.values()}
    for name, data in proxies.items():
        group = _text(data, "keydb_group")
        if group not in groups:
            yield Complaint(name, "keydb_group", f"no node is in {group!r}; allowed are {', '.join(sorted(groups))}")


def _check_places(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[Complaint]:
    listening: dict[str, str] = {}
    for name, data in nodes.items():
        if "keydb_address" not in data:
            continue
        place = f"{_text(data, 'keydb_address')}:{_text(data, 'keydb_port')}"
        if place in listening:
            told = f"{place} is {listening[place]}'s already; every node needs its own"
            yield Complaint(name, "keydb_port", told)
        listening[place] = name


def _check_first_primaries(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[Complaint]:
    first: dict[str, str] = {}
    for name, data in nodes.items():
        group = _text(data, "keydb_group")
        if data.get("keydb_first_primary") is not True:
            continue
        if group in first:
            told = f"{first[group]} is the first primary of {group} already; allowed is one"
            yield Complaint(name, "keydb_first_primary", told)
        first[group] = name


def _text(data: Mapping[str, Any], key: str) -> str:
    """A value that is compared, whatever type it has: a wrong type is the schema's complaint."""
    return str(data.get(key, default_of(key)))

"""The schema as it lies in inventory.json, and what an error about an inventory is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

PREFIXES = ("keydb_", "haproxy_")
"""Data with these prefixes are this project's; everything else belongs to somebody else."""

SECRETS = "keydb_users"

ADMIN = "admin"
"""The role in it that is no user of ours."""

Hosts = Mapping[str, Mapping[str, Any]]
"""The data of hosts by their names."""


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


@cache
def default_of(key: str) -> Any:
    """The default that the schema states for a key, None if it states none."""
    for part in ("node", "proxy"):
        properties = schema()["$defs"][part]["properties"]
        if key in properties:
            return properties[key].get("default")
    return None


@cache
def known_keys() -> tuple[str, ...]:
    """Every key of a node or a proxy."""
    parts = [schema()["$defs"][part]["properties"] for part in ("node", "proxy")]
    return tuple(dict.fromkeys(key for part in parts for key in part))


def value_in(data: Mapping[str, Any], key: str) -> Any:
    """A host's value, or the schema's default."""
    return data.get(key, default_of(key))


def text_in(data: Mapping[str, Any], key: str) -> str:
    """A value that is compared, whatever type it has: a wrong type is the schema's complaint."""
    return str(value_in(data, key))


def users_in(data: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Role, name and password of the users that have both; whatever is wrong with others is the schema's complaint."""
    users = data.get(SECRETS)
    for role in schema()["$defs"]["node"]["properties"][SECRETS]["properties"]:
        user = users.get(role) if isinstance(users, Mapping) else None
        if isinstance(user, Mapping):
            name, password = user.get("name"), user.get("password")
            if isinstance(name, str) and isinstance(password, str):
                yield role, name, password

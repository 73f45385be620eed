"""What a schema can't say of one host."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Any

from keydb_runbooks.runbooks.configuration import quote
from keydb_runbooks.schemas.document import ADMIN, SECRETS, users_in, value_in
from keydb_runbooks.schemas.shape import Errors

ADDRESSES = {
    "node": ("keydb_address", "keydb_bind"),
    "proxy": ("haproxy_address", "haproxy_source_address"),
}
"""Keys that hold addresses."""

KEY_OF_DIRECTIVE = {
    "aclfile": SECRETS,
    "appendonly": "keydb_persistence",
    "bind": "keydb_bind",
    "dir": "keydb_data_directory",
    "logfile": "keydb_log_file",
    "masterauth": SECRETS,
    "masteruser": SECRETS,
    "maxmemory": "keydb_maxmemory",
    "min-replicas-max-lag": "keydb_min_replicas_max_lag",
    "min-replicas-to-write": "keydb_min_replicas_to_write",
    "pidfile": "keydb_pid_file",
    "port": "keydb_port",
    "repl-backlog-size": "keydb_backlog_size",
    "server-threads": "keydb_server_threads",
    "tls-ca-cert-file": "keydb_tls_ca",
    "tls-cert-file": "keydb_tls_certificate",
    "tls-key-file": "keydb_tls_key",
    "tls-port": "keydb_port",
    "user": SECRETS,
}
"""Directives that have a key, so that ``keydb_settings`` must not set them a second time."""

LINE = 1023
"""Characters of a line of keydb.conf that KeyDB 6.3.4 reads as one when it rewrites the file: it takes the rest for
a line of its own, keeps it, and doesn't start any more."""


def check_alone(part: str, data: Mapping[str, Any]) -> Errors:
    """Check the data of one host, a ``node`` or a ``proxy``."""
    for key in ADDRESSES[part]:
        given = data.get(key)
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, str) and value and not _is_address(value):
                yield key, f"{value!r} is wrong; allowed is a name or an address, without a port"
    yield from _check_users(data)
    if part == "node":
        yield from _check_node(data)


def _check_node(data: Mapping[str, Any]) -> Errors:
    if data.get("keydb_address") in ("0.0.0.0", "::"):  # noqa: S104 - refused, not bound
        told = f"{data['keydb_address']!r} is every address of a machine; allowed is the one that peers reach it at"
        yield "keydb_address", told
    yield from _check_firewall(data)
    settings = data.get("keydb_settings")
    names = [name for name in settings if name in KEY_OF_DIRECTIVE] if isinstance(settings, Mapping) else []
    for name in names:
        told = f"belongs to {KEY_OF_DIRECTIVE[name]}; allowed are directives that have no key of their own"
        yield f"keydb_settings.{name}", told
    if value_in(data, "keydb_engine") == "keydb":
        yield from _check_lines(data)


def _check_firewall(data: Mapping[str, Any]) -> Errors:
    given = data.get("keydb_firewall_allow")
    for value in given if isinstance(given, list) else ():
        try:
            ip_network(value)
        except ValueError:
            if isinstance(value, str):
                yield (
                    "keydb_firewall_allow",
                    f"{value!r} is wrong; allowed is an address, or a network without host bits",
                )


def _check_lines(data: Mapping[str, Any]) -> Errors:
    passwords = [(f"{SECRETS}.{role}", text) for role, _, text in users_in(data) if role == "replication"]
    lines = [(f"{key}.password", f"masterauth {quote(text)}") for key, text in passwords]
    settings = data.get("keydb_settings")
    if isinstance(settings, Mapping):
        lines += [(f"keydb_settings.{name}", f"{name} {quote(str(value))}") for name, value in settings.items()]
    for key, line in lines:
        # CONFIG REWRITE puts quotes around a value that has none.
        if len(line) + (0 if line.endswith('"') else 2) > LINE:
            told = f"needs more than the {LINE} characters that KeyDB reads of a line of keydb.conf"
            yield key, f"{told}; allowed is a shorter one (every byte outside of ASCII needs four)"


def _check_users(data: Mapping[str, Any]) -> Errors:
    # Who made a server that is adopted may have any name, the default user's for one.
    users = [user for user in users_in(data) if user[0] != ADMIN]
    for role, name, _ in users:
        if name == "default":
            told = "'default' is the server's own user (keydb_default_user); allowed is any other name"
            yield f"{SECRETS}.{role}.name", told
    for (first, name, password), (second, other_name, other_password) in combinations(users, 2):
        if name == other_name:
            yield f"{SECRETS}.{second}.name", f"{name!r} is {first}'s already; every role needs its own"
        if password and password == other_password:
            # Whoever knows it could be both.
            yield f"{SECRETS}.{second}.password", f"is the same as {first}'s; every role needs its own"


def _is_address(text: str) -> bool:
    """Whether a text may be a name or is an address; what looks like an address must be one."""
    if ":" not in text and text.strip("0123456789."):
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    return True

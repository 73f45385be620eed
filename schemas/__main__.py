"""``python -m keydb_runbooks.schemas > docs/inventory.md``: the inventory's data as a page, out of the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keydb_runbooks.schemas import schema

HEAD = """# Inventory data

Made from `schemas/inventory.json` by `python -m keydb_runbooks.schemas`; a test keeps them equal.

Servers are the hosts of the inventory's group `keydb`, proxies those of its group `haproxy`. All errors of
an inventory are told at once, before anything is changed. Data of other names are not looked at, unless a name is
one of these but for a slip in its prefix (`kedyb_port`, `haproxyport`).
"""

TOGETHER = """## What is checked besides

- Of all hosts: two servers or proxies on one address and port, or with one path on one machine; an address of
  loopback that hosts on other machines can't reach.
- Of a group: two first primaries; proxies without servers; names of groups that differ in capitals only; more
  `keydb_min_replicas_to_write` than there can be replicas; users, `keydb_min_replicas_to_write`,
  `keydb_min_replicas_max_lag`, `keydb_preferred_zones`, `keydb_write_service` or `keydb_clients_only_through_proxies`
  that differ between its hosts; a preferred zone that no node is in; TLS for some.
- Of a server: a package's version or repository without the package, a repository without its key, a program's source
  without its checksum, or beside a package or `keydb_server`.
- Of a server that is not adopted: `keydb_users.admin`.
- Of a user: a name or a password that another role has, too; the name `default`.
- Of `keydb_settings`: directives that have a key of their own.
- On KeyDB: a replication password, or a setting, that needs more than 1023 characters in `keydb.conf`. KeyDB breaks
  longer lines when it rewrites its file, and doesn't start again.

An even number of servers is allowed; `install` and `status` advise an odd one.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = schema()["$defs"]
    lines = [HEAD]
    for title, part in (("Servers (group `keydb`)", "node"), ("Proxies (group `haproxy`)", "proxy")):
        lines += [f"## {title}", "", *_table(parts[part]), ""]
    roles = parts["node"]["properties"]["keydb_users"]["properties"]
    lines += [
        "## `keydb_users`",
        "",
        "All but `admin` are needed, each with `name` and `password`; docs/users.md tells their rights. Write",
        "passwords as `Secret(...)` of `keydb_runbooks.connectors.secrets`: pyinfra prints an inventory's data with",
        "`--debug` and `debug-inventory`, and shows these as `*MASKED*`. A password has 1 to 512 characters, no line",
        "breaks, no NUL.",
        "While it is rotated the one before stands beside it as `previous` (docs/rotate.md).",
        "",
    ]
    lines += [f"- `{role}`: {value['description']}" for role, value in roles.items()]
    return "\n".join([*lines, "", TOGETHER])


def _table(part: Mapping[str, Any]) -> Iterator[str]:
    yield "| key | what it is | allowed | default |"
    yield "|---|---|---|---|"
    for key, value in part["properties"].items():
        default = "needed" if key in part["required"] else _shown(value.get("default"))
        yield f"| `{key}` | {value['description']} | {_allowed(value)} | {default} |"


def _allowed(value: Mapping[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    return str(value.get("x-allowed", "see below" if "properties" in value else "a dictionary"))


def _shown(default: Any) -> str:
    return "none" if default is None else f"`{default}`"


if __name__ == "__main__":
    print(page(), end="")

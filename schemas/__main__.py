"""``python -m keydb_runbooks.schemas > docs/inventory.md``: the inventory's data as a page, out of the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keydb_runbooks.schemas import schema

HEAD = """# Inventory data

Made from `schemas/inventory.json` by `python -m keydb_runbooks.schemas`; a test keeps them equal.

Servers are the hosts of the inventory's group `keydb`, proxies those of its group `haproxy`. All errors of
an inventory are told at once, before anything is changed. Data of other names are not looked at.
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
        "All five are needed, each with `name` and `password`; docs/users.md tells their rights.",
        "",
    ]
    lines += [f"- `{role}`: {value['description']}" for role, value in roles.items()]
    return "\n".join(lines) + "\n"


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

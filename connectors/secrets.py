"""Passwords in an inventory: hidden from whoever prints its data, and, for the sandbox, made at random and kept."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyinfra.api import HiddenValue


class Secret(HiddenValue):
    """A password as an inventory should hold it.

    pyinfra prints an inventory's data when it is asked to (``--debug``, ``debug-inventory``), and this as *MASKED*.

    .. code:: python

        keydb_users = {"operator": {"name": "operator", "password": Secret(os.environ["OPERATOR_PASSWORD"])}, ...}
    """

    def __init__(self, password: str) -> None:
        super().__init__(password)  # type: ignore[no-untyped-call]

    def to_json(self) -> str:
        """What ``debug-inventory --json`` prints."""
        return str(self)


def unmask(value: Any) -> Any:
    """The same data with every hidden value in plain."""
    if isinstance(value, HiddenValue):
        return value.unmask()
    if isinstance(value, dict):
        return {key: unmask(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [unmask(item) for item in value]
    return value


def kept_passwords(path: Path, roles: list[str]) -> dict[str, Secret]:
    """The password of each role; made and kept if the file isn't there yet.

    :param path: the file; its folder is made too, closed to others
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = {role: secrets.token_urlsafe(24) for role in roles}
        temporary = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(made, file)
        # Whoever comes second keeps the first one's file.
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return {role: Secret(kept[role]) for role in roles}


def previous_passwords(path: Path) -> dict[str, Secret]:
    """The passwords before, of the roles that the file has; none without the file."""
    if not path.exists():
        return {}
    return {role: Secret(password) for role, password in json.loads(path.read_text()).items()}

"""Passwords that are made at random once and kept in a file of mode 0600, for the sandbox."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path


def kept_passwords(path: Path, roles: list[str]) -> dict[str, str]:
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
    return {role: kept[role] for role in roles}

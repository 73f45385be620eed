"""What every run of the tests says first: which servers and programs it found, and what is left out without them."""

from __future__ import annotations

import os
import shutil
import signal

from keydb_runbooks.connectors.programs import ENGINES, engines, find_proxy

SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing_for_ssh() -> list[str]:
    """The programs that the SSH tests need and this machine lacks."""
    return [name for name in ("sshd", "ssh-keygen", "socat") if shutil.which(name, path=SBIN) is None]


def pytest_configure() -> None:
    """What a background job ignores, nohup's SIGHUP for instance, the programs under test would ignore as well."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_report_header() -> list[str]:
    present = engines()
    lines = [f"sandbox tests: {engine}: {path}" for engine, path in present.items()]
    for engine in ENGINES.values():
        if engine not in present:
            lines.append(f"sandbox tests: {engine} is absent: no {engine}-server on PATH, so its tests don't run")
    try:
        lines.append(f"sandbox tests: proxy: {find_proxy()}")
    except LookupError as error:
        lines.append(f"sandbox tests: none runs: {error}")
    if missing := missing_for_ssh():
        lines.append(f"SSH tests are skipped: no {', '.join(missing)} on PATH")
    return lines

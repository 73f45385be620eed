"""Who may reach a server's port: what its machine has of the rules that the inventory asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from keydb_runbooks.runbooks.drift_machine import File, file_drift
from keydb_runbooks.runbooks.drift_values import Drift, Verdict, unknown
from keydb_runbooks.runbooks.findings import Severity


class Loaded(Enum):
    """Which rules the kernel has in this table."""

    THESE = "these"
    OTHERS = "others"
    NONE = "none"


@dataclass(frozen=True)
class Rules:
    """Rules that the inventory asks for, and what there is of them.

    ``wanted`` are the texts of both files. ``loaded`` and ``enabled`` (whether ``unit`` loads them at each boot) are
    None if they can't be seen.
    """

    unit: str
    wanted: tuple[str, str]
    files: tuple[File, File]
    loaded: Loaded | None
    enabled: bool | None


@dataclass(frozen=True)
class Left:
    """What there is of rules that the inventory doesn't ask for; ``named``: it says so, rather than nothing."""

    there: tuple[str, ...]
    named: bool


def firewall_drift(where: str, found: Rules | Left) -> Iterator[Drift]:
    """Whether exactly those reach a server's port whom the inventory lets in, now and after the next boot."""
    if isinstance(found, Left):
        yield from _left(where, found)
    elif found.loaded in (Loaded.NONE, None) and all(file.text == "" for file in found.files):
        told = "the inventory asks for keydb_firewall, and there is none: everybody reaches its port; run install"
        yield _drift("no-firewall", where, told)
    elif found.loaded is None:
        told = "it is unknown who may reach its port: only root sees that, by nft"
        yield unknown("firewall-unknown", where, f"{told}; let pyinfra's user be root (_sudo in the inventory)")
    else:
        yield from _files(where, found)
        yield from _kernel(where, found)


def _files(where: str, found: Rules) -> Iterator[Drift]:
    for wanted, file in zip(found.wanted, found.files, strict=True):
        yield from file_drift(where, file)
        if file.text and file.text.rstrip() != wanted.rstrip():
            told = f"{file.path} is not what the inventory asks for, and counts from the next boot on; run install"
            yield _drift("firewall-differs", where, told, file.path)


def _kernel(where: str, found: Rules) -> Iterator[Drift]:
    if found.loaded is Loaded.NONE:
        told = "its rules are not in force, so everybody reaches its port; run install"
        yield _drift("firewall-not-loaded", where, told)
    elif found.loaded is Loaded.OTHERS:
        told = "other rules are in force than the inventory asks for: more or fewer reach its port; run install"
        yield _drift("firewall-other-loaded", where, told)
    if not found.enabled and found.files[1].text:
        told = f"{found.unit} does not start with the machine, so the next boot leaves its port open; run install"
        yield _drift("firewall-not-enabled", where, told)


def _left(where: str, found: Left) -> Iterator[Drift]:
    if found.there:
        way_out = "" if found.named else "say keydb_firewall = False and "
        told = f"{' and '.join(found.there)} is there of a firewall that the inventory does not ask for"
        yield _drift("firewall-left", where, f"{told}; {way_out}run install, which takes it away")


def _drift(code: str, where: str, sentence: str, key: str = "") -> Drift:
    return Drift(code, Verdict.DRIFTED, Severity.WARNING, where, sentence, key)

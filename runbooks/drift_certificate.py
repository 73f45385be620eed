"""Certificates: files that are not what was asked for, what a server goes on showing, and what runs out soon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keydb_runbooks.runbooks.drift_values import Drift, Verdict, unknown
from keydb_runbooks.runbooks.findings import Severity

HOUR_SECONDS, DAY_SECONDS = 3600.0, 86400.0

SOON_SECONDS = 14 * DAY_SECONDS
"""A certificate that runs out within that is told, unless more than this part of its time is left:"""

SOON_PART = 1 / 3
"""cert-manager renews by then, so short-lived ones aren't told for ever."""


@dataclass(frozen=True)
class Shown:
    """A certificate: what tells it from others, and the seconds since 1970 from which and until which it counts."""

    fingerprint: str
    begins: float
    ends: float


@dataclass(frozen=True)
class Certificates:
    """Files of a server or a proxy, in checksums by their paths, and what the server shows.

    ``source`` is who says what is ``wanted``. ``found`` lacks what can't be read, and has "" for what isn't there.
    ``on_disk`` is the fingerprint of the certificate in its file, "" where there is none that can be read.
    ``looked_at`` is in seconds since 1970; ``in_pod``: kubelet brings the files.
    """

    source: str
    wanted: Mapping[str, str]
    found: Mapping[str, str]
    on_disk: str
    shown: Shown | None
    looked_at: float
    in_pod: bool


def certificate_drift(where: str, held: Certificates) -> Iterator[Drift]:
    """Whether a server has the files that were asked for, shows that certificate, and will for some time."""
    other = [path for path, wanted in held.wanted.items() if held.found.get(path, wanted) != wanted]
    if other:
        yield _drift("certificate-differs", where, f"{_files(other)} not as {held.source} has it; {_way_out(held)}")
    unseen = [path for path in held.wanted if path not in held.found]
    if unseen:
        told = f"{' and '.join(unseen)} can't be read; let pyinfra's user read it (_sudo in the inventory)"
        yield unknown("certificate-unknown", where, told)
    if held.shown is not None:
        yield from _shown(where, held, held.shown)


def ca_drift(group: str, ends: float, now: float) -> Iterator[Drift]:
    """Whether what everybody trusts runs out soon.

    :param ends: of the last CA that counts; both in seconds since 1970
    """
    if ends - now < SOON_SECONDS:
        told = f"the CA of its certificates runs out {_in(ends - now)}, and nobody trusts them then"
        yield _drift("ca-ends", group, f"{told}; docs/tls.md has the way to another one")


def _shown(where: str, held: Certificates, shown: Shown) -> Iterator[Drift]:
    if held.on_disk and held.on_disk != shown.fingerprint:
        way_out = "run install, which lets it read that again" if held.in_pod else "run restart"
        yield _drift("certificate-not-loaded", where, f"shows another certificate than its file has; {way_out}")
    left = shown.ends - held.looked_at
    if left < min(SOON_SECONDS, SOON_PART * (shown.ends - shown.begins)):
        told = f"its certificate runs out {_in(left)}, and nobody trusts it then"
        yield _drift("certificate-ends", where, f"{told}; get a new one, then run install")


def _files(paths: list[str]) -> str:
    return f"{' and '.join(paths)} {'is' if len(paths) == 1 else 'are'}"


def _way_out(held: Certificates) -> str:
    if held.in_pod:
        return "kubelet brings it within two minutes; restart does, if the pod was made with another Secret"
    return "run install"


def _in(seconds: float) -> str:
    if seconds < 2 * DAY_SECONDS:
        hours = int(seconds / HOUR_SECONDS)
        return "within the hour" if hours < 1 else f"in {hours} {'hour' if hours == 1 else 'hours'}"
    return f"in {int(seconds / DAY_SECONDS)} days"


def _drift(code: str, where: str, sentence: str) -> Drift:
    return Drift(code, Verdict.DRIFTED, Severity.WARNING, where, sentence)

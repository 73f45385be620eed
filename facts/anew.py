"""Read what a pod leaves open of the one that had its name before: ``runbooks.anew``. A machine leaves nothing open."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial

import gevent

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import NodeEntry
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.quiet import run_quietly
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.runbooks.anew import anew_from_pod, was_told
from keydb_runbooks.runbooks.replication import Anew, Node, Unread
from keydb_runbooks.runbooks.values import changed

RECORD = 'cat -- "$1"'


def record_path(entry: NodeEntry) -> str:
    """Where a pod has what it found of the one before it."""
    return f"{entry.data('keydb_config_directory')}/forerunner"


def with_anew(entry: NodeEntry, seen: Node | Unread) -> Node | Unread:
    """The same with what its pod leaves open.

    It is read behind all else, so that it is the pod which gave the answers, or a later one, and only where a proof
    may rest on it: no primary, and nobody who follows one.
    """
    connector = entry.host.connector
    if not isinstance(connector, KubernetesConnector) or connector.pod is None or not _matters(seen):
        return seen
    anew = _read(entry, connector)
    return seen if anew is None else changed(seen, anew=anew)


def _matters(seen: Node | Unread) -> bool:
    if isinstance(seen, Unread):
        return seen.stopped
    return not seen.is_primary and not any(link.alive and not link.guarded for link in seen.links)


def _read(entry: NodeEntry, connector: KubernetesConnector) -> Anew | None:
    assert connector.pod is not None
    try:
        timeout = float(entry.data("keydb_connect_timeout"))
        pod, now = connector.pod.cluster.get_dated(connector.pod.path(), timeout=timeout)
    except ClusterError as error:
        return Anew("", f"is of an unknown age ({error.detail})")
    anew = anew_from_pod(pod, None if now is None else now.timestamp(), seconds)
    return None if anew is not None and anew.seconds is None and was_told(pod, _found(entry)) else anew


def seconds(moment: str) -> float:
    """A moment as the API server writes it, in seconds since 1970."""
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def _found(entry: NodeEntry) -> str:
    """What a pod found on its volume of the one before it, "" if that can't be read."""
    ask = partial(run_quietly, entry.host, script(RECORD, record_path(entry)))
    found: list[str] | None = None
    with suppress(OSError):
        found = gevent.with_timeout(entry.data("keydb_command_timeout"), ask, timeout_value=None)
    return " ".join(found or ())

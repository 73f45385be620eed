"""Which verb comes first when several things are wrong at once: README's card as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from keydb_runbooks.runbooks.findings import Finding


class Row(NamedTuple):
    """A finding by its code and a part of what is told of it, and the verb that comes next.

    ``verb`` is None where a person has something to do first, and the finding's sentence says what.
    """

    code: str
    verb: str | None
    part: str = ""


ROWS = (
    Row("proxy-refused", "start"),
    Row("no-primary", "start", "run start"),
    Row("no-primary", None, "mend the way"),
    Row("no-primary", "failover"),
    Row("empty-primary", "failover"),
    Row("lost-history", None),
    Row("superseded", None),
    Row("several-primaries", None, "no rightful one"),
    Row("several-primaries", "rejoin"),
    Row("paused", "abort"),
    Row("fenced", "unfence", "critical"),
    Row("save-failed", "switchover"),
    Row("memory-full", None),
    Row("wrong-route", "rejoin"),
    Row("node-refused", "start"),
    Row("no-good-replica", "start", "run start"),
    Row("no-good-replica", "rejoin"),
    Row("node-no-answer", None),
    Row("guarded", "rejoin"),
    Row("follows-other", "rejoin"),
)
"""The first that is there counts."""


def next_verb(findings: Iterable[Finding]) -> tuple[str, str | None] | None:
    """The verb that comes next, and the node that it is told; None if no verb is what helps first."""
    told = [(one, f"{one.severity.value}: {one.sentence}") for one in findings]
    for row in ROWS:
        for finding, words in told:
            if finding.code == row.code and row.part in words:
                node = finding.where if row.verb == "unfence" else None
                return None if row.verb is None else (row.verb, node)
    return None

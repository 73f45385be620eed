"""Pre-checks of switchover and failover: a table of questions, asked all at once before anything is changed.

They are what repmgr's ``standby switchover`` and Patroni's switchover look at, in this world's words, and what KeyDB
needs besides; docs/checks.md tells each with its source. What makes a plan impossible is in ``refusals``: a check
that fails may be overridden, where that is sane, and one that only warns is shown with the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from keydb_runbooks.runbooks import checks_group, checks_server
from keydb_runbooks.runbooks.checks_server import Found, Situation
from keydb_runbooks.runbooks.plan import Refusal


class Severity(Enum):
    """What a check that fails does: refuse, warn, or not apply to the verb."""

    ERROR = "error"
    WARNING = "warning"
    NONE = "-"


ERROR, WARNING, NONE = Severity


@dataclass(frozen=True)
class Check:
    """One row of the table: its code, what must hold, how bad it is for each verb, what overrides it, and who looks."""

    code: str
    must_hold: str
    switchover: Severity
    failover: Severity
    override: str
    look: Callable[[Situation], Iterator[Found]]


LAG = "allow_lag=SIZE"
ACCEPT = "accept=CODE"

# A row a line, so that columns can be read down.
# fmt: off
CHECKS: tuple[Check, ...] = (
    Check("replica-lagging", "the target has what the primary has, but for allow_lag (32kb)", ERROR, NONE, LAG, checks_server.lagging),  # noqa: E501
    Check("target-refuses-writes", "the target's last save succeeded, or it takes writes all the same", ERROR, ERROR, "", checks_server.refusing_writes),  # noqa: E501
    Check("persistence-failing", "the target's last save, AOF rewrite and AOF write succeeded", ERROR, WARNING, ACCEPT, checks_server.failing_persistence),  # noqa: E501
    Check("less-durable", "the target keeps data on disk if the primary does", WARNING, WARNING, "", checks_server.less_durable),  # noqa: E501
    Check("saving", "neither the primary nor the target is saving or rewriting its AOF", WARNING, WARNING, "", checks_server.saving),  # noqa: E501
    Check("disk-full", "1mb is free on the disk of the target and the primary, for their files", ERROR, WARNING, ACCEPT, checks_server.full_disk),  # noqa: E501
    Check("disk-short", "the disk of each node has room for a file as large as its data", WARNING, WARNING, "", checks_server.short_disk),  # noqa: E501
    Check("memory-nearly-full", "the target uses less than nine tenths of its limit", WARNING, WARNING, "", checks_server.nearly_full_memory),  # noqa: E501
    Check("memory-smaller", "the target's limit is no smaller than the primary's", WARNING, NONE, "", checks_server.smaller_memory),  # noqa: E501
    Check("fork-memory", "the target's machine has as much memory free as the target uses, for a fork", WARNING, WARNING, "", checks_server.fork_memory),  # noqa: E501
    Check("clients-limit", "the target may hold as many clients as the primary has now", ERROR, NONE, ACCEPT, checks_server.clients_limit),  # noqa: E501
    Check("clients-fewer", "the target's maxclients is no smaller than the primary's", WARNING, NONE, "", checks_server.fewer_clients),  # noqa: E501
    Check("clients-blocked", "no client waits in BLPOP, WAIT or the like on the primary", WARNING, NONE, "", checks_server.blocked_clients),  # noqa: E501
    Check("descriptor-target", "the target's file descriptor 0 is open and no client's (KeyDB)", ERROR, WARNING, ACCEPT, checks_server.target_descriptor),  # noqa: E501
    Check("descriptor", "the other nodes' file descriptor 0 is open and no client's (KeyDB)", WARNING, WARNING, "", checks_server.other_descriptors),  # noqa: E501
    Check("target-writable", "the target took no writes of its own (replica-read-only)", ERROR, WARNING, ACCEPT, checks_server.writable_target),  # noqa: E501
    Check("no-config-file", "the target and the primary were started from a file that can record their role", ERROR, WARNING, ACCEPT, checks_server.no_config_file),  # noqa: E501
    Check("not-saved", "each node's file says the role that it has", WARNING, WARNING, "", checks_group.not_saved),
    Check("clock-skew", "the target's clock is within 1 s of the primary's, or else of the operator's", WARNING, WARNING, "", checks_server.clock_skew),  # noqa: E501
    Check("engine-differs", "all nodes that will follow run the target's engine", ERROR, WARNING, ACCEPT, checks_group.other_engine),  # noqa: E501
    Check("version-newer", "the target's version is no newer than that of a node that will follow it", WARNING, WARNING, "", checks_group.newer_version),  # noqa: E501
    Check("too-few-replicas", "as many nodes will follow as min-replicas-to-write asks for", ERROR, WARNING, ACCEPT, checks_group.too_few_replicas),  # noqa: E501
    Check("target-unreached", "every proxy gets an answer from the target (failover: if it has run for 5 s)", ERROR, ERROR, ACCEPT, checks_group.unreached_target),  # noqa: E501
    Check("owned-by-controller", "no controller of another kind owns the pods", ERROR, ERROR, ACCEPT, checks_group.made("owned-by-controller")),  # noqa: E501
    Check("sentinel-beside", "no pod has a Sentinel beside the server", ERROR, ERROR, ACCEPT, checks_group.made("sentinel-beside")),  # noqa: E501
    Check("label-mover", "no pod has a container that moves roles or their labels", ERROR, ERROR, ACCEPT, checks_group.made("label-mover")),  # noqa: E501
    Check("role-at-start", "nothing gives a pod a role whenever it starts", WARNING, WARNING, "", checks_group.made("role-at-start")),  # noqa: E501
    Check("role-not-kept", "each pod keeps its configuration on a volume that stays", WARNING, WARNING, "", checks_group.made("role-not-kept")),  # noqa: E501
    Check("probe-judges-role", "no pod has a probe that looks at its role", WARNING, WARNING, "", checks_group.made("probe-judges-role")),  # noqa: E501
    Check("made-unknown", "it could be read how pods are made", WARNING, WARNING, "", checks_group.made("made-unknown")),  # noqa: E501
    Check("backlog-short", "the target's backlog holds 60 s of writes at the present rate", WARNING, NONE, "", checks_group.short_backlog),  # noqa: E501
    Check("sibling-syncing", "no other replica is in the middle of a full resync", WARNING, NONE, "", checks_group.syncing_sibling),  # noqa: E501
    Check("pause-unknown", "it is known whether the nodes hold writes back", WARNING, WARNING, "", checks_group.unknown_pause),  # noqa: E501
    Check("machine-unknown", "the machines of the target and the primary tell of disk and memory", WARNING, WARNING, "", checks_server.unknown_machine),  # noqa: E501
)
# fmt: on

_ASKED = {
    "switchover": tuple((row, row.switchover) for row in CHECKS if row.switchover is not NONE),
    "failover": tuple((row, row.failover) for row in CHECKS if row.failover is not NONE),
}
"""What each verb asks."""


@dataclass(frozen=True)
class Findings:
    """What the checks found: refusals, none of which was accepted, and warnings."""

    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]


def check(verb: str, situation: Situation) -> Findings:
    """Ask every question of a verb at once.

    An error that the request accepts is a warning, and says what accepted it.
    """
    refusals, warnings = [], []
    for row, severity in _ASKED[verb]:
        for found in row.look(situation):
            accepted = row.code in situation.request.accept and row.override == ACCEPT
            if severity is ERROR and not accepted:
                refusals.append(Refusal(row.code, found.where, found.sentence, _way_out(row, found)))
            else:
                by = f"accepted by accept={row.code}: " if severity is ERROR else f"{row.code} "
                warnings.append(f"{by}{found.where} {found.sentence}; {found.hint}")
    return Findings(tuple(refusals), tuple(warnings))


def _way_out(row: Check, found: Found) -> str:
    return f"{found.hint}, or accept={row.code}" if row.override == ACCEPT else found.hint


def codes_that_can_be_accepted() -> tuple[str, ...]:
    """What ``accept=`` may name."""
    return tuple(row.code for row in CHECKS if row.override == ACCEPT)


def together(refusals: list[Refusal], warnings: tuple[str, ...] = ()) -> Refusal | None:
    """Several reasons to refuse as one answer that tells all of them; None if there is none."""
    if not refusals:
        return None
    first, *also = refusals
    return Refusal(first.code, first.where, first.sentence, first.hint, also=tuple(also), warnings=warnings)

"""Objects of a cluster that are other than install would make them, and pods that are older than they are.

What would change the API server tells itself (``runbooks.objects``): each object is tried, and nothing of that is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keydb_runbooks.runbooks.drift_values import UNSEEN, Drift, Value, Verdict, unknown
from keydb_runbooks.runbooks.findings import Severity
from keydb_runbooks.runbooks.objects import GROUP, Field, Tried, path_of, scale_up, scaled_to_zero
from keydb_runbooks.runbooks.plan import Refusal

FIELDS_TOLD = 8
"""So many fields of one object are told by name."""

LENGTH_TOLD = 60
"""So much of a value is told in a sentence."""


@dataclass(frozen=True)
class Installed:
    """What install would do to a group's objects.

    ``forced`` has, by their ``where``, those of which others own fields, as they would be if these were taken over.
    ``revisions`` says of which template each pod was made. ``refusals`` are those of Secrets that somebody else keeps.
    ``who`` is the context that asked, in words.
    """

    tried: tuple[Tried, ...]
    forced: Mapping[str, Tried]
    revisions: Mapping[str, str]
    refusals: tuple[Refusal, ...]
    who: str


def objects_drift(group: str, found: Installed) -> Iterator[Drift]:
    """All in which a group's objects differ from what install would make of them, and what could not be tried."""
    for one in found.tried:
        yield from _object(group, one, found)
    for refusal in found.refusals:
        yield _refused(refusal)
    yield from _older(found)


def _object(group: str, one: Tried, found: Installed) -> Iterator[Drift]:
    if one.verb == "get" and one.problem:
        yield _unknown(one, found.who)
    elif one.live is None:
        severity = Severity.CRITICAL if one.kind == "Service" else Severity.WARNING
        yield _drift("object-missing", one.where, "is not there; run install", severity)
    elif (owner := one.live["metadata"].get("annotations", {}).get(GROUP)) != group:
        told = f"belongs to group {owner}" if owner else "was not made by install"
        way_out = "take another name in the inventory, or remove it and run install"
        yield _drift("object-not-ours", one.where, f"{told}; {way_out}")
    elif one.fields:
        yield from _taken(one, found.forced[one.where])
    elif one.problem == "refused":
        told = f"is other than the inventory says, and can't be made so: {one.detail}; mend that in the inventory"
        yield _drift("object-refused", one.where, told)
    elif one.problem:
        yield _unknown(one, found.who)
    else:
        yield from _differing(one, {})


def _taken(one: Tried, forced: Tried) -> Iterator[Drift]:
    """Fields that others own, and beside them those that nobody else holds."""
    owners = {path_of(field, forced.live or {}): manager for field, manager in one.fields}
    if not forced.problem:
        yield from _differing(forced, owners)
    told = [] if forced.problem else [field.path for field in forced.differing]
    for path, manager in owners.items():
        if not any(_is_within(field, path) for field in told):
            yield _drift("object-taken", one.where, f"is other than the inventory says; {_give_up(manager)}", key=path)


def _differing(one: Tried, owners: Mapping[str, str]) -> Iterator[Drift]:
    differing = one.differing
    if pods := scaled_to_zero(one):
        # Install would refuse it: this is no drift that it mends by itself.
        differing = tuple(field for field in differing if field.path != "spec.replicas")
        told = f"somebody scaled it to 0 pods, the inventory says {pods}; {scale_up(one)}"
        yield _drift("scaled-to-zero", one.where, told, Severity.CRITICAL, "spec.replicas")
    for field in differing[:FIELDS_TOLD]:
        manager = _owner(field.path, owners)
        code, way_out = ("object-taken", _give_up(manager)) if manager else ("object-differs", "run install")
        wanted, running = _values(field)
        yield Drift(
            code,
            Verdict.DRIFTED,
            Severity.WARNING,
            one.where,
            f"{_told(field)}; {way_out}",
            field.path,
            wanted=wanted,
            running=running,
        )
    more = len(differing) - FIELDS_TOLD
    if more > 0:
        told = f"{more} more {'field is' if more == 1 else 'fields are'} other than the inventory says"
        yield _drift("object-differs", one.where, f"{told}; install --dry shows all")


def _owner(path: str, owners: Mapping[str, str]) -> str | None:
    """Who else owns a field, or what it is a part of; None if nobody does."""
    return next((manager for owned, manager in owners.items() if _is_within(path, owned)), None)


def _is_within(path: str, owned: str) -> bool:
    return path == owned or path.startswith((f"{owned}.", f"{owned}["))


def _give_up(manager: str) -> str:
    return f"{manager} holds it: let it give that up, or install with force_conflicts=yes takes it over"


def _told(field: Field) -> str:
    if field.secret:
        return "is another secret than the inventory says"
    if field.is_text:
        signs = [line[0] for line in field.line_changes]
        count = max(signs.count("-"), signs.count("+"))
        lines = "line" if count == 1 else "lines"
        return f"is other in {count} {lines} than the inventory says (install --dry shows them)"
    is_now = "is not there" if field.is_now is None else f"is {_short(field.is_now)}"
    return f"{is_now}, the inventory says {'nothing of it' if field.wished is None else _short(field.wished)}"


def _values(field: Field) -> tuple[Value, Value]:
    """What is wanted and what is, for programs: of texts nothing, since they may be long, and of secrets neither."""
    if field.secret:
        return "(secret)", "(another secret)"
    if field.is_text:
        return UNSEEN, UNSEEN
    wished, is_now = (None if side is None else str(side) for side in (field.wished, field.is_now))
    return wished, is_now


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= LENGTH_TOLD else f"{text[:LENGTH_TOLD]}..."


def _unknown(one: Tried, who: str) -> Drift:
    told = f"{one.detail}; run this again"
    if one.problem == "not-permitted":
        means = "" if one.verb == "get" else ", as a dry run needs"
        told = f'{who} lacks the right to {one.verb} it{means}; docs/kubernetes.md, "Rights"'
    return unknown("object-unknown", one.where, f"it could not be compared: {told}")


def _refused(refusal: Refusal) -> Drift:
    told = f"{refusal.sentence}; {refusal.hint}"
    if refusal.code == "no-right":
        return unknown("object-unknown", refusal.where, f"it could not be compared: {told}")
    return _drift("secret-refused", refusal.where, told)


def _older(found: Installed) -> Iterator[Drift]:
    """Pods that nobody but a person replaces by those of the present template."""
    sets = [one.live for one in found.tried if one.kind == "StatefulSet" and one.live is not None]
    present = {(one.get("status") or {}).get("updateRevision") for one in sets} - {None}
    for pod, revision in found.revisions.items():
        if present and revision not in present:
            told = "runs as it was installed before, until its turn comes; run upgrade"
            yield _drift("pod-outdated", pod, told, Severity.NOTICE)


def _drift(code: str, where: str, sentence: str, severity: Severity = Severity.WARNING, key: str = "") -> Drift:
    return Drift(code, Verdict.DRIFTED, severity, where, sentence, key)

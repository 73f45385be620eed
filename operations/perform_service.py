"""Performing the steps of ``runbooks/steps_service.py``."""

from __future__ import annotations

import time

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.operations.failures import StepFailed
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.operations.waits import until
from keydb_runbooks.runbooks.steps_service import LabelPods, MoveService, ServiceLeads

POLL_SECONDS = 0.01


@perform.register
def _move(step: MoveService, links: Links) -> str:
    if not links.stands(step.primary):
        raise StepFailed(f"{step.primary} no longer says that it is the primary, so {step.where} is not moved")
    service = links.service(step.where)
    try:
        service.patch(step.patch)
    except ClusterError as error:
        raise StepFailed(f"{error.detail}; whether it moved is unknown") from None
    links.moved_at[step.where] = time.monotonic()
    return f"names {step.primary} now"


@perform.register
def _leads(step: ServiceLeads, links: Links) -> str:
    service, seen, looks = links.service(step.where), "", 0

    def led() -> bool | None:
        nonlocal seen, looks
        looks += 1
        pods = service.leads_to()
        seen = " and ".join(sorted(pods)) or f"nobody: is pod {step.primary} ready?"
        return True if pods == {step.primary} else None

    try:
        told = lambda: f"{step.where} still leads to {seen}"  # noqa: E731
        if until(led, step.timeout_seconds, POLL_SECONDS, told) is None:
            raise StepFailed(f"{step.where} names {step.primary}, but leads to {seen}")
    except ClusterError as error:
        raise StepFailed(error.detail) from None
    if looks > 1:
        # Until now clients were led to the old one, and none of them is from before the move: these count from here.
        links.moved_at[step.where] = time.monotonic()
    return f"leads to {step.primary} alone"


@perform.register
def _label(step: LabelPods, links: Links) -> str:
    service, labelled = links.service(step.where), []
    for pod, role in step.roles.items():
        try:
            service.patch_pod(pod, step.patch(role))
            labelled.append(pod)
        except ClusterError as error:
            if error.code != "missing":
                raise StepFailed(error.detail) from None
    return f"{len(labelled)} pods labelled with their roles"

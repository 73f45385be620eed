"""Steps on a Service of Kubernetes; docs/kubernetes.md, "Routing"."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from keydb_runbooks.runbooks.steps import Command, Step

POD_NAME = "statefulset.kubernetes.io/pod-name"
"""The label by which a StatefulSet names each of its pods."""

FORMER = "keydb-runbooks/moved-from"
"""An annotation of the Service: whose clients may be left there if the run that moved it died."""

ROLE_LABEL = "keydb-runbooks/role"
"""Tells people and dashboards; nothing that decides reads it."""


@dataclass(frozen=True)
class MoveService(Step):
    """Let new connections go to the primary, by one patch.

    One patch is one update of the rules on every machine. Moving a label takes two, and the second one waits a second,
    in which both pods get connections (kubernetes-facts, "Moving the write Service").
    """

    primary: str
    former: str | None = None
    unmet: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("PATCH", f"service/{self.where}", json.dumps(self.patch)),)

    @property
    def patch(self) -> dict[str, object]:
        """What is merged into the Service; None takes a key out."""
        return {
            "metadata": {"annotations": {FORMER: self.former}},
            "spec": {"selector": {**dict.fromkeys(self.unmet), POD_NAME: self.primary}},
        }

    @property
    def sentence(self) -> str:
        return f"send writes to {self.primary}"


@dataclass(frozen=True)
class ServiceLeads(Step):
    """See what the cluster made of the selector: nobody is led to a pod that isn't ready."""

    primary: str
    timeout_seconds: float

    changes: ClassVar[bool] = False

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("LIST", f"endpointslices of service/{self.where}"),)

    @property
    def sentence(self) -> str:
        return f"wait until it leads to {self.primary} alone ({self.timeout_seconds:g} s at most)"


@dataclass(frozen=True)
class LabelPods(Step):
    """Label each pod with its role, for people and dashboards."""

    primary: str
    replicas: tuple[str, ...]

    spare: ClassVar[bool] = True

    @property
    def commands(self) -> tuple[Command, ...]:
        return tuple(("PATCH", f"pod/{pod}", json.dumps(self.patch(role))) for pod, role in self.roles.items())

    @property
    def roles(self) -> dict[str, str]:
        """What each pod is called."""
        return {self.primary: "primary", **dict.fromkeys(self.replicas, "replica")}

    @staticmethod
    def patch(role: str) -> dict[str, object]:
        """What is merged into a pod."""
        return {"metadata": {"labels": {ROLE_LABEL: role}}}

    @property
    def sentence(self) -> str:
        return f"label the pods with their roles ({ROLE_LABEL})"

"""Servers on pods that take over a new certificate as they run.

Kubelet brings a Secret that changed into the pods that run, and servers read their files again when they are told to.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress

from pyinfra import host as pyinfra_host
from pyinfra.api import FunctionCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.connectors.cluster import ClusterError, place
from keydb_runbooks.connectors.group import Group, NodeEntry
from keydb_runbooks.connectors.services import MANAGER
from keydb_runbooks.connectors.tls import Certificate
from keydb_runbooks.operations import keydb, manifests, pods
from keydb_runbooks.operations.files import read_file
from keydb_runbooks.operations.pod_objects import connector_of, objects_at, runs
from keydb_runbooks.operations.pods_tls import in_secret
from keydb_runbooks.templates import plain

Commands = Generator[PyinfraCommand, None, None]

NOTE = "keydb-runbooks/certificate"
"""An annotation of a pod: kubelet looks at a pod that changed, and brings what changed of its Secrets at once."""


@operation()
def taken_over(group: Group) -> Commands:
    """Let this pod's server take over its group's certificate; one that starts has it.

    + group: the nodes, see ``connectors.group``

    **Example:**

    .. code:: python

        pods_renewal.taken_over(name="Let the server load its certificate", group=group)
    """
    entry = keydb.this_node(pyinfra_host)
    if pods.is_given_up(pyinfra_host.state, entry):
        pyinfra_host.noop("its group's objects could not be made, so it is left as it is")
        return
    if not runs(pyinfra_host):
        pyinfra_host.noop(f"{entry.name} takes its certificate when it starts")
        return
    if not _is_given(group, entry):
        pyinfra_host.noop(f"{entry.name} was made with another Secret, and gets this one when it is restarted")
        return
    wanted = _wanted(group, entry)
    if wanted is None or read_file(pyinfra_host, record_path(entry)) == f"{wanted}\n":
        pyinfra_host.noop(f"the server of {entry.name} has its certificate")
        return
    yield FunctionCommand(_hurry, (entry, wanted), {})
    yield StringCommand("bash", "-c", QuoteString(plain("pods/renew.sh")), "bash", wanted)


def record_path(entry: NodeEntry) -> str:
    """Where a pod keeps which certificate its server has read."""
    return f"{entry.data('keydb_config_directory')}/certificate.sha256"


def _wanted(group: Group, entry: NodeEntry) -> str | None:
    """The digest of the certificate that servers shall have, None if that can't be told."""
    ours = manifests.certificate(group)
    if ours is not None:
        return ours.digest
    name = manifests.tls_secret(group)
    with suppress(ClusterError):
        found = in_secret(objects_at(entry).read("Secret", str(name)) or {})
        return found.digest if isinstance(found, Certificate) else None
    return None


def _is_given(group: Group, entry: NodeEntry) -> bool:
    """Whether a pod has the Secret that it is to have."""
    volumes = connector_of(entry.host).seen["spec"].get("volumes") or ()
    return manifests.tls_secret(group) in [one.get("secret", {}).get("secretName") for one in volumes]


def _hurry(state: State, host: Host, entry: NodeEntry, wanted: str) -> bool:
    """Without it, or without the right to it, kubelet comes by itself, within two minutes."""
    objects = objects_at(entry)
    with suppress(ClusterError):
        body = {"metadata": {"annotations": {NOTE: wanted[:16]}}}
        path = place(objects.namespace, "pods", entry.name)
        objects.cluster.patch(path, body, timeout=objects.timeout, manager=MANAGER)
    return True

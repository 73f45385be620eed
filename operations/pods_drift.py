"""What install would do to a group's objects on a cluster, asked for drift: each is tried, and nothing is kept."""

from __future__ import annotations

from functools import partial

from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group
from keydb_runbooks.connectors.link import in_parallel
from keydb_runbooks.connectors.objects import Objects
from keydb_runbooks.operations import pods, pods_tls
from keydb_runbooks.operations.pod_objects import are_pods, connector_of, objects_of, runs
from keydb_runbooks.operations.pods_ready import REVISION
from keydb_runbooks.runbooks.drift_objects import Installed, objects_drift
from keydb_runbooks.runbooks.drift_values import Drift, unknown
from keydb_runbooks.runbooks.topology import Topology


def is_installed(group: Group) -> bool:
    """Whether install makes a group's objects, by what the inventory says."""
    return are_pods(group) and bool(group.nodes[0].data("keydb_image"))


def found(group: Group, topology: Topology) -> tuple[Drift, ...]:
    """In which the objects of a group differ from what install would make; nothing where it makes none."""
    if not is_installed(group):
        return ()
    if told := list(pods.wrong(group)):
        return (unknown("object-unknown", group.name, f"its objects could not be compared: {'; '.join(told)}"),)
    try:
        objects = objects_of(group)
    except ClusterError as error:
        return (unknown("object-unknown", group.name, f"its objects could not be compared: {error.detail}"),)
    return tuple(objects_drift(group.name, _installed(group, objects, topology)))


def _installed(group: Group, objects: Objects, topology: Topology) -> Installed:
    documents = pods.wanted_documents(group, objects, lambda: topology)
    tried = in_parallel(partial(pods.try_out, objects), documents)
    # Without force the server names the owners of what differs, with force all that does.
    owned = [(one, document) for one, document in zip(tried, documents, strict=True) if one.fields]
    refusals = (pods.refuse_secret(group, objects), pods_tls.refuse(group, objects))
    return Installed(
        tried=tuple(tried),
        forced={one.where: objects.try_out(document, one.live, force=True) for one, document in owned},
        revisions=_revisions(group),
        refusals=tuple(one for one in refusals if one is not None),
        who=objects.cluster.told,
    )


def _revisions(group: Group) -> dict[str, str]:
    """Of which template each pod that runs was made."""
    running = [node for node in group.nodes if runs(node.host)]
    return {node.name: str(connector_of(node.host).labels.get(REVISION)) for node in running}

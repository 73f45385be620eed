"""The one node that fence, unfence and demote act on: named by a person, never chosen."""

from __future__ import annotations

from keydb_runbooks.runbooks.kinds import kind_of
from keydb_runbooks.runbooks.plan import Refusal, Request
from keydb_runbooks.runbooks.refusals import refuse_loading
from keydb_runbooks.runbooks.replication import Node, Unread
from keydb_runbooks.runbooks.topology import Topology


def named_node(topology: Topology, request: Request) -> Node | Refusal:
    """The node that ``node=`` names, if it is one that a verb can act on.

    The others are not asked: what stops a node from taking writes must work while they are silent.
    """
    allowed = ", ".join(topology.names)
    if request.node is None:
        return Refusal("no-node-named", topology.group, "which node is not said", f"add node=NAME, one of {allowed}")
    if request.node not in topology.names:
        return Refusal("unknown-node", request.node, f"is no node of {topology.group}", f"allowed are {allowed}")
    node = next(seen for seen in topology.everybody if seen.name == request.node)
    if kind := kind_of(node):
        return Refusal(kind.code, node.name, kind.sentence, kind.hint)
    if isinstance(node, Unread):
        hint = "mend that, or stop its server or its machine, so that it takes no writes"
        return Refusal("node-unread", node.name, node.detail, hint)
    return refuse_loading(node) or node

"""Add a node: its host is in the inventory; it is installed, joins as a replica, and the others get to know it.

    pyinfra inventories/sandbox.py deploys/add_node.py --data node=keydb-4

--data node=NAME          the node that joins
--data accept=no-room     go on though memory or disk may be too small for all that the primary holds
--data allow_unread=NAME  another node or proxy that need not answer (several: NAME,NAME)
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

On pods the StatefulSet grows, by what install would make (docs/kubernetes.md).
Nobody is restarted and no role moves. Running it again goes on where another run stopped, and changes nothing then.
"""

from functools import partial

from pyinfra import host

from keydb_runbooks.operations import (
    boot_guard,
    firewall,
    haproxy,
    installing,
    keydb,
    members,
    pod_objects,
    programs,
    scope,
    together,
)

scope.refuse_mixture(host, "add_node")
scope.refuse_rotation(host, "add_node")
scope.refuse_adopted(host, "add_node")
group = scope.chosen_group(host)
joining = members.joining(host, group)
joined = together.behind(host, group)
node, proxy = group.node_of(host), group.proxy_of(host)

join = partial(members.join, name=f"Let {joining.node} join {group.name}", group=group)

if scope.conducts(host, group):
    scope.advise(group)
if pod_objects.are_pods(group):
    if node or proxy:
        installing.more_pods(host, group, join, joined)
else:
    if node and node.name == joining.node:
        installing.server(node)
    if node and node.name in joining.others and firewall.wanted(node):
        firewall.rules(name=f"Let {joining.node} reach the others", nft=programs.nft(node))
    # On every host, so that none of them goes on before it is over.
    if node or proxy:
        join()

    # From here on only if it is in sync. The others' boot guards first: it may soon hold what nobody else has.
    if node and node.name in joining.others:
        boot_guard.installed(name=f"Let the others ask {joining.node} too", _if=joined)
        keydb.configuration(name="Configure the other servers too", program=programs.server(node), _if=joined)
    if proxy:
        haproxy.configuration(name=f"Lead clients to {joining.node} too", program=programs.proxy(proxy), _if=joined)

"""Remove a node: proxies forget it, its server ends for good with its data kept, and the others forget it.

    pyinfra inventories/sandbox.py deploys/remove_node.py --data node=keydb-3

--data node=NAME          the node that leaves, still in the inventory; never a primary
--data accept=no-replica-left  leave a primary alone
--data allow_unread=NAME  a node or proxy that need not answer, this one too if its machine is off for good
--data accept_minority_lock=yes  go on though no more than half of the nodes answer
--data report=FILE.json   the whole run as one document (schemas/report.json)
--data group=NAME         which group, if the inventory has several

On pods it is the one of the highest number, and its volume stays (docs/kubernetes.md).
Nobody else is restarted and no role moves. Running it again goes on where another run stopped. Afterwards the node goes
out of the inventory.
"""

from pyinfra import host

from keydb_runbooks.operations import (
    boot_guard,
    haproxy,
    installing,
    members,
    pod_objects,
    programs,
    scope,
    together,
    uninstall,
)

scope.refuse_mixture(host, "remove_node")
scope.refuse_adopted(host, "remove_node")
group = scope.chosen_group(host)
leaving = members.leaving(host, group)
left = together.behind(host, group)
node, proxy = group.node_of(host), group.proxy_of(host)

if pod_objects.are_pods(group):
    installing.fewer_pods(host, group, leaving.node)
else:
    if proxy:
        program = programs.proxy(proxy)
        haproxy.configuration(name=f"Lead no client to {leaving.node}", program=program, without=leaving.node)
    # On every host, so that none of them goes on before it is over.
    if node or proxy:
        members.leave(name=f"Let {leaving.node} leave {group.name}", group=group)

    # From here on only if it has ended. The others ask it as long as it may hold what nobody else has.
    if node and node.name == leaving.node:
        uninstall.server(name="Take away what install brought", remove_data=False, alone=True, _if=left)
    if node and node.name in leaving.others:
        boot_guard.installed(name=f"Let the others ask {leaving.node} no more", without=leaving.node, _if=left)

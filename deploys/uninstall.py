"""Uninstall: what install brought is taken away from one node or proxy, or from the whole group; data stay unless told.

    pyinfra inventories/sandbox.py deploys/uninstall.py --data node=keydb-3

--data node=NAME          the node or proxy that goes; never a primary
--data whole_group=NAME   instead: all of the group, whose name is given once more
--data remove_data=yes    the data go as well
--data group=NAME         which group, if the inventory has several

On pods only the whole group goes, and its data are its volumes (docs/kubernetes.md).
Logs, histories, the system's users and files that install did not write stay. Running it again changes nothing.
A group that was adopted is given back as a whole, and nothing of it is stopped (docs/adopt.md).
"""

from pyinfra import host

from keydb_runbooks.operations import pod_objects, scope, uninstall, uninstall_pods

scope.refuse_mixture(host, "uninstall")
group = scope.chosen_group(host)
on_pods = pod_objects.are_pods(group)
if on_pods:
    scope.refuse_adopted(host, "uninstall", servers=True)
    uninstall_pods.refuse(host, group)
removal = uninstall.chosen(host, group)
if on_pods and scope.conducts(host, group):
    uninstall_pods.removed(name="Take the pods away", group=group, remove_data=removal.remove_data)

# Proxies first: clients are gone before the servers save and end.
if not on_pods and host.name in removal.members and group.proxy_of(host):
    uninstall.proxy(name="Take the proxy away")
if not on_pods and host.name in removal.members and group.node_of(host):
    uninstall.server(name="Take the server away", remove_data=removal.remove_data, alone=len(removal.members) == 1)
if not on_pods and host.name in removal.given_back:
    uninstall.given_back(name="Give the server back")
